"""As applied: what a trained model would make of test participants if it did not know their targets, measured.

1. prepare_tested      the source by itself, as `snakemake apply` prepares it
2. enhance_tested      the networks, as `snakemake apply` runs them, on the source's own grid
3. rescale             the baselines without a network: the source on the training targets' scale
4. measure_as_applied  one participant: outputs moved to the target, then measured as all are
5. as_applied          all participants
"""

if STUDY.as_applied:

    STEP = step("predict.apply.prepare_tested", "predict/{folder}/{scan}_{suffix}_prepare-{space}-{scale}")

    rule prepare_tested:
        """The source of a test participant on a working grid of its own, or on a template's."""
        input:
            unpack(lambda wildcards: scan_alone(wildcards, "template_mask", "to_template")),
            typical=typical_of,
        output:
            PATHS.both("prepared", space="{space}")[1],
            preprocessed=PATHS("prepared", space="{space}"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            scale=r"\d+x\d+x\d+",
            space="[A-Za-z0-9]+",
        group:
            "prepare"
        conda:
            "../envs/preprocess.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            settings=STUDY.grid_alone,
            scale=lambda wildcards: [int(factor) for factor in wildcards.scale.split("x")],
        script:
            "../workflow/scripts/step.py"

    STEP = step(
        "predict.apply.enhance_alone",
        "predict/{folder}/{scan}_{label}_{suffix}_alone",
        kind="prediction",
        gpus=gpus,
    )

    rule enhance_tested:
        """A network's output for one test participant, as `snakemake apply` makes it."""
        input:
            models("card"),
            unpack(lambda wildcards: scan_alone(wildcards, "from_template")),
            preprocessed=prepared_scan,
            models=models("model"),
            judged_by=applied_judged_by,
        output:
            PATHS.both("enhanced")[1],
            enhanced=PATHS("enhanced"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            scan=OWN_GRID,
            label=labels(lambda method: method in STUDY.methods.networks),
        group:
            "enhance_{label}"
        conda:
            "../envs/model.yaml"
        threads: STEP.threads
        resources:
            **STEP.resources,
            in_turn=1,
        params:
            **STEP.params,
            inference=INFERENCE,
            adds_change=STUDY.adds_change,
        script:
            "../workflow/scripts/step.py"

    STEP = step("predict.apply.rescale", "predict/{folder}/{scan}_{label}_{suffix}_alone")

    rule rescale:
        """A baseline without a network on the source's own grid, on the scale of the training targets."""
        input:
            models("card"),
            image=PATHS("corrected"),
            mask=PATHS("mask"),
            preprocessed=lambda wildcards: prepared_scan(wildcards)[0],
            typical=typical_of,
            models=models("model"),
            judged_by=applied_judged_by,
        output:
            PATHS.both("enhanced")[1],
            enhanced=PATHS("enhanced"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            scan=OWN_GRID,
            label=labels(lambda method: method in STUDY.as_applied and method in STUDY.methods.free),
        group:
            "evaluate"
        conda:
            "../envs/model.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            method=method_of,
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.subject.measure", "evaluate/{participant}_as_applied")

    rule measure_as_applied:
        """Metrics of one test participant's outputs as applied, moved to the target."""
        input:
            lambda wildcards: [*files_of_case(applied_case(wildcards)), applied_case(wildcards)["transform"]],
            unpack(regions),
        output:
            values=PATHS("applied_values"),
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
            case=applied_case,
            metrics=config["evaluate"]["metrics"],
            names=config["evaluate"]["atlas"]["names"],
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.summary.write_as_applied", "evaluate/as_applied")

    rule as_applied:
        """Every value of outputs as applied, and their leaderboard."""
        input:
            values=[PATHS("applied_values", participant=participant) for participant in STUDY.tested],
        output:
            per_subject=PATHS("table", table="as_applied"),
            leaderboard=report(
                PATHS("table", table="as_applied_leaderboard"),
                caption="../workflow/report/as_applied.rst",
                category="Evaluation",
            ),
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
        script:
            "../workflow/scripts/step.py"
