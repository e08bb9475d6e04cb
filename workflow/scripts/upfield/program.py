"""Running a program that is not Python: through nipype, and nowhere else.

What is run here is part of the pipeline: dcm2niix, the BIDS validator, brain extraction. Processes of Upfield itself
(training/processes.py), the question for its commit (study/provenance.py) and those to schedulers (cluster/) are not.
"""

import os
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from upfield.errors import MEMORY, PassingError, UpfieldError

# Seconds that a program which was told to end has until it is killed.
GRACE = 10
# Exit codes of `timeout`: the program ended when told to, or was killed.
OVERDUE = (124, 137)


class ProgramError(UpfieldError):
    """A program is not there, cannot be started, or takes too long; one line that names it."""


class Done(NamedTuple):
    """A program that ended: its exit code, 0 if all went well, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line that it wrote, errors after the rest, or its exit code if it wrote nothing.

        What was killed says nothing of it: the signal is told before the line.
        """
        lines = [line.strip() for line in f"{self.stdout}\n{self.stderr}".splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if self.killed:
            return f"killed by {self.killed}" + (f" after: {last}" if last else "")
        return last or f"exit code {self.code}"

    @property
    def killed(self) -> str:
        """The name of the signal that ended it, as told by itself or by a shell around it; empty if none did."""
        number = -self.code if self.code < 0 else self.code - 128
        return next((one.name for one in signal.Signals if one == number), "")

    def require_own_end(self, named: str) -> None:
        """Raise PassingError, which says what the program is `named`, if another ended it.

        Such as one that frees memory: that says nothing of the scan that it was given.
        """
        if self.killed in ("SIGKILL", "SIGTERM"):
            raise PassingError(f"{named} was {self.last_line[:160]}; {MEMORY}")


def run(
    words: Sequence[str | Path],
    *,
    seconds: float,
    folder: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run a program, wait for it, and keep what it writes.

    Parameters
    ----------
    words
        The program, by name or path, and its arguments, one word each: they reach it as they are, whatever spaces,
        quotes or semicolons stand in them.
    seconds
        How long it may take.
    folder
        Where it runs; a temporary folder by default.
    environment
        Variables beside those of this process.

    Raises
    ------
    ProgramError
        If the program is not there, cannot be started, or takes longer than `seconds`. That it failed is for the caller
        to judge by `code` and by what it left behind.

    """
    # nipype would ask its maker's server for a newer version, at import and at the first interface.
    os.environ.setdefault("NO_ET", "1")
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    from nipype import config
    from nipype.interfaces.base import CommandLine

    # nipype would list the libraries of each program by a shell command of its own.
    config.set("execution", "get_linked_libs", "false")
    program, *arguments = map(str, words)
    name = Path(program).name
    if shutil.which(program) is None:
        raise ProgramError(f"{name} was not found")
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return run(words, seconds=seconds, folder=temporary, environment=environment)
    # nipype gives one line to a shell and knows no time limit. Each word is quoted, so the shell changes nothing. The
    # output goes through files: through pipes, a child that outlives the program would be waited for. In the
    # foreground, so that an interrupted Upfield takes the program along.
    limited = ["--foreground", f"--kill-after={GRACE}", str(seconds), program, *arguments]
    interface = CommandLine(
        command="timeout", args=shlex.join(limited), environ=dict(environment or {}), terminal_output="file_split"
    )
    started = time.monotonic()
    try:
        runtime = interface.run(cwd=str(folder)).runtime
    except (OSError, RuntimeError) as error:
        raise ProgramError(f"{name} cannot be run ({' '.join(str(error).split())})"[:250]) from None
    if runtime.returncode in OVERDUE and time.monotonic() - started >= seconds:
        raise ProgramError(f"{name} took longer than {seconds} s")
    return Done(runtime.returncode, runtime.stdout, runtime.stderr)
