"""Upfield: from BIDS to a trained, compared and reported MRI enhancement model.

The stages, each in its own file of rules/ and each a target by name:
ingest -> preprocess -> qc -> split -> patches -> train -> predict -> evaluate -> report (the default).
With a trained `model` instead: apply, which enhances scans that have no target.
"""

import os
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

from upfield import attempts
from upfield import step as steps
from upfield.bids import sidecar
from upfield.cluster import look, site, slurm
from upfield.errors import UpfieldError
from upfield.files import merged, read_tsv, read_yaml
from upfield.image.nifti import SAME
from upfield.study import phantoms
from upfield.study.application import Application, resolve
from upfield.study.config import check_files, reading_pairs, typed
from upfield.study.place import check_folder
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
    if workflow.is_main_process:
        check_folder(Path.cwd())
        check_files(workflow.overwrite_configfiles)
    if APPLYING:
        config.update(resolve(config, GIVEN))
        STUDY = Application(config, rescan=workflow.is_main_process)
    else:
        STUDY = Study(config, rescan=workflow.is_main_process)
        # Who is where is known, or refused, before anything runs.
        STUDY.folds
except UpfieldError as error:
    raise WorkflowError(str(error)) from None

ROOT, PATHS = STUDY.root, STUDY.paths

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


include: "rules/planning.smk"
include: "rules/common.smk"
include: "rules/inputs.smk"


# The targets come first: the first rule is the default.
if APPLYING:

    localrules:
        apply,

    rule apply:
        """All that a trained model makes of scans without a target."""
        input:
            lambda wildcards: [*checkpoints.screen.get().output, *enhanced(), PATHS("report")],

else:
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
        """Everything: the report, and what else a user would miss if it were deleted."""
        input:
            PATHS("report"),
            TABLES,
            EXPORTS,
            MODELS,
            PREDICTIONS,

    rule reader_study:
        """Blinded images for readers, a sheet for their scores, and the key."""
        input:
            PATHS("reader_key"),
            PATHS("reader_images"),

    rule ingest:
        """Which scans there are, which belong together, what was left out."""
        input:
            [PATHS(kind) for kind in ("description", "inventory", "pairs", "excluded")],

    rule preprocess:
        """The scans that networks see."""
        input:
            [STUDY.preprocessed(scan) for scan in STUDY.scans.values()],

    rule qc:
        """Every scan and pair measured, judged and drawn."""
        input:
            PATHS("quality_table"),
            [STUDY.pictures(name) for name in STUDY.pair_names],
            [PATHS("contact_sheet", sheet=sheet) for sheet in STUDY.sheets],

    rule split:
        """Who trains, validates and tests."""
        input:
            PATHS("splits"),

    rule patches:
        """Patch stores of all participants."""
        input:
            [PATHS("store", store=store) for store in STUDY.contents],

    rule train:
        """Every model."""
        input:
            MODELS,

    rule predict:
        """Outputs of every method for the test participants."""
        input:
            PREDICTIONS,

    rule evaluate:
        """Every table of metrics."""
        input:
            TABLES,
            EXPORTS,

    rule apply:
        """A trained model on scans without a target: refused, since no model is set."""
        input:
            model_to_apply,


include: "rules/scans.smk"


if APPLYING:

    include: "rules/apply.smk"

else:

    include: "rules/ingest.smk"
    include: "rules/preprocess.smk"
    include: "rules/qc.smk"
    include: "rules/split.smk"
    include: "rules/patches.smk"
    include: "rules/train.smk"
    include: "rules/predict.smk"
    include: "rules/evaluate.smk"
    include: "rules/harmonise.smk"
    include: "rules/report.smk"
    include: "rules/reading.smk"


include: "rules/cluster.smk"
