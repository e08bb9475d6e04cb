"""What is arranged for a run on a cluster, whichever scheduler it has."""

import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from upfield.cluster.check import Checked, check, text
from upfield.cluster.planned import Submission
from upfield.cluster.site import Site, default_file
from upfield.cluster.slurm import Cluster
from upfield.errors import UpfieldError

# The rule whose jobs continue where the last one stopped.
TRAINING = "train_model"


def check_modules(site: Site) -> None:
    """Raise UpfieldError if modules that the site file names are not loaded."""
    loaded = os.environ.get("LOADEDMODULES", "").split(":")
    missing = [name for name in site.modules if name not in loaded]
    if missing:
        raise UpfieldError(f"the site file asks for modules that are not loaded: module load {' '.join(missing)}")


def check_earlier(jobs: Sequence[str], root: str, cancel: str) -> None:
    """Raise UpfieldError if jobs of an earlier run of a study are still in the queue; `cancel` is what ends them."""
    if jobs:
        raise UpfieldError(
            f"{len(jobs)} jobs of an earlier run of {Path(root).name} are still in the queue: wait for them, or "
            f"{cancel} {' '.join(jobs[:20])}. Nothing was submitted"
        )


def checked(
    submissions: Callable[[int], list[Submission]],
    retries: int,
    worst: list[bool],
    cluster: Cluster,
    refusal: Callable[[Sequence[str]], str | None],
    site: Site,
    log: Any,
) -> None:
    """Show what is planned, and raise UpfieldError with the first reason for which a part of it cannot be submitted.

    Parameters
    ----------
    submissions
        Everything that is planned, by the number of the attempt.
    retries
        How often a job is tried again.
    worst
        Filled while resources are asked for as if everything had run out at each attempt.
    cluster
        What there is.
    refusal
        The scheduler's words if it would not take a command, else None.
    site
        What the site file says.
    log
        Snakemake's logger.

    """
    first = submissions(1)
    worst.append(True)
    try:
        last = submissions(retries + 1)
    finally:
        worst.clear()
    found: Checked = check(first, last, cluster, refusal, f"the site file ({site.file or default_file(os.environ)})")
    log.info(f"To be submitted, minutes and GB of each at its first and last attempt:\n{text(found.table)}")
    for line in found.notes:
        log.warning(line)
    if found.refused:
        for line in found.refused[1:]:
            log.error(line)
        raise UpfieldError(f"{found.refused[0]}. Nothing was submitted")


def continue_trainings(workflow: Any, site: Site, retries: int, whole: int) -> None:
    """As many attempts more as a training is cut into jobs."""
    longest = min((site.most("training", gpus, "minutes") for gpus in (0, 1)), default=math.inf)
    for rule in workflow.rules:
        if rule.name == TRAINING:
            rule.restart_times = retries + math.ceil(whole / min(longest, whole)) - 1


def one_interrupt(log: Any) -> None:
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
