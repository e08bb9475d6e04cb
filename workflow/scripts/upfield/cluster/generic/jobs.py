"""The jobs that were submitted, a file each in the study's folder: what they are called, and what became of them.

A job writes its own exit code, so that what it became of needs no accounting of the scheduler, which keeps what is over
for a while or not at all. A job that left the queue without an exit code was killed.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

from upfield.errors import UpfieldError

# Variables that the process which submits hands to the programs of profiles/generic.
FOLDER, SCHEDULER, PYTHON = "UPFIELD_JOBS", "UPFIELD_SCHEDULER", "UPFIELD_PYTHON"
# Output and exit codes of jobs, from the folder where Snakemake runs; schedulers get no odd names to see.
LOGS = ".snakemake/cluster_logs"
# Seconds until a file that a job wrote must be visible here.
PATIENCE = 60.0


class Jobs:
    """The jobs of a study that may still be in the queue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def numbers(self) -> list[str]:
        """Every job that was submitted and of which nobody asked after its end."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def add(self, number: str, log: str) -> None:
        """Keep a job that was submitted just now."""
        from upfield.files import write_json

        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(number), {"log": str(Path(log).absolute()), "code": str(Path(code_file(log)).absolute())})

    def log(self, number: str) -> Path | None:
        """Where the output of a job is."""
        return self._said(number, "log")

    def code(self, number: str) -> int | None:
        """The exit code that a job left; None if it left none so far."""
        path = self._said(number, "code")
        try:
            return int(path.read_text()) if path else None
        except (OSError, ValueError):
            return None

    def gone_for(self, number: str) -> float:
        """Seconds since a job was first seen to have left the queue; this is the first time if there was none."""
        marker = self._file(number).with_suffix(".gone")
        if not marker.exists():
            marker.touch()
        return time.time() - marker.stat().st_mtime

    def forget(self, number: str) -> None:
        """Nothing more will be asked about a job."""
        for suffix in (".json", ".gone"):
            self._file(number).with_suffix(suffix).unlink(missing_ok=True)

    def _file(self, number: str) -> Path:
        return self.folder / (re.sub(r"[^A-Za-z0-9_-]", "_", number) + ".json")

    def _said(self, number: str, what: str) -> Path | None:
        try:
            return Path(json.loads(self._file(number).read_text())[what])
        except (OSError, ValueError, KeyError):
            return None


def of(environment: Mapping[str, str]) -> Jobs:
    """The jobs of the study that is run; raises UpfieldError outside of a run."""
    if FOLDER not in environment:
        raise UpfieldError("this is run by Snakemake with --profile generic, and by nothing else")
    return Jobs(Path(environment[FOLDER]))


def code_file(log: str) -> str:
    """Where a job with this log leaves its exit code."""
    return log.removesuffix(".log") + ".code"
