"""What became of the earlier attempts of a job, so that the next one asks for more of what ran out and of nothing else.

A record beside the job's log is opened when its step starts and removed when it has ended well. One that is still open
was killed: the scheduler knows why.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upfield.errors import lacks_memory
from upfield.files import read_json, write_json

MEMORY, TIME, OTHER = "memory", "time", "other"


def started(log: Path) -> None:
    """Open the record of an attempt that begins now."""
    write_json(_file(log), [*_read(log), {"slurm_job": os.environ.get("SLURM_JOB_ID"), "ended": None}])


def ended(log: Path, error: BaseException | None) -> None:
    """Close the record: with what ran out after an error, without a trace after none."""
    attempts = _read(log)
    if error is None or not attempts:
        _file(log).unlink(missing_ok=True)
        return
    attempts[-1]["ended"] = MEMORY if lacks_memory(error) else OTHER
    write_json(_file(log), attempts)


def begun(log: Path, since: float) -> bool:
    """Whether an attempt that has not ended well began or ended after `since`, in seconds of the epoch."""
    return bool(_read(log)) and _file(log).stat().st_mtime >= since


def killed(log: Path) -> bool:
    """Whether the last attempt never came to its end. Only true of a job that does not run any more."""
    attempts = _read(log)
    return bool(attempts) and attempts[-1]["ended"] is None


def ran_out(log: Path, attempt: int, what: str, why: Callable[[str], str | None] | None) -> int:
    """How many of the attempts before this one ended because `what` (memory or time) ran out.

    `why` is asked for attempts that were killed, with the number of their Slurm job; its answer is kept. Without it (in
    a job, or where there is no Slurm) nothing is known of them, and both may have run out.
    """
    attempts = _read(log)[-(attempt - 1) :] if attempt > 1 else []
    open_ones = [one for one in attempts if one["ended"] is None]
    if why is not None and open_ones:
        for one in open_ones:
            one["ended"] = why(one["slurm_job"]) if one["slurm_job"] else None
        write_json(_file(log), attempts)
    return sum(one["ended"] in (what, None) for one in attempts)


def _file(log: Path) -> Path:
    return log.with_name(f".{log.stem}.attempts.json")


def _read(log: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = read_json(_file(log))
    except (OSError, json.JSONDecodeError):
        return []
    return found
