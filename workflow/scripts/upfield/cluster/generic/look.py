"""The look at what is planned before anything is submitted without Slurm's plugin, and what is arranged for the run."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from upfield.cluster import arrange, planned
from upfield.cluster.generic import jobs, programs, schedulers
from upfield.cluster.generic.asked import asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler
from upfield.cluster.planned import Submission
from upfield.cluster.said import SaidLast
from upfield.cluster.site import Site
from upfield.cluster.slurm import Cluster
from upfield.errors import UpfieldError


def look(workflow: Any, site: Site, root: str, whole_training: int, worst: list[bool], log: Any) -> None:
    """Hold what is planned against the site file, and arrange the run; nothing is submitted here.

    Parameters
    ----------
    workflow, site, root, whole_training, worst, log
        As of `cluster.look`.

    Raises
    ------
    UpfieldError
        If the scheduler is not here or has no word for what the site file wants, if no queue of it takes what is
        planned, or if jobs of an earlier run are still in the queue.

    """
    scheduler = schedulers.find(site.scheduler, os.environ)
    arrange.check_modules(site)
    known = jobs.Jobs(Path(root, ".upfield", "submitted").absolute())
    arrange.check_earlier(_still_there(known, scheduler), root, scheduler.cancel)
    retries = workflow.execution_settings.retries
    # Nobody but the site file says what there is, and nothing is tried.
    cluster = Cluster(site.partitions, None, ())
    arrange.checked(
        lambda attempt: planned.each(workflow, attempt, lambda job: _submission(job, site, scheduler, attempt)),
        retries,
        worst,
        cluster,
        lambda command: None,
        site,
        log,
    )
    if site.max_jobs is not None:
        planned.most_at_once(workflow, site.max_jobs)
    arrange.continue_trainings(workflow, site, retries, whole_training)
    arrange.one_interrupt(log)
    log.addHandler(SaidLast(log))
    os.environ[jobs.FOLDER] = str(known.folder)
    os.environ[jobs.SCHEDULER] = scheduler.name
    os.environ[jobs.PYTHON] = sys.executable
    _quote_commands(workflow.executor_settings)


def _submission(job: Any, site: Site, scheduler: Scheduler, attempt: int) -> Submission:
    # Later attempts that no queue would take are worth a note, no refusal.
    wanted = asked(json.loads(job.properties()), site, strict=attempt == 1)
    for what in scheduler.lacks:
        if getattr(wanted, what):
            raise UpfieldError(
                f"{wanted.name} asks for {what.replace('_', ' ')} {getattr(wanted, what)}, and {scheduler.name} has "
                "no word for it; leave it out of the site file, and name a queue that has it"
            )
    return Submission(
        job.groupid if job.is_group() else job.name,
        partition=wanted.queue,
        account=wanted.account,
        minutes=wanted.minutes,
        mem_mb=wanted.mem_mb,
        cpus=wanted.cpus,
        gpus=wanted.gpus,
        command=(),
    )


def _still_there(known: jobs.Jobs, scheduler: Scheduler) -> list[str]:
    """Jobs of an earlier run that are in the queue; the others are forgotten."""
    left = []
    for number in known.numbers():
        if scheduler.lives(*programs.ask([*scheduler.look, number])):
            left.append(number)
        else:
            known.forget(number)
    return left


def _quote_commands(settings: Any) -> None:
    """Let the plugin find its programs from wherever it looks: their paths go through a shell, and as a format."""
    for name in ("submit_cmd", "status_cmd", "cancel_cmd"):
        command = getattr(settings, name)
        if command and Path(command).is_file():
            path = str(Path(command).absolute())
            quoted = path if name == "cancel_cmd" else shlex.quote(path)
            setattr(settings, name, quoted.replace("{", "{{").replace("}", "}}") if name == "submit_cmd" else quoted)
