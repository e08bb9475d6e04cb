"""Upfield: from BIDS to a trained, compared and reported MRI enhancement model.

The stages, each in its own file of rules/ and each a target by name:
ingest -> preprocess -> qc -> split -> patches -> train -> predict -> evaluate -> report (the default).
With a trained `model` instead: apply, which enhances scans that have no target.
"""

import signal
import sys
from copy import deepcopy
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.15")
# Not `workflow.basedir`, which is the host's where this workflow is a module of another.
HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=False))
sys.path.insert(0, str(HERE / "workflow" / "scripts"))

from upfield.study import resources
from upfield.study.application import Application, resolve
from upfield.bids import sidecar
from upfield.catalogue.methods import MODEL_FREE
from upfield.study.config import TRUTH, reading_pairs, typed
from upfield.errors import UpfieldError
from upfield.files import merged, read_tsv, read_yaml
from upfield.image.nifti import SAME
from upfield.study.study import Study

# What the user said, before the defaults: a model decides about everything else.
GIVEN = deepcopy(config)


configfile: HERE / "config" / "config.yaml"


if not workflow.modifier.is_main_snakefile():
    # Snakemake leaves out a module's configfile, and the config is a part of the host's, which is not ours to change.
    config = merged(read_yaml(HERE / "config" / "config.yaml"), config)
config.update(typed(config, warn=workflow.is_main_process))

APPLYING = config["model"] is not None

try:
    if APPLYING:
        config.update(resolve(config, GIVEN))
    STUDY = (Application if APPLYING else Study)(config, rescan=workflow.is_main_process)
    SPLITS = STUDY.splits
except UpfieldError as error:
    raise WorkflowError(str(error)) from None

ROOT = STUDY.root

if not workflow.is_main_process:
    # A scheduler announces the end of a job with SIGUSR1 to all of its processes. Training writes its checkpoint then;
    # Snakemake around it, which would die of the signal and take it along, must outlive it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


wildcard_constraints:
    folder=r"sub-[A-Za-z0-9]+(/ses-[A-Za-z0-9]+)?/[a-z]+",
    scan=r"sub-[^/]+",
    participant=r"sub-[A-Za-z0-9]+",
    store=r"(sub|pair)-[A-Za-z0-9-]+",
    suffix=r"[A-Za-z0-9]+",
    method=r"[a-z0-9_]+",
    fold=r"[A-Za-z0-9]+",
    seed=r"\d+",
    label="|".join(STUDY.labels),


TABLES = [f"{ROOT}/metrics/{name}.tsv" for name in STUDY.tables]
# Metrics against a truth, of which an unpaired study has none.
EXPORTS = [f"{ROOT}/metrics/lohiresgan/{method}.csv" for method in STUDY.methods if not STUDY.unpaired]
PREDICTIONS = [STUDY.prediction(method, participant) for participant in STUDY.tested for method in STUDY.methods]
DEVIATIONS = [STUDY.deviation(method, participant) for participant in STUDY.tested for method in STUDY.uncertain]
TABLES += [f"{ROOT}/metrics/calibration.tsv"] if STUDY.uncertain else []
MODELS = [
    f"{STUDY.model(method, fold, seed)}/model.json"
    for method in STUDY.trained
    for fold in STUDY.folds
    for seed in STUDY.seeds(method)
]


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
    input:
        f"{ROOT}/report/index.html",
        # What else a user would miss: deleted, it is made again, and what depends on it with it.
        TABLES,
        EXPORTS,
        MODELS,
        PREDICTIONS,
        DEVIATIONS,


rule reader_study:
    input:
        f"{ROOT}/reader_study/key.csv",
        f"{ROOT}/reader_study/for_readers",


rule apply:
    default_target: APPLYING
    input:
        lambda wildcards: applied(),


rule ingest:
    input:
        f"{ROOT}/dataset_description.json",
        f"{ROOT}/inventory.tsv",
        f"{ROOT}/pairs.tsv",
        f"{ROOT}/excluded.tsv",


rule preprocess:
    input:
        [STUDY.preprocessed(scan) for scan in STUDY.scans.values()],


rule qc:
    input:
        f"{ROOT}/qc/quality.tsv",
        [STUDY.pictures(name) for name in STUDY.pair_names],
        [f"{ROOT}/qc/contact_sheet-{number}.webp" for number in STUDY.sheets],


rule split:
    input:
        f"{ROOT}/splits.tsv",


rule patches:
    input:
        [STUDY.store(name) for name in STUDY.contents],


rule train:
    input:
        MODELS,


rule predict:
    input:
        PREDICTIONS,
        DEVIATIONS,


rule evaluate:
    input:
        TABLES,
        EXPORTS,


include: "rules/planning.smk"
include: "rules/common.smk"
include: "rules/ingest.smk"
include: "rules/preprocess.smk"
include: "rules/qc.smk"
include: "rules/split.smk"
include: "rules/patches.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/evaluate.smk"


if STUDY.unpaired:

    include: "rules/harmonise.smk"


include: "rules/report.smk"
include: "rules/reading.smk"


if APPLYING:

    include: "rules/apply.smk"
