"""A trained model on scans that have no target; brain mask and bias field come from the rules of preprocessing.

1. prepare         each scan on a working grid of its own, skull stripped and normalised as in training
2. screen          what sets each scan apart from those that the model has seen; who is enhanced
3. enhance_alone   the models' output on the scan's native grid
4. applied_report  the report
"""


# Where both could make a file of the same name: there is no study here.
ruleorder: screen > inventory
ruleorder: applied_report > html_report
ruleorder: prepare > standardise


# The space of the preprocessed scans as it stands in their names: their own, or a template's.
SPACE = "" if STUDY.template is None else f"_space-{STUDY.space}"


def scan_alone(wildcards, *wanted):
    """A scan with bias corrected, its mask, and what is `wanted` of a template that the model works in, if any."""
    scan = STUDY.scans[wildcards.scan]
    return {"image": STUDY.corrected(scan), "mask": STUDY.mask(scan), **moved_to_template(scan, *wanted)}


def enhanced():
    """The scans that are enhanced, known once they have been screened."""
    table = read_tsv(checkpoints.screen.get().output.table)
    return [f"{ROOT}/{path}" for path in table["output"].dropna()]


def applied():
    """All that `snakemake apply` makes."""
    return [*checkpoints.screen.get().output, *enhanced(), f"{ROOT}/report/index.html"]


rule prepare:
    """A scan without a target, as the model card says."""
    input:
        unpack(lambda wildcards: scan_alone(wildcards, "template_mask", "to_template")),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}{SPACE}_desc-preproc_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}{SPACE}_desc-preproc_{{suffix}}.json",
    log:
        f"{ROOT}/logs/apply/{{folder}}/{{scan}}_{{suffix}}_prepare.log",
    benchmark:
        f"{ROOT}/benchmarks/apply/{{folder}}/{{scan}}_{{suffix}}_prepare.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("standardise"),
        runtime=minutes("standardise"),
    params:
        version=PREPROCESSING_VERSION,
        settings={key: PREPROCESS[key] for key in ("spacing", "normalize")},
        typical=STUDY.domain["target"]["voxel"],
        scale=STUDY.enlarged,
    script:
        "../workflow/scripts/prepare.py"


checkpoint screen:
    """applied.tsv: every scan found, with warnings, and whether it is enhanced."""
    input:
        sidecars=[sidecar(STUDY.standardised(scan)) for scan in STUDY.scans.values()],
    output:
        table=f"{ROOT}/applied.tsv",
        description=f"{ROOT}/dataset_description.json",
        ignore=f"{ROOT}/.bidsignore",
    log:
        f"{ROOT}/logs/apply/screen.log",
    benchmark:
        f"{ROOT}/benchmarks/apply/screen.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("cohort"),
        runtime=minutes("cohort"),
    params:
        domain=STUDY.domain,
        out_of_range=config["out_of_range"],
        found=[scan.path for scan in STUDY.index.scans],
    script:
        "../workflow/scripts/screen.py"


rule enhance_alone:
    """The output of the models for one scan, their mean."""
    input:
        unpack(lambda wildcards: scan_alone(wildcards, "from_template")),
        preproc=lambda wildcards: STUDY.standardised(STUDY.scans[wildcards.scan]),
        models=[f"{folder}/model.{extension}" for folder in STUDY.folders for extension in ("safetensors", "json")],
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-{STUDY.label}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-{STUDY.label}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/apply/{{folder}}/{{scan}}_{{suffix}}_enhance.log",
    benchmark:
        f"{ROOT}/benchmarks/apply/{{folder}}/{{scan}}_{{suffix}}_enhance.tsv"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=memory("enhance"),
        runtime=minutes("enhance"),
        gpu=gpus,
    params:
        folders=STUDY.folders,
        inference=INFERENCE,
    script:
        "../workflow/scripts/enhance_alone.py"


rule applied_report:
    """results/<study>/report/index.html: what went in, what came out, what to be careful about."""
    input:
        table=f"{ROOT}/applied.tsv",
        images=lambda wildcards: enhanced(),
        models=[f"{folder}/model.json" for folder in STUDY.folders],
    output:
        f"{ROOT}/report/index.html",
    log:
        f"{ROOT}/logs/apply/report.log",
    benchmark:
        f"{ROOT}/benchmarks/apply/report.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("html_report"),
        runtime=minutes("html_report"),
    params:
        options=config["report"],
    script:
        "../workflow/scripts/applied_report.py"
