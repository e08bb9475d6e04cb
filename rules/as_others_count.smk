"""As others count: the scores that papers and challenges publish, in tables that nothing else reads.

1. measure_as_others  one participant: every method by every such score
2. as_others_count    all participants
"""

if "as_others_count" in STUDY.tables:

    STEP = step("evaluate.as_others_count.measure", "evaluate/{participant}_as_others_count")

    rule measure_as_others:
        """Scores of papers and challenges of one test participant."""
        input:
            lambda wildcards: files_of_case(case(wildcards)),
        output:
            values=PATHS("others_values"),
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

    STEP = step("evaluate.as_others_count.summarise", "evaluate/as_others_count")

    rule as_others_count:
        """Every such score, and its leaderboard."""
        input:
            values=[PATHS("others_values", participant=participant) for participant in STUDY.tested],
        output:
            per_subject=PATHS("table", table="as_others_count"),
            leaderboard=report(
                PATHS("table", table="as_others_count_leaderboard"),
                caption="../workflow/report/as_others_count.rst",
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
