"""A look at the queue now and then: a job that can never start is said once, with what to do."""

import re
import threading
from typing import Any

from upfield.cluster import slurm
from upfield.errors import UpfieldError

SECONDS = 20.0
# Slurm's reasons for waiting that waiting does not end.
_NEVER = (
    (r"PartitionTimeLimit", "it asks for more time than its partition allows: give max_runtime in the site file"),
    (r"PartitionNodeLimit|BadConstraints|ReqNodeNotAvail", "no node of its partition has what it asks for"),
    (r"(QOS|Assoc)Max\w*PerJob\w*|MaxMemPerLimit|MaxCpuPer", "it asks for more than one job may have"),
    (r"Invalid(Account|QOS)|AccountNotAllowed|QOSNotAllowed", "account or QOS may not be used there"),
    (r"JobHeld(User|Admin)", "it is held: scontrol release, or ask the administrators"),
    (r"DependencyNeverSatisfied", "what it depends on failed"),
    (r"PartitionDown|PartitionInactive", "its partition is closed"),
)


def never(reason: str) -> str | None:
    """What is wrong with a job that waits for a reason that will not pass; None for any other."""
    return next((said for pattern, said in _NEVER if re.fullmatch(pattern, reason)), None)


def start(name: str, log: Any, seconds: float = SECONDS) -> threading.Event:
    """Look at the jobs of this name in the background until the process ends, or the event that is returned is set."""
    stop, said = threading.Event(), set[str]()

    def look() -> None:
        while not stop.wait(seconds):
            for line in impossible(name, said):
                log.error(line)

    threading.Thread(target=look, daemon=True, name="upfield-queue").start()
    return stop


def impossible(name: str, said: set[str]) -> list[str]:
    """A line for each reason, not `said` before, for which jobs of this name will wait for ever."""
    try:
        waiting = slurm.pending(name)
    except UpfieldError:
        # Busy controllers answer later.
        return []
    lines = []
    for reason in sorted(set(waiting.values()) - said):
        wrong = never(reason.split(",")[0].strip("()"))
        if wrong is not None:
            said.add(reason)
            jobs = [job for job, found in waiting.items() if found == reason]
            lines.append(
                f"{len(jobs)} jobs (the first is {jobs[0]}) will never start: Slurm says {reason}; {wrong}. "
                f"Stop with Ctrl-C, mend it, and start again"
            )
    return lines
