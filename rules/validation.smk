"""External validation: a trained model on pairs that it has never seen, every one of them tested.

1. targets_of_model  what the targets of the model's training were like, as its card says
2. screen_sources    what sets each source apart from those that the model has seen
3. move              an output as applied, on the grid and the intensity scale of its target
4. validation_report   the report
"""

# Sources are enhanced as in rules/as_applied.smk, and outputs measured as in rules/evaluate.smk.
STEP = step("study.validation.targets_of_model", "predict/targets_of_model")


rule targets_of_model:
    """Voxels and intensities of the targets that the model was trained on."""
    input:
        [f"{folder}/model.json" for folder in STUDY.folders],
    output:
        typical=PATHS("typical", fold=FOLD),
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


STEP = step("study.validation.screen", "predict/screen")


rule screen_sources:
    """applied.tsv: every source, with warnings."""
    input:
        [path for participant in STUDY.tested for path in STUDY.judged_by(participant)],
    output:
        table=PATHS("applied"),
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
        **STEP.params,
    script:
        "../workflow/scripts/step.py"


STEP = step("predict.apply.move", "predict/{folder}/{scan}_{label}_{suffix}")


rule move:
    """A method's output for one participant, to be measured."""
    input:
        unpack(lambda wildcards: predicted_pair(scan_of(wildcards))),
        enhanced=lambda wildcards: STUDY.delivered(method_of(wildcards), scan_of(wildcards).participant),
        judged_by=lambda wildcards: STUDY.judged_by(scan_of(wildcards).participant),
    output:
        PATHS.both("prediction")[1],
        prediction=PATHS("prediction"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        label=labels(lambda method: True),
    group:
        "evaluate"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        method=method_of,
    script:
        "../workflow/scripts/step.py"


STEP = step("report.steps.validation_report", "report/report")


rule validation_report:
    """results/<study>/report/index.html: how good the model is on other data, and what to be careful about."""
    input:
        [PATHS(kind) for kind in ("inventory", "pairs", "excluded", "quality_table", "validation")],
        [PATHS("table", table=table) for table in STUDY.tables],
        [f"{folder}/model.json" for folder in STUDY.folders],
        SEGMENTER or [],
        [path for participant in SHOWN for path in files_of(shown_files(participant))],
        [path for name in STUDY.pair_names for path in STUDY.pictures(name)],
        applied=PATHS("applied"),
    output:
        report=report(PATHS("report"), caption="../workflow/report/report.rst", category="Report"),
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
        images=lambda wildcards, input: [shown_files(participant) for participant in SHOWN],
    script:
        "../workflow/scripts/step.py"
