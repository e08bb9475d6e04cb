"""The report: one self-contained HTML file.

1. html_report  what was done, did it work, for whom did it not, and can it be repeated
"""

STEP = step("report.steps.html_report", "report/report")


rule html_report:
    """results/<study>/report/index.html."""
    input:
        [PATHS(kind) for kind in ("inventory", "pairs", "excluded", "splits")],
        [PATHS("table", table=table) for table in STUDY.tables],
        [
            PATHS(kind, method=method, fold=fold, seed=seed)
            for method in STUDY.methods.networks
            for fold in STUDY.folds.names
            for seed in STUDY.methods.seeds(method)
            for kind in ("card", "history")
        ],
        [path for participant in SHOWN for path in files_of(shown_files(participant))],
        PATHS("quality_table"),
        PATHS("validation"),
        SEGMENTER or [],
        [path for name in STUDY.pair_names for path in STUDY.pictures(name)],
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
