"""Whether a cluster will take what is planned: one table, and one line for each refusal."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from upfield.cluster.planned import Submission
from upfield.cluster.slurm import Cluster

# What to do about Slurm's own words.
_ADVICE = (
    (r"submit limit|job limit|limit reached", "set max_jobs"),
    (r"account|association", "set account to one of yours ({accounts})"),
    (r"qos", "set qos to one that you may use (sacctmgr show assoc user=$USER)"),
    (r"partition name|invalid partition", "set partition to one of {partitions}"),
    (r"memory", "largest node of {partition}: {mem_gb:.0f} GB; ask for less (--set-resources <rule>:mem_mb=…)"),
    (r"gres|gpu|node configuration", "GPUs are in {with_gpus}; set gpu: {{request, type}} or partition: {{training}}"),
)

# What a partition has at most: its name, its unit, and how many of what Slurm counts are one.
_LIMITS = (("minutes", "minutes", 1), ("mem_mb", "GB of memory", 1000), ("cpus", "CPUs", 1), ("gpus", "GPUs", 1))


@dataclass(frozen=True)
class Checked:
    """The table of submissions, what cannot be submitted (one line each), and what to know (one line each)."""

    table: pd.DataFrame
    refused: tuple[str, ...]
    notes: tuple[str, ...]


def check(
    first: Sequence[Submission],
    last: Sequence[Submission],
    cluster: Cluster,
    refusal: Callable[[Sequence[str]], str | None],
    where: str,
) -> Checked:
    """Hold what is planned against what there is.

    Parameters
    ----------
    first, last
        The same submissions at the first and at the last attempt.
    cluster
        What Slurm says of itself.
    refusal
        Slurm's words if it would not take a command, else None; `slurm.refusal`.
    where
        Where a site is described, for the advice.

    """
    rows, refused, notes = [], [], []
    for name, partition, account in dict.fromkeys((found.name, found.partition, found.account) for found in first):
        now = _of(first, name, partition, account)
        later = _of([found for found in last if found.name == name], name) or now
        largest = max(now, key=lambda found: (found.gpus, found.mem_mb, found.minutes))
        rows.append(_row(now, later, largest))
        reasons = [_beyond(now, cluster), refusal(largest.command)]
        reason = next((found for found in reasons if found), None)
        if reason is not None:
            refused.append(f"{_asked(now, largest)}: {reason}{_advice(reason, largest, cluster, where)}")
            continue
        again = max(later, key=lambda found: (found.mem_mb, found.minutes))
        grown = _beyond(later, cluster) or (refusal(again.command) if again.command != largest.command else None)
        if grown:
            notes.append(f"{name}: after several failures it would ask for more than there is ({grown})")
    return Checked(pd.DataFrame(rows), tuple(refused), tuple(notes))


def text(table: pd.DataFrame) -> str:
    """The table for a terminal."""
    return str(table.to_string(index=False)) if len(table) else "nothing is to be submitted"


def _of(found: Iterable[Submission], name: str, *where: str | None) -> list[Submission]:
    return [one for one in found if one.name == name and (not where or (one.partition, one.account) == where)]


def _row(now: Sequence[Submission], later: Sequence[Submission], largest: Submission) -> dict[str, object]:
    def span(what: str, divide: float = 1) -> str:
        least, most = (max(getattr(one, what) for one in found) / divide for found in (now, later))
        words = [f"{value:.1f}".removesuffix(".0") for value in (least, most)]
        return " to ".join(dict.fromkeys(words))

    return {
        "jobs": largest.name,
        "submissions": len(now),
        "partition": largest.partition or "(default)",
        "account": largest.account or "(default)",
        "minutes": span("minutes"),
        "GB": span("mem_mb", 1000),
        "CPUs": max(found.cpus for found in now),
        "GPUs": max(found.gpus for found in now),
    }


def _asked(now: Sequence[Submission], largest: Submission) -> str:
    gpus = f", {largest.gpus} GPU" if largest.gpus else ""
    return f"{largest.name} ({len(now)} submissions{gpus}, partition {largest.partition or 'by default'})"


def _beyond(found: Sequence[Submission], cluster: Cluster) -> str | None:
    """What Slurm takes and then never runs: a time beyond the partition's, more than its largest node has."""
    partition = cluster.partition(found[0].partition)
    if partition is None:
        return None
    for what, unit, by in _LIMITS:
        most, wanted = getattr(partition, what), max(getattr(one, what) for one in found)
        if wanted > most and not math.isinf(most):
            return f"{wanted / by:g} {unit} are asked for, {partition.name} has {most / by:g}"
    return None


def _advice(reason: str, largest: Submission, cluster: Cluster, where: str) -> str:
    partition = cluster.partition(largest.partition)
    with_gpus = [f"{one.name} ({', '.join(one.gpu_types) or one.gpus})" for one in cluster.partitions if one.gpus]
    said = {
        "accounts": ", ".join(cluster.accounts) or "sacctmgr show assoc user=$USER",
        "partitions": ", ".join(found.name for found in cluster.partitions),
        "partition": partition.name if partition else "the partition",
        "mem_gb": partition.mem_mb / 1000 if partition else math.inf,
        "with_gpus": ", ".join(with_gpus) or "no partition: set train: {device: cpu} in the study's config",
    }
    if "minutes" in reason:
        longer = [found.name for found in cluster.partitions if found.minutes >= largest.minutes]
        other = f" (longer: {', '.join(longer)})" if longer else ""
        return f"; describe the partition in {where}, and jobs are cut to its limit{other}, or put fewer in a group"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, reason, re.IGNORECASE)), "")
    return f"; {advice.format(**said)}, in {where}" if advice else f"; see {where}"
