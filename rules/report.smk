"""The report: one self-contained HTML file.

1. html_report  what was done, did it work, for whom did it not, and can it be repeated
"""

SHOWN = list(STUDY.tested)[: config["report"]["subjects"]]


rule html_report:
    """results/<study>/report/index.html."""
    input:
        tables=[
            f"{ROOT}/{name}.tsv"
            for name in (
                "inventory",
                "pairs",
                "excluded",
                "splits",
                *(f"metrics/{table}" for table in STUDY.tables),
            )
        ],
        calibration=f"{ROOT}/metrics/calibration.tsv" if STUDY.uncertain else [],
        cards=[
            f"{STUDY.model(method, fold, seed)}/{name}"
            for method in NETWORKS
            for fold in STUDY.folds
            for seed in STUDY.seeds(method)
            for name in ("model.json", "history.tsv")
        ],
        images=[STUDY.prediction(method, participant) for participant in SHOWN for method in STUDY.methods],
        deviations=[STUDY.deviation(method, participant) for participant in SHOWN for method in STUDY.uncertain],
        truths=[] if STUDY.unpaired else [STUDY.corrected(STUDY.pairs[participant].target) for participant in SHOWN],
        masks=[
            STUDY.mask(STUDY.alone[participant] if STUDY.unpaired else STUDY.pairs[participant].target)
            for participant in SHOWN
        ],
        quality=f"{ROOT}/qc/quality.tsv",
        validation=f"{ROOT}/qc/validation.tsv",
        pictures=[path for name in STUDY.pair_names for path in STUDY.pictures(name)],
    output:
        report(
            f"{ROOT}/report/index.html",
            caption="../workflow/report/report.rst",
            category="Report",
        ),
    log:
        f"{ROOT}/logs/report/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report/report.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("html_report"),
        runtime=minutes("html_report"),
    params:
        participants=SHOWN,
        methods=STUDY.methods,
        uncertain=STUDY.uncertain,
        options=config["report"],
    script:
        "../workflow/scripts/html_report.py"
