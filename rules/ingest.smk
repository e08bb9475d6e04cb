"""Ingestion: which scans there are and which belong together.

1. phantom_subject, phantom_dataset  the demo dataset, where the study asks for one
2. dicom                             a DICOM series as NIfTI, where the study's table names one
3. inventory                         every scan that the filters match, read and described; what is left out and why
4. validate                          what the BIDS validator says of the datasets
5. cohort                            pairs.tsv and excluded.tsv: what ingestion, preprocessing and quality control left over
"""

if config["phantom"] is not None:
    PHANTOM = phantoms.settings(config)
    PHANTOM_DIR = config["target"]["bids_dir"]

    STEP = step("phantom.steps.subject", "ingest/phantom_sub-{number}")

    rule phantom_subject:
        """One simulated participant: two sessions with sidecars."""
        output:
            [
                f"{PHANTOM_DIR}/sub-{{number}}/ses-{session}/anat/sub-{{number}}_ses-{session}_T1w.{extension}"
                for session in PHANTOM.fields
                for extension in ("nii.gz", "json")
            ],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            number=r"\d+",
        conda:
            "../envs/preprocess.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            root=lambda wildcards, output: PHANTOM_DIR,
            settings=config["phantom"],
        script:
            "../workflow/scripts/step.py"

    STEP = step("phantom.steps.dataset", "ingest/phantom_dataset")

    rule phantom_dataset:
        """What makes the simulated participants a BIDS dataset."""
        input:
            expand(rules.phantom_subject.output, number=phantoms.numbers(config)),
        output:
            [f"{PHANTOM_DIR}/{name}" for name in ("dataset_description.json", "participants.tsv", "README")],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/preprocess.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            root=lambda wildcards, output: PHANTOM_DIR,
            settings=config["phantom"],
        script:
            "../workflow/scripts/step.py"


STEP = step("bids.dicom.convert", "ingest/{folder}/{image}_dicom")


rule dicom:
    """The image of a DICOM series, without what could identify a person."""
    output:
        PATHS.both("converted")[1],
        converted=PATHS("converted"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        series=lambda wildcards: STUDY.series[PATHS("converted", **wildcards)],
    script:
        "../workflow/scripts/step.py"


STEP = step("study.steps.inventory", "ingest/inventory")


rule inventory:
    """Every scan found, with its geometry and field strength, and whether it is used."""
    input:
        # A scan that is not there, a link to nothing, is excluded and stops nobody.
        [scan.path for scan in STUDY.index.scans if not scan.problem or Path(scan.path).is_file()],
        rules.phantom_dataset.output if config["phantom"] is not None else [],
    output:
        inventory=PATHS("inventory"),
        description=PATHS("description"),
        ignore=PATHS("ignore"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
    script:
        "../workflow/scripts/step.py"


STEP = step("bids.validate.validate", "ingest/validate")


rule validate:
    """The official validator's verdict on the input datasets; it stops nothing."""
    input:
        [f"{folder}/dataset_description.json" for folder in STUDY.datasets],
        rules.phantom_dataset.output if config["phantom"] is not None else [],
    output:
        validation=PATHS("validation"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        datasets=STUDY.datasets,
    script:
        "../workflow/scripts/step.py"


STEP = step("study.steps.cohort", "ingest/cohort")


rule cohort:
    """The pairs that are used, and every scan that is not, with the reason."""
    input:
        PATHS("inventory"),
        [sidecar(STUDY.preprocessed(scan)) for scan in STUDY.scans.values()],
        # Decided when the plan is made: a list would be read with the rules.
        lambda wildcards: [decision(store) for store in STUDY.contents],
        [sidecar(PATHS("preprocessed", pair.source)) for pair in STUDY.pairs.values()],
    output:
        pairs=PATHS("pairs"),
        excluded=PATHS("excluded"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
    script:
        "../workflow/scripts/step.py"
