"""Evaluation: every test participant, in the brain, against the native target.

1. measure      one participant: every method, region and metric
2. summarise    all participants in one table, the leaderboard, the paired comparisons
3. export       the table of each method as LoHiResGAN writes it
4. calibrate    one participant: predicted standard deviation against error, where predictions have one
5. calibration  the same of all participants in one table
"""


rule measure:
    """Metrics of one test participant."""
    input:
        predictions=lambda wildcards: [STUDY.prediction(method, wildcards.participant) for method in STUDY.methods],
        truth=lambda wildcards: STUDY.corrected(STUDY.pairs[wildcards.participant].target),
        mask=lambda wildcards: STUDY.mask(STUDY.pairs[wildcards.participant].target),
        sidecars=lambda wildcards: [
            sidecar(STUDY.preprocessed(scan))
            for scan in (
                STUDY.pairs[wildcards.participant].source,
                STUDY.pairs[wildcards.participant].target,
            )
        ],
    output:
        f"{ROOT}/metrics/participants/{{participant}}.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("measure"),
        runtime=minutes("measure"),
    params:
        methods=STUDY.methods,
        fold=lambda wildcards: STUDY.tested[wildcards.participant],
        seeds=lambda wildcards: {method: STUDY.seeds(method) for method in STUDY.trained},
        suffix=lambda wildcards: STUDY.pairs[wildcards.participant].target.suffix,
        metrics=config["evaluate"]["metrics"],
        regions=config["evaluate"]["regions"],
    script:
        "../workflow/scripts/measure.py"


rule summarise:
    """The tables of the contract."""
    input:
        participants=[f"{ROOT}/metrics/participants/{participant}.tsv" for participant in STUDY.tested],
    output:
        per_subject=f"{ROOT}/metrics/per_subject.tsv",
        leaderboard=report(
            f"{ROOT}/metrics/leaderboard.tsv",
            caption="../workflow/report/leaderboard.rst",
            category="Evaluation",
        ),
        comparisons=report(
            f"{ROOT}/metrics/comparisons.tsv",
            caption="../workflow/report/comparisons.rst",
            category="Evaluation",
        ),
    log:
        f"{ROOT}/logs/evaluate/summarise.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/summarise.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("summarise"),
        runtime=minutes("summarise"),
    params:
        methods=[method for method in STUDY.methods if method in NETWORKS],
        baselines=[*MODEL_FREE, SUPERVISED],
        seed=config["evaluate"]["seed"],
    script:
        "../workflow/scripts/summarise.py"


rule export:
    """Per-method CSV files in the columns of LoHiResGAN, for whoever compares with its results."""
    input:
        f"{ROOT}/metrics/per_subject.tsv",
    output:
        EXPORTS,
    log:
        f"{ROOT}/logs/evaluate/export.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/export.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("summarise"),
        runtime=minutes("summarise"),
    params:
        methods=STUDY.methods,
        files=lambda wildcards: {
            method: {participant: Path(STUDY.prediction(method, participant)).name for participant in STUDY.tested}
            for method in STUDY.methods
        },
    script:
        "../workflow/scripts/export.py"


if STUDY.uncertain:

    rule calibrate:
        """Predicted standard deviation against error, of one test participant."""
        input:
            predictions=lambda wildcards: [
                STUDY.prediction(method, wildcards.participant) for method in STUDY.uncertain
            ],
            deviations=lambda wildcards: [STUDY.deviation(method, wildcards.participant) for method in STUDY.uncertain],
            truth=lambda wildcards: STUDY.corrected(STUDY.pairs[wildcards.participant].target),
            mask=lambda wildcards: STUDY.mask(STUDY.pairs[wildcards.participant].target),
            sidecars=lambda wildcards: [
                sidecar(STUDY.preprocessed(scan))
                for scan in (
                    STUDY.pairs[wildcards.participant].source,
                    STUDY.pairs[wildcards.participant].target,
                )
            ],
        output:
            f"{ROOT}/metrics/calibration/{{participant}}.tsv",
        log:
            f"{ROOT}/logs/evaluate/{{participant}}_calibration.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluate/{{participant}}_calibration.tsv"
        group:
            "evaluate"
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=memory("measure"),
            runtime=minutes("measure"),
        params:
            methods=STUDY.uncertain,
            fold=lambda wildcards: STUDY.tested[wildcards.participant],
        script:
            "../workflow/scripts/calibrate.py"

    rule calibration:
        """metrics/calibration.tsv."""
        input:
            [f"{ROOT}/metrics/calibration/{participant}.tsv" for participant in STUDY.tested],
        output:
            f"{ROOT}/metrics/calibration.tsv",
        log:
            f"{ROOT}/logs/evaluate/calibration.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluate/calibration.tsv"
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=memory("summarise"),
            runtime=minutes("summarise"),
        script:
            "../workflow/scripts/calibration_table.py"
