"""What Snakemake's Slurm plugin will submit: read from the planned jobs, in the plugin's own words.

Internals of Snakemake 9 and of snakemake-executor-plugin-slurm 2.8 are used here and nowhere else (tests/slurm pins
them): a job is asked for exactly what the plugin would put on the command line of sbatch.
"""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from upfield.errors import UpfieldError

# What the plugin adds for itself: not asked of the cluster.
_OWN = {"--job-name": 2, "--output": 2, "--comment": 2, "--parsable": 1, "-D": 2}


@dataclass(frozen=True)
class Submission:
    """One sbatch that is planned: what it asks for, and its command without what runs in it."""

    name: str
    partition: str | None
    account: str | None
    minutes: int
    mem_mb: int
    cpus: int
    gpus: int
    command: tuple[str, ...]


def submissions(workflow: Any, refusal: type[Exception], attempt: int = 1) -> list[Submission]:
    """Everything that a run will submit, at its so-manieth attempt.

    Raises UpfieldError where the plugin itself would refuse one, which it does by a `refusal` (an account that does not
    exist, GPUs asked for twice).
    """
    executor = workflow.scheduler._executor
    log, executor.logger = executor.logger, _silent()

    def of_plugin(job: Any) -> Submission:
        try:
            return _submission(job, executor, workflow)
        except refusal as error:
            raise UpfieldError(f"{job.name}: {' '.join(str(error).split())}") from None

    try:
        return each(workflow, attempt, of_plugin)
    finally:
        executor.logger = log


def each(workflow: Any, attempt: int, make: Callable[[Any], Submission]) -> list[Submission]:
    """What is made of every job or group of a run, with what it asks for at its so-manieth attempt."""
    result = []
    for job in _jobs(workflow.dag):
        with _at(job, attempt):
            result.append(make(job))
    return result


def _silent() -> logging.Logger:
    """The plugin says of each job which partition it chose; here that would be said twice before anything happens."""
    logger = logging.getLogger("upfield.cluster.silent")
    logger.disabled = True
    return logger


def most_at_once(workflow: Any, most: int) -> None:
    """Let at most so many submissions be in the queue or running at one time."""
    resources = workflow.scheduler.resources
    resources["_nodes"] = min(resources["_nodes"], most)


def _jobs(dag: Any) -> Iterator[Any]:
    """Jobs and groups that are submitted; each group once."""
    groups = set()
    for job in dag.needrun_jobs():
        group = dag.get_job_group(job)
        if job.is_local or group in groups:
            continue
        if group is not None:
            groups.add(group)
        yield job if group is None else group


@contextmanager
def _at(job: Any, attempt: int) -> Iterator[None]:
    """Resources as those of a later attempt; as before afterwards."""
    members = list(job.jobs) if job.is_group() else [job]
    before = [member._attempt for member in members]
    _set_attempts(job, members, [attempt] * len(members))
    try:
        yield
    finally:
        _set_attempts(job, members, before)


def _set_attempts(job: Any, members: Iterable[Any], attempts: Iterable[int]) -> None:
    for member, attempt in zip(members, attempts, strict=True):
        member._attempt = attempt
        member._resources = None
    job._resources = None


def _submission(job: Any, executor: Any, workflow: Any) -> Submission:
    from snakemake_executor_plugin_slurm import get_submit_command, set_gres_string, validate_slurm_extra

    validate_slurm_extra(job)
    partition, account = executor.get_partition_arg(job), next(executor.get_account_arg(job))
    named = {"run_uuid": "-", "slurm_logfile": "-", "comment_str": "-", "workdir": None}
    call = get_submit_command(job, {**named, "partition": partition, "account": account}, workflow.executor_settings)
    words = _without(shlex.split(call + set_gres_string(job)))
    resources = job.resources
    gres = str(resources.get("gres", ""))
    counted = gres.rpartition(":")[2] if gres.startswith("gpu") else ""
    return Submission(
        job.groupid if job.is_group() else job.name,
        partition=_value(partition),
        account=_value(account),
        minutes=int(resources.get("runtime", 0)),
        mem_mb=int(resources.get("mem_mb", 0)),
        cpus=int(job.threads),
        gpus=int(resources.get("gpu", 0)) or (int(counted) if counted.isdigit() else int(bool(counted))),
        command=tuple(words),
    )


def _value(option: str) -> str | None:
    """The value of ` -p name`, None if there is none."""
    words = shlex.split(option)
    return words[1] if len(words) > 1 else None


def _without(words: list[str]) -> list[str]:
    """A command without what the plugin adds for itself."""
    result, at = [], 0
    while at < len(words):
        skipped = _OWN.get(words[at], 0)
        if not skipped:
            result.append(words[at])
        at += skipped or 1
    return result
