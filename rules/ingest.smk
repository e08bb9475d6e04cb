"""Ingestion: which scans there are and which belong together.

1. phantom_subject, phantom_dataset  the demo dataset, where the study asks for one
2. dicom                             a DICOM series as NIfTI, where the study's table names one
3. inventory                         every scan that the filters match, read and described; what is left out and why
4. validate                          what the BIDS validator says of the datasets
5. cohort                            pairs.tsv and excluded.tsv: what ingestion, preprocessing and quality control left over
"""

if config["phantom"] is not None:
    PHANTOM_DIR = config["target"]["bids_dir"]
    PHANTOM_SUBJECTS = [f"{number + 1:02d}" for number in range(STUDY.phantom.subjects)]

    rule phantom_subject:
        """One simulated participant: two sessions with sidecars."""
        output:
            [
                f"{PHANTOM_DIR}/sub-{{number}}/ses-{session}/anat/sub-{{number}}_ses-{session}_T1w.{extension}"
                for session in STUDY.phantom.fields
                for extension in ("nii.gz", "json")
            ],
        log:
            f"{ROOT}/logs/ingest/phantom_sub-{{number}}.log",
        benchmark:
            f"{ROOT}/benchmarks/ingest/phantom_sub-{{number}}.tsv"
        wildcard_constraints:
            number=r"\d+",
        conda:
            "../envs/preprocess.yaml"
        resources:
            mem_mb=memory("phantom_subject"),
            runtime=minutes("phantom_subject"),
        params:
            settings=config["phantom"],
        script:
            "../workflow/scripts/phantom_subject.py"

    rule phantom_dataset:
        """What makes the simulated participants a BIDS dataset."""
        input:
            expand(rules.phantom_subject.output, number=PHANTOM_SUBJECTS),
        output:
            [f"{PHANTOM_DIR}/{name}" for name in ("dataset_description.json", "participants.tsv", "README")],
        log:
            f"{ROOT}/logs/ingest/phantom_dataset.log",
        benchmark:
            f"{ROOT}/benchmarks/ingest/phantom_dataset.tsv"
        conda:
            "../envs/preprocess.yaml"
        resources:
            mem_mb=memory("phantom_dataset"),
            runtime=minutes("phantom_dataset"),
        params:
            settings=config["phantom"],
        script:
            "../workflow/scripts/phantom_dataset.py"


rule dicom:
    """The image of a DICOM series, without what could identify a person."""
    output:
        image=f"{ROOT}/sourcedata/raw/{{folder}}/{{image}}.nii.gz",
        sidecar=f"{ROOT}/sourcedata/raw/{{folder}}/{{image}}.json",
    log:
        f"{ROOT}/logs/ingest/{{folder}}/{{image}}_dicom.log",
    benchmark:
        f"{ROOT}/benchmarks/ingest/{{folder}}/{{image}}_dicom.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("dicom"),
        runtime=minutes("dicom"),
    params:
        series=lambda wildcards, output: STUDY.series[output.image],
    script:
        "../workflow/scripts/dicom.py"


rule inventory:
    """Every scan found, with its geometry and field strength, and whether it is used."""
    input:
        scans=[scan.path for scan in STUDY.index.scans],
        dataset=rules.phantom_dataset.output if config["phantom"] is not None else [],
    output:
        inventory=f"{ROOT}/inventory.tsv",
        description=f"{ROOT}/dataset_description.json",
        ignore=f"{ROOT}/.bidsignore",
    log:
        f"{ROOT}/logs/ingest/inventory.log",
    benchmark:
        f"{ROOT}/benchmarks/ingest/inventory.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("inventory"),
        runtime=minutes("inventory"),
    script:
        "../workflow/scripts/inventory.py"


rule validate:
    """The official validator's verdict on the input datasets; it stops nothing."""
    input:
        [f"{folder}/dataset_description.json" for folder in STUDY.datasets],
        rules.phantom_dataset.output if config["phantom"] is not None else [],
    output:
        f"{ROOT}/qc/validation.tsv",
    log:
        f"{ROOT}/logs/ingest/validate.log",
    benchmark:
        f"{ROOT}/benchmarks/ingest/validate.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("validate"),
        runtime=minutes("validate"),
    params:
        datasets=STUDY.datasets,
    script:
        "../workflow/scripts/validate.py"


rule cohort:
    """The pairs that are used, and every scan that is not, with the reason."""
    input:
        inventory=rules.inventory.output.inventory,
        sidecars=[sidecar(STUDY.preprocessed(scan)) for scan in STUDY.scans.values()],
        verdicts=[STUDY.verdict(participant) for participant in STUDY.contents],
        linked=[sidecar(STUDY.on_pair(pair.source)) for pair in STUDY.pairs.values()],
    output:
        pairs=f"{ROOT}/pairs.tsv",
        excluded=f"{ROOT}/excluded.tsv",
    log:
        f"{ROOT}/logs/ingest/cohort.log",
    benchmark:
        f"{ROOT}/benchmarks/ingest/cohort.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("cohort"),
        runtime=minutes("cohort"),
    script:
        "../workflow/scripts/cohort.py"
