"""The look at a cluster before anything is submitted to it, and what is arranged for the run."""

import getpass
import math
import os
from pathlib import Path
from typing import Any

from upfield.cluster import arrange, planned, propose, slurm, watch
from upfield.cluster.said import SaidLast
from upfield.cluster.site import Site, default_file
from upfield.errors import UpfieldError
from upfield.files import digest

# Below this squeue forgets a job before Snakemake asks what became of it.
SHORTEST_MEMORY = 120


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
    arrange.check_modules(site)
    queue = slurm.queued(user)
    name = f"upfield_{digest(str(Path(root).absolute()))}"
    arrange.check_earlier([job for job, named, _ in queue if named.startswith(name)], root, "scancel")
    retries = workflow.execution_settings.retries
    arrange.checked(
        lambda attempt: planned.submissions(workflow, refusal, attempt),
        retries,
        worst,
        cluster,
        slurm.refusal,
        site,
        log,
    )
    if cluster.min_job_age < SHORTEST_MEMORY:
        log.warning(f"This Slurm forgets jobs after {cluster.min_job_age} s: use --slurm-status-command sacct")
    executor = workflow.scheduler._executor
    # Where Snakemake runs in a job itself, the plugin asked without knowing where Slurm is.
    executor.max_array_size = min(executor.max_array_size, cluster.max_array)
    _limit(workflow, site, cluster, len(queue), log)
    arrange.continue_trainings(workflow, site, retries, whole_training)
    executor.run_uuid = f"{name}_{executor.run_uuid}"
    arrange.one_interrupt(log)
    log.addHandler(SaidLast(log))
    watch.start(executor.run_uuid, log)


def write_proposal(log: Any) -> None:
    """Write the user's own site file, or beside it if there is one; raises UpfieldError without a home."""
    path = default_file(os.environ)
    if path is None:
        raise UpfieldError("there is no home folder for a site file: set HOME or XDG_CONFIG_HOME")
    if path.is_file():
        path = path.with_name("site.proposed.yaml")
    propose.write(path, slurm.describe(getpass.getuser()))
    log.info(f"Written: {path}. Read it, correct what is not so, then: snakemake check_site --profile slurm …")


def _limit(workflow: Any, site: Site, cluster: slurm.Cluster, queued: int, log: Any) -> None:
    """No more submissions at one time than the user may have."""
    most = min(cluster.max_jobs, math.inf if site.max_jobs is None else site.max_jobs)
    if not math.isinf(most):
        room = max(1, int(most) - queued)
        planned.most_at_once(workflow, room)
        log.info(
            f"You may have {int(most)} jobs in the queue and have {queued}: at most {room} are submitted at one time"
        )
