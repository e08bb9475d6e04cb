"""The stages as targets by name; `report` is the default.

1. report        the report, and what else a user would miss if it were deleted
2. reader_study  blinded images for readers
3. ingest        what was found
4. preprocess    scans that networks see
5. qc            every scan and pair measured, judged and drawn
6. split         who trains, validates and tests
7. patches       patch stores
8. train         models
9. predict       outputs of the test participants
10. evaluate     tables of metrics
11. apply        a trained model on scans without a target, for which the study needs a model
"""

TABLES = [PATHS("table", table=table) for table in STUDY.tables]
# Metrics against a target.
EXPORTS = [PATHS("export", method=method) for method in STUDY.methods.names if STUDY.design.has_reference]
PREDICTIONS = [
    STUDY.prediction(method, participant) for participant in STUDY.tested for method in STUDY.methods.names
] + [STUDY.uncertainty(method, participant) for participant in STUDY.tested for method in STUDY.methods.uncertain]
MODELS = [
    PATHS("card", method=method, fold=fold, seed=seed)
    for method in STUDY.methods.trained
    for fold in STUDY.folds.names
    for seed in STUDY.methods.seeds(method)
]


def model_to_apply(wildcards):
    raise WorkflowError("config: model is not set; apply needs model=<model folder> and bids_dir=<BIDS dataset>")


localrules:
    report,
    apply,
    ingest,
    preprocess,
    qc,
    split,
    patches,
    train,
    predict,
    evaluate,
    reader_study,


rule report:
    default_target: True
    input:
        PATHS("report"),
        TABLES,
        EXPORTS,
        MODELS,
        PREDICTIONS,


rule reader_study:
    input:
        PATHS("reader_key"),
        PATHS("reader_images"),


rule ingest:
    input:
        [PATHS(kind) for kind in ("description", "inventory", "pairs", "excluded")],


rule preprocess:
    input:
        [STUDY.preprocessed(scan) for scan in STUDY.scans.values()],


rule qc:
    input:
        PATHS("quality_table"),
        [STUDY.pictures(name) for name in STUDY.pair_names],
        [PATHS("contact_sheet", sheet=sheet) for sheet in STUDY.sheets],


rule split:
    input:
        PATHS("splits"),


rule patches:
    input:
        [PATHS("store", store=store) for store in STUDY.contents],


rule train:
    input:
        MODELS,


rule predict:
    input:
        PREDICTIONS,


rule evaluate:
    input:
        TABLES,
        EXPORTS,


rule apply:
    input:
        model_to_apply,
