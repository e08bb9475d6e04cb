"""A trained model on scans that have no target; brain mask and bias field come from rules/scans.smk.

1. prepare         each scan on a working grid of its own, cut and normalized as in training
2. screen          what sets each scan apart from those that the model has seen; who is enhanced
3. enhance_alone   the models' output on the scan's native grid
4. applied_report  the report
"""

STEP = step("preprocess.standardize.prepare", "apply/{folder}/{scan}_{suffix}_prepare")


rule prepare:
    """A scan without a target, as the model card says."""
    input:
        unpack(lambda wildcards: scan_alone(wildcards, "template_mask", "to_template")),
    output:
        PATHS.both(STUDY.preprocessed_kind)[1],
        preprocessed=PATHS(STUDY.preprocessed_kind),
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
        settings=STUDY.grid_alone,
        typical=STUDY.training_range["target"]["voxel"],
        scale=STUDY.scale,
    script:
        "../workflow/scripts/step.py"


STEP = step("study.application.screen", "apply/screen")


checkpoint screen:
    """applied.tsv: every scan found, with warnings, and whether it is enhanced."""
    input:
        [sidecar(STUDY.preprocessed(scan)) for scan in STUDY.scans.values()],
    output:
        table=PATHS("applied"),
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
        STUDY.training_range,
        [card.get("seen") for card in STUDY.cards],
        config["out_of_range"],
        [scan.path for scan in STUDY.found],
        **STEP.params,
    script:
        "../workflow/scripts/step.py"


STEP = step("predict.apply.enhance_alone", "apply/{folder}/{scan}_{suffix}_enhance", kind="prediction", gpus=gpus)


rule enhance_alone:
    """The output of the models for one scan, their mean."""
    input:
        [f"{folder}/model.json" for folder in STUDY.folders],
        unpack(lambda wildcards: scan_alone(wildcards, "from_template")),
        preprocessed=lambda wildcards: [STUDY.preprocessed(one) for one in STUDY.contrasts(scan_of(wildcards))],
        models=[f"{folder}/model.safetensors" for folder in STUDY.folders],
    output:
        PATHS.both("enhanced", method=STUDY.method)[1],
        enhanced=PATHS("enhanced", method=STUDY.method),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/model.yaml"
    threads: STEP.threads
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        inference=INFERENCE,
        adds_change=STUDY.adds_change,
    script:
        "../workflow/scripts/step.py"


STEP = step("report.steps.applied_report", "apply/report")


rule applied_report:
    """results/<study>/report/index.html: what went in, what came out, what to be careful about."""
    input:
        lambda wildcards: enhanced(),
        [f"{folder}/model.json" for folder in STUDY.folders],
        table=PATHS("applied"),
    output:
        report=PATHS("report"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        config["report"],
        **STEP.params,
    script:
        "../workflow/scripts/step.py"
