"""Evaluation: every test participant, in the brain, against the native target.

1. measure      one participant: every method, region and metric
2. perceptual   one participant: LPIPS of every method, where its weights are given
3. summarise    all participants: every value, the leaderboard, the comparisons, ranks, outliers and agreement
4. export       the table of each method as LoHiResGAN writes it
5. audit        one participant: what stands out in the residuals, added or removed
6. lesions      one participant: synthetic lesions in the source, and how much of them is in the outputs
7. findings     audit and lesions of all participants
8. calibrate    one participant: predicted standard deviation against error, where predictions have one
9. calibration  the same of all participants in one table
10. perceive    one participant: how near and how sharp outputs and a sampler's samples are
11. perception  the same of all participants in one table
"""

# Files of all test participants by the table that they are gathered in, and what asks for it.
FINDINGS = {
    kind: [PATHS(kind, participant=participant) for participant in STUDY.tested]
    for kind, table in {"audit": "audit", "structures": "audit", "lesions": "lesions"}.items()
    if table in STUDY.tables
}
CALIBRATIONS, PERCEPTIONS = (
    [PATHS(kind, participant=participant) for participant in STUDY.tested] for kind in ("calibration", "perception")
)


STEP = step("evaluate.subject.measure", "evaluate/{participant}")


rule measure:
    """Metrics of one test participant."""
    input:
        lambda wildcards: files_of_case(case(wildcards)),
        unpack(regions),
    output:
        values=PATHS("values"),
        reference_values=PATHS("reference_values"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    threads: STEP.threads
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        case=case,
        metrics=config["evaluate"]["metrics"],
        names=config["evaluate"]["atlas"]["names"],
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.perceptual.measure", "evaluate/{participant}_lpips", kind="prediction", gpus=gpus)


rule perceptual:
    """LPIPS of one test participant, with weights that the user gives."""
    input:
        lambda wildcards: files_of_case(case(wildcards)),
        weights=config["evaluate"]["lpips_weights"] or [],
    output:
        perceptual=PATHS("perceptual"),
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
        case=case,
        device=config["train"]["device"],
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.summary.write_tables", "evaluate/summarise")


rule summarise:
    """The tables of the contract, and what else the participants' values allow to be said."""
    input:
        **{
            argument: [PATHS(kind, participant=participant) for participant in STUDY.tested]
            for argument, kind in STUDY.design.measured(config).items()
        },
    output:
        per_subject=PATHS("table", table="per_subject"),
        leaderboard=report(
            PATHS("table", table="leaderboard"),
            caption="../workflow/report/leaderboard.rst",
            category="Evaluation",
        ),
        comparisons=report(
            PATHS("table", table="comparisons"),
            caption="../workflow/report/comparisons.rst",
            category="Evaluation",
        ),
        ranks=report(
            PATHS("table", table="ranks"),
            caption="../workflow/report/ranks.rst",
            category="Evaluation",
        ),
        outliers=PATHS("table", table="outliers"),
        quantities=PATHS("table", table="quantities"),
        agreement=report(
            PATHS("table", table="agreement"),
            caption="../workflow/report/agreement.rst",
            category="Evaluation",
        ),
        definitions=PATHS("table", table="definitions"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        methods=[*STUDY.methods.networks, *STUDY.methods.external],
        baselines=STUDY.methods.baselines,
        primary=STUDY.methods.primary,
        relevant=config["statistics"]["relevant"],
        seed=config["evaluate"]["seed"],
    script:
        "../workflow/scripts/step.py"


if STUDY.design.has_reference:
    STEP = step("evaluate.export.export", "evaluate/export")

    rule export:
        """Per-method CSV files in the columns of LoHiResGAN, for whoever compares with its results."""
        input:
            values=PATHS("table", table="per_subject"),
        output:
            tables=[PATHS("export", method=method) for method in STUDY.methods.names],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            files=lambda wildcards: {
                method: {participant: Path(STUDY.prediction(method, participant)).name for participant in STUDY.tested}
                for method in STUDY.methods.names
            },
        script:
            "../workflow/scripts/step.py"


STEP = step("evaluate.audit.audit", "evaluate/{participant}_audit")


rule audit:
    """Structures that stand out in the residuals of one test participant, and whether they were added or removed."""
    input:
        lambda wildcards: files_of_case(case(wildcards), uncertainties=True),
    output:
        summary=PATHS("audit"),
        structures=PATHS("structures"),
        maps=directory(PATHS("audit_maps")),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        case=case,
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.lesions.lesion_test", "evaluate/{participant}_lesions", kind="prediction", gpus=gpus)


rule lesions:
    """Synthetic lesions in the source of one test participant, processed by every method."""
    input:
        lambda wildcards: files_of_case(lesion_case(wildcards)),
        lambda wildcards: [path for files in lesion_models(wildcards).values() for path in files],
        lambda wildcards: [
            card for method in lesion_models(wildcards) for card in STUDY.models(method, wildcards.participant)["card"]
        ],
        lambda wildcards: [path for files in lesion_inputs(wildcards).values() for path in files],
        unpack(lesion_pair),
    output:
        lesions=PATHS("lesions"),
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
        case=lesion_case,
        models=lesion_models,
        network_inputs=lesion_inputs,
        seed=config["evaluate"]["seed"],
        inference=INFERENCE,
    script:
        "../workflow/scripts/step.py"


if FINDINGS:
    STEP = step("evaluate.summary.gather", "evaluate/findings")

    rule findings:
        """What was found in all participants."""
        input:
            list(FINDINGS.values()),
        output:
            tables=[
                report(
                    PATHS("table", table=name),
                    caption=f"../workflow/report/{name}.rst",
                    category="Hallucinations",
                )
                for name in FINDINGS
            ],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            parts=lambda wildcards, input: FINDINGS,
        script:
            "../workflow/scripts/step.py"


if STUDY.methods.uncertain:
    STEP = step("evaluate.calibration.calibrate", "evaluate/{participant}_calibration")

    rule calibrate:
        """Predicted standard deviation against error, of one test participant."""
        input:
            lambda wildcards: files_of_case(uncertain_case(wildcards), uncertainties=True),
        output:
            calibration=PATHS("calibration"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        group:
            "evaluate"
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            case=uncertain_case,
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.summary.gather", "evaluate/calibration")

    rule calibration:
        """metrics/calibration.tsv."""
        input:
            CALIBRATIONS,
        output:
            tables=[PATHS("table", table="calibration")],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            parts=lambda wildcards, input: {"calibration": CALIBRATIONS},
        script:
            "../workflow/scripts/step.py"


if STUDY.methods.samplers:
    STEP = step("evaluate.perception.perceive", "evaluate/{participant}_perception")

    rule perceive:
        """How near and how sharp outputs and samples of one test participant are."""
        input:
            lambda wildcards: files_of_case(case(wildcards)),
            lambda wildcards: sampled_case(wildcards)["samples"].values(),
        output:
            perception=PATHS("perception"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        group:
            "evaluate"
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            case=sampled_case,
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.summary.gather", "evaluate/perception")

    rule perception:
        """metrics/perception.tsv."""
        input:
            PERCEPTIONS,
        output:
            tables=[PATHS("table", table="perception")],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/report.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            parts=lambda wildcards, input: {"perception": PERCEPTIONS},
        script:
            "../workflow/scripts/step.py"
