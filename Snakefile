"""Upfield: from BIDS to a trained, compared and reported MRI enhancement model.

The stages, each in its own file of rules/ and each a target by name:
ingest -> preprocess -> qc -> split -> patches -> train -> predict -> evaluate -> report (the default).
With a trained `model` instead: apply, which enhances scans that have no target, or evaluate, which measures the model
on pairs that it has never seen.
"""

import os
import signal
import sys
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.15")
# Not `workflow.basedir`, which is the host's where this workflow is a module of another.
HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=False))
# The library is this folder's own; a workflow that is read from a repository elsewhere has the installed one.
LIBRARY = HERE / "workflow" / "scripts" / "upfield"
sys.path.insert(0, str(LIBRARY.parent))

import upfield
from upfield import attempts, home, place
from upfield import step as steps
from upfield.bids import sidecar
from upfield.bids.layout import NAMES
from upfield.cluster import look, site, slurm
from upfield.cluster.generic import look as generic
from upfield.cluster.said import SaidLast
from upfield.errors import UpfieldError, closed, of_machine
from upfield.files import merged, read_tsv, remove_abandoned
from upfield.image.nifti import SAME
from upfield.plan import depth
from upfield.simulation import degradation
from upfield.study import anatomy as segmenters
from upfield.study import events, kinds, outputs, phantoms
from upfield.study.application import Application
from upfield.study.config import check_files, defaults, reading_pairs, typed
from upfield.study.study import Study
from upfield.study.validation import FOLD

home.settle()
# The Slurm plugin forgets where Slurm is when Snakemake itself runs in a job.
SLURM_CONF = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
# What the user said, before the defaults: a model decides about everything else.
GIVEN = deepcopy(config)


configfile: HERE / "config" / "config.yaml"


if not workflow.modifier.is_main_snakefile():
    # Snakemake leaves out a module's configfile, and the config is a part of the host's, which is not ours to change.
    config = merged(defaults(), config)

try:
    if workflow.is_main_process:
        WRONG = place.foreign(LIBRARY, Path(upfield.__file__).parent) or place.refusal(HERE, sys.executable)
        MODIFIER = workflow.modifier.path_modifier
        if not WRONG and (MODIFIER.prefix or MODIFIER.modifies_prefixes):
            WRONG = "Upfield as a module takes no prefix and no replace_prefix; set output_dir in its config"
        WRONG = WRONG or place.unwritable(Path.cwd())
        if WRONG:
            raise UpfieldError(f"config: {WRONG}")
        check_files(workflow.overwrite_configfiles)
    config.update(typed(config, warn=workflow.is_main_process))
    config.update(kinds.resolved(config, GIVEN))
    STUDY = kinds.of(config, rescan=workflow.is_main_process)
    # One that trains, a model on scans without a target, label maps alone, or else a model that is measured on pairs.
    config["preprocess"] = dict(STUDY.config["preprocess"])
    TRAINING_STUDY, APPLYING = isinstance(STUDY, Study), isinstance(STUDY, Application)
    MAPS_ALONE = isinstance(STUDY, segmenters.Maps)
    if TRAINING_STUDY:
        # Who is where is known, or refused, before anything runs.
        STUDY.folds
except Exception as error:
    told = (
        str(error)
        if isinstance(error, UpfieldError)
        else of_machine(error, writing=str(config.get("output_dir", "results")))
    )
    if told is None:
        raise
    raise WorkflowError(told) from None

ROOT, PATHS = STUDY.root, STUDY.paths

# What lies in the study's folder is looked at once, and not by every job.
FOUND = outputs.find(STUDY) if workflow.is_main_process else outputs.Found()
LEFT_OVER = outputs.left_over(STUDY, FOUND)
if LEFT_OVER:
    logger.warning(outputs.notice(ROOT, LEFT_OVER))
# Images without their sidecar, which says whether they are excluded, are made again.
WITHOUT_SIDECAR = [f"{ROOT}/{path}" for path in outputs.without_sidecar(FOUND)]
SCANS_WITHOUT = [f"{ROOT}/{path}" for path in outputs.without_sidecar(FOUND, outputs.OF_SCANS)]
PREDICTIONS_WITHOUT = [
    f"{ROOT}/{path}"
    for path in outputs.without_sidecar(FOUND, (*outputs.OF_SCANS, "prediction", "uncertainty", "sample"))
]


if not workflow.is_main_process:
    # A scheduler announces the end of a job with SIGUSR1 to all of its processes. Training writes its checkpoint then;
    # Snakemake around it, which would die of the signal and take it along, must outlive it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


wildcard_constraints:
    folder=r"sub-[A-Za-z0-9]+(/ses-[A-Za-z0-9]+)?/[a-z]+",
    scan=NAMES["scan"],
    participant=NAMES["participant"],
    store=NAMES["store"],
    suffix=r"[A-Za-z0-9]+",
    method=NAMES["method"],
    fold=r"[A-Za-z0-9]+",
    seed=NAMES["seed"],


include: "rules/planning.smk"
include: "rules/common.smk"


if not MAPS_ALONE:

    include: "rules/inputs.smk"


# The targets come first: the first rule is the default.
if APPLYING:

    localrules:
        apply,

    rule apply:
        """All that a trained model makes of scans without a target."""
        input:
            lambda wildcards: [
                *checkpoints.screen.get().output,
                *enhanced(),
                PATHS("report"),
                *WITHOUT_SIDECAR,
            ],

elif not MAPS_ALONE:
    EVERY_TABLE = [PATHS("table", table=table) for table in STUDY.every_table]
    COHORT = [PATHS(kind) for kind in ("description", "ignore", "inventory", "pairs", "excluded")]
    ONE_EACH = [PATHS(kind) for kind in ("report", "quality_table", "validation")]
    ONE_EACH += [PATHS("splits" if TRAINING_STUDY else "applied")]
    # Metrics against a target.
    EXPORTS = [PATHS("export", method=method) for method in STUDY.methods.names if STUDY.design.has_reference]
    PREDICTIONS = [
        STUDY.prediction(method, participant) for participant in STUDY.tested for method in STUDY.methods.names
    ] + [STUDY.uncertainty(method, participant) for participant in STUDY.tested for method in STUDY.methods.uncertain]
    PREDICTIONS += [STUDY.sample(method, one) for one in STUDY.tested for method in STUDY.methods.samplers]
    # As applied.
    PREDICTIONS += [STUDY.enhanced(method, participant) for participant in STUDY.tested for method in STUDY.as_applied]
    MODELS = [
        path
        for method in (STUDY.methods.trained if TRAINING_STUDY else [])
        for fold in STUDY.folds.names
        for seed in STUDY.methods.seeds(method)
        for path in model_files(method=method, fold=fold, seed=seed).values()
    ]

    localrules:
        report,
        apply,
        ingest,
        preprocess,
        qc,
        predict,
        evaluate,

    rule report:
        """Everything: the report, and what else a user would miss if it were deleted."""
        input:
            ONE_EACH,
            COHORT,
            EVERY_TABLE,
            EXPORTS,
            MODELS,
            PREDICTIONS,
            WITHOUT_SIDECAR,

    rule ingest:
        """Which scans there are, which belong together, what was left out."""
        input:
            COHORT,

    rule preprocess:
        """The scans that networks see."""
        input:
            [STUDY.preprocessed(scan) for scan in STUDY.scans.values()],
            SCANS_WITHOUT,

    rule qc:
        """Every scan and pair measured, judged and drawn."""
        input:
            PATHS("quality_table"),
            [STUDY.pictures(name) for name in STUDY.pair_names],
            [PATHS("contact_sheet", sheet=sheet) for sheet in STUDY.sheets],
            SCANS_WITHOUT,

    rule predict:
        """Outputs of every method for the test participants."""
        input:
            PREDICTIONS,
            PREDICTIONS_WITHOUT,

    rule evaluate:
        """Every table of metrics; of a given model the report too."""
        input:
            EVERY_TABLE,
            EXPORTS,
            PREDICTIONS,
            WITHOUT_SIDECAR,
            [] if TRAINING_STUDY else ONE_EACH,

    rule apply:
        """A trained model on scans without a target: refused, since no model is set, or one that is to be measured."""
        input:
            model_to_apply,

    if TRAINING_STUDY:

        localrules:
            split,
            patches,
            train,
            reader_study,

        rule split:
            """Who trains, validates and tests."""
            input:
                PATHS("splits"),

        rule patches:
            """Patch stores of all participants."""
            input:
                [PATHS("store", store=store) for store in STUDY.contents],
                SCANS_WITHOUT,

        rule plan:
            """What every planned method is trained with."""
            input:
                [
                    PATHS("plan", method=method, fold=fold)
                    for method in STUDY.methods.planned
                    for fold in STUDY.folds.names
                ],

        rule train:
            """Every model."""
            input:
                MODELS,
                SCANS_WITHOUT,

        rule reader_study:
            """Blinded images for readers, a sheet for their scores, and the key."""
            input:
                PATHS("reader_key"),
                PATHS("reader_images"),


if MAPS_ALONE or TRAINING_STUDY:

    localrules:
        anatomy,

    rule anatomy:
        """A segmenter of brain structures, trained on label maps alone."""
        input:
            [PATHS(kind) for kind in segmenters.FILES.values()] if config["anatomy"] is not None else no_maps,


localrules:
    put_aside,


rule put_aside:
    """What is not of the study any more, moved out of the way of other tools."""
    input:
        aside() if LEFT_OVER else [],


include: "rules/aside.smk"


if not MAPS_ALONE:

    include: "rules/scans.smk"


if APPLYING:

    include: "rules/apply.smk"

elif not MAPS_ALONE:

    include: "rules/ingest.smk"
    include: "rules/preprocess.smk"
    include: "rules/qc.smk"
    include: "rules/tissues.smk"
    include: "rules/evaluate.smk"
    include: "rules/as_applied.smk"
    include: "rules/as_others_count.smk"

    if TRAINING_STUDY:

        include: "rules/split.smk"
        include: "rules/patches.smk"
        include: "rules/plan.smk"
        include: "rules/train.smk"
        include: "rules/predict.smk"
        include: "rules/external.smk"
        include: "rules/harmonise.smk"
        include: "rules/report.smk"
        include: "rules/reading.smk"

    else:

        include: "rules/validation.smk"


if config["anatomy"] is not None:

    include: "rules/anatomy.smk"


include: "rules/cluster.smk"


onstart:
    if CLOSED := closed(ROOT):
        raise WorkflowError(CLOSED)
    for path in remove_abandoned(FOUND.temporary):
        logger.info(f"Removed {path}, which was left half-written.")
    if workflow.is_main_process:
        events.begin(workflow, logger)
    if workflow.is_main_process and workflow.executor_plugin.name == "local":
        logger.addHandler(SaidLast(logger, most=0))
    # On a cluster, every run looks at it first.
    if workflow.is_main_process and workflow.executor_plugin.name in ("slurm", "cluster-generic"):
        os.environ.update(SLURM_CONF)
        try:
            if "propose_site" in workflow.dag_settings.targets:
                look.write_proposal(logger)
            elif workflow.executor_plugin.name == "slurm":
                look.look(workflow, SITE, ROOT, TRAINING, WORST_CASE, logger, WorkflowError)
            else:
                generic.look(workflow, SITE, ROOT, TRAINING, WORST_CASE, logger)
        except UpfieldError as error:
            raise WorkflowError(str(error)) from None
        if {"check_site", "propose_site"} & set(workflow.dag_settings.targets):
            sys.exit(0)
