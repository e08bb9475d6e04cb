"""What Snakemake's dry run says of the jobs that are left to do."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from upfield.commands import launch
from upfield.commands.launch import Call
from upfield.errors import UpfieldError

# Jobs of a group are indented once more; after the rule each line is a field.
JOB = re.compile(r"^( *)(?:local)?(?:rule|checkpoint) (\w+):\n((?:\1    .*\n)+)", re.MULTILINE)
FIELD = re.compile(r"^ +(\w+): (.*)$", re.MULTILINE)
# Snakemake's own line before what is wrong.
WRONG = re.compile(r"^(?:\w+Error|\w+Exception)\b.*:\n(?P<said>\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """A job that is left to do: its rule, its stage, its wildcards, and the MB and minutes that it asks for."""

    rule: str
    stage: str
    wildcards: Mapping[str, str]
    mem_mb: int
    minutes: int


def jobs(call: Call) -> list[Job]:
    """The jobs of a run; targets alone, which do nothing, are none. Raises UpfieldError, one line, if it is refused."""
    done = launch.dry_run(call)
    text = done.stdout + done.stderr
    if done.returncode:
        raise UpfieldError(f"snakemake cannot plan this: {wrong(text)}")
    return [_job(name, dict(FIELD.findall(body))) for _, name, body in JOB.findall(text) if "benchmark:" in body]


def wrong(text: str) -> str:
    """The line of what Snakemake said that says what is wrong."""
    found = WRONG.search(text)
    said = found["said"] if found else next((line for line in reversed(text.split("\n")) if line.strip()), "")
    return said.strip()[:300]


def planned(row: Mapping[str, Any]) -> Job:
    """A job as a run tells of it, see `study.events`."""
    stage = _stage(row["benchmark"], row["rule"])
    return Job(row["rule"], stage, row["wildcards"], row["mem_mb"], row["runtime"])


def _job(rule: str, fields: Mapping[str, str]) -> Job:
    wildcards = dict(pair.split("=", 1) for pair in fields.get("wildcards", "").split(", ") if "=" in pair)
    asked = dict(re.findall(r"(\w+)=(\d+)", fields.get("resources", "")))
    stage = _stage(fields["benchmark"], rule)
    return Job(rule, stage, wildcards, int(asked.get("mem_mb", 0)), int(asked.get("runtime", 0)))


def _stage(benchmark: str, rule: str) -> str:
    parts = PurePosixPath(benchmark).parts
    # A study's own folder may be called benchmarks too.
    stage = parts[len(parts) - 1 - parts[::-1].index("benchmarks") + 1] if "benchmarks" in parts else rule
    return stage.removesuffix(".tsv")


def by_stage(found: Sequence[Job], order: Sequence[str]) -> str:
    """How many jobs each stage has, in words."""
    counted = Counter(job.stage for job in found)
    names = sorted(counted, key=lambda name: (order.index(name) if name in order else len(order), name))
    return ", ".join(f"{name} {counted[name]}" for name in names)
