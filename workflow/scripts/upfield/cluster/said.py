"""What a job that failed said last: shown with its failure, where Snakemake only names the files."""

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from upfield import attempts
from upfield.errors import AGAIN
from upfield.files import tail

# Lines that Snakemake itself writes into the log of a Slurm job.
_FRAME = re.compile(
    r"\s+(input|output|log|jobid|benchmark|reason|resources|wildcards|threads|message|priority|group|cluster_jobid): |"
    r"\[\w{3} \w{3} +\d|\s*(local)?(rule|checkpoint) \w+:$|Error in (rule|group) |Select jobs|Execute \d+ jobs|"
    r"Shutting down|Exiting because|Storing output|Elapsed time|WorkflowError:$|At least one job did not|"
    r"Complete log|Building DAG|Using shell|Provided |Conda environments|Config file|SNAKEMAKE|=+$|  [A-Z][\w ()]+: |"
    r"Removing output|Trying to restart|Job stats|Finished jobid|\d+ of \d+ steps|Logfile "
)
LINES = 12
# What Python says of a process that was ended by a signal.
_DIED = "died with <Signals."


def said_last(text: str, most: int = LINES) -> list[str]:
    """The last lines of a log that are not Snakemake's own frame."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not _FRAME.match(line)]
    return lines[-most:]


def ending(log: str | Path | None, lines: Iterable[str]) -> str:
    """Last lines of a log below its name."""
    return "\n".join([f"{log} ends with:", *(f"    {line}" for line in lines)])


class SaidLast(logging.Handler):
    """Follows Snakemake's messages of failure with the end of the job's own logs, and says which jobs were killed.

    `most` lines of each log; none where jobs run in the terminal and what they said is there already.
    """

    def __init__(self, log: Any, most: int = LINES) -> None:
        super().__init__(logging.ERROR)
        self.to, self.most = log, most
        self.seen: set[str] = set()
        # Whether a process has died of a signal that no failed job is known to be of yet; records of runs before say
        # nothing of it.
        self.died, self.since = False, time.time()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what there is to say of the logs that a failure names, each once."""
        self.died = self.died or _DIED in str(record.msg)
        for path in dict.fromkeys(_logs(record)):
            if path in self.seen:
                continue
            lines = said_last(tail(path), self.most) if self.most else []
            killed = attempts.killed(Path(path))
            if self.died and not attempts.begun(Path(path), self.since):
                # Before it could open its record.
                killed, self.died = True, False
            if lines or killed:
                self.seen.add(path)
            if lines:
                self.to.warning(ending(path, lines))
            if killed:
                self.to.error(f"The process that wrote {path} was killed, or crashed in a library's code; {AGAIN}")


def _logs(record: logging.LogRecord) -> Iterable[str]:
    """Logs of a failed job or group: of its steps, and of Slurm."""
    fields = vars(record)
    for job in fields.get("job_error_info") or []:
        yield from job.get("log") or []
    yield from fields.get("aux_logs") or []
    if str(fields.get("event", "")).endswith(("JOB_ERROR", "job_error")):
        yield from fields.get("log") or []
