"""The look at a cluster before anything is submitted to it, and what is arranged for the run."""

import getpass
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from upfield.cluster import planned, propose, slurm, watch
from upfield.cluster.check import check, text
from upfield.cluster.said import SaidLast
from upfield.cluster.site import Site, default_file
from upfield.errors import UpfieldError
from upfield.files import digest

# Below this squeue forgets a job before Snakemake asks what became of it.
SHORTEST_MEMORY = 120
# The rule whose jobs continue where the last one stopped.
TRAINING = "train_model"


def look(
    workflow: Any, site: Site, root: str, whole_training: int, worst: list[bool], log: Any, refusal: type[Exception]
) -> None:
    """Hold what is planned against what the cluster has, and arrange the run; nothing is submitted here.

    Parameters
    ----------
    workflow
        Snakemake's, with its jobs planned and its executor made.
    site
        What the site file says.
    root
        The study's folder: jobs of an earlier run of it must not run beside those of this one.
    whole_training
        Minutes that a training may need in all.
    worst
        Filled while resources are asked for as if everything had run out at each attempt.
    log
        Snakemake's logger.
    refusal
        What Snakemake's plugin raises where it would refuse a submission.

    Raises
    ------
    UpfieldError
        If Slurm does not answer, would refuse a kind of submission, or still runs jobs of the study.

    """
    user = getpass.getuser()
    cluster = slurm.describe(user)
    _check_modules(site)
    queue = slurm.queued(user)
    name = f"upfield_{digest(str(Path(root).absolute()))}"
    _check_earlier([job for job, named, _ in queue if named.startswith(name)], root)
    retries = workflow.execution_settings.retries
    first = planned.submissions(workflow, refusal)
    worst.append(True)
    try:
        last = planned.submissions(workflow, refusal, retries + 1)
    finally:
        worst.clear()
    where = f"the site file ({site.file or default_file(os.environ)})"
    checked = check(first, last, cluster, slurm.refusal, where)
    log.info(f"To be submitted, minutes and GB of each at its first and last attempt:\n{text(checked.table)}")
    for line in checked.notes:
        log.warning(line)
    if cluster.min_job_age < SHORTEST_MEMORY:
        log.warning(f"This Slurm forgets jobs after {cluster.min_job_age} s: use --slurm-status-command sacct")
    if checked.refused:
        for line in checked.refused[1:]:
            log.error(line)
        raise UpfieldError(f"{checked.refused[0]}. Nothing was submitted")
    _limit(workflow, site, cluster, len(queue), log)
    _continue_trainings(workflow, site, retries, whole_training)
    workflow.scheduler._executor.run_uuid = f"{name}_{workflow.scheduler._executor.run_uuid}"
    _one_interrupt(log)
    log.addHandler(SaidLast(log))
    watch.start(workflow.scheduler._executor.run_uuid, log)


def write_proposal(log: Any) -> None:
    """Write the user's own site file, or beside it if there is one; raises UpfieldError without a home."""
    path = default_file(os.environ)
    if path is None:
        raise UpfieldError("there is no home folder for a site file: set HOME or XDG_CONFIG_HOME")
    if path.is_file():
        path = path.with_name("site.proposed.yaml")
    propose.write(path, slurm.describe(getpass.getuser()))
    log.info(f"Written: {path}. Read it, correct what is not so, then: snakemake check_site --profile slurm …")


def _check_modules(site: Site) -> None:
    loaded = os.environ.get("LOADEDMODULES", "").split(":")
    missing = [name for name in site.modules if name not in loaded]
    if missing:
        raise UpfieldError(f"the site file asks for modules that are not loaded: module load {' '.join(missing)}")


def _check_earlier(jobs: list[str], root: str) -> None:
    if jobs:
        numbers = " ".join(jobs[:20])
        raise UpfieldError(
            f"{len(jobs)} jobs of an earlier run of {Path(root).name} are still in the queue: wait for them, or "
            f"scancel {numbers}. Nothing was submitted"
        )


def _limit(workflow: Any, site: Site, cluster: slurm.Cluster, queued: int, log: Any) -> None:
    """No more submissions at one time than the user may have."""
    most = min(cluster.max_jobs, math.inf if site.max_jobs is None else site.max_jobs)
    if not math.isinf(most):
        room = max(1, int(most) - queued)
        planned.most_at_once(workflow, room)
        log.info(
            f"You may have {int(most)} jobs in the queue and have {queued}: at most {room} are submitted at one time"
        )


def _continue_trainings(workflow: Any, site: Site, retries: int, whole: int) -> None:
    """As many attempts more as a training is cut into jobs."""
    longest = min((site.most("training", gpus, "minutes") for gpus in (0, 1)), default=math.inf)
    for rule in workflow.rules:
        if rule.name == TRAINING:
            rule.restart_times = retries + math.ceil(whole / min(longest, whole)) - 1


def _one_interrupt(log: Any) -> None:
    """A second Ctrl-C does not keep Snakemake from cancelling its jobs."""
    interrupted: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupted:
            log.warning("Jobs are being cancelled; this takes a few seconds")
            return
        interrupted.append(number)
        raise KeyboardInterrupt

    handler: Callable[[int, FrameType | None], None] = handle
    signal.signal(signal.SIGINT, handler)
