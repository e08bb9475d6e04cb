"""A question to a scheduler's program, of which the answer is read."""

import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from upfield.errors import UpfieldError

# A scheduler that says nothing for so many seconds does not answer.
SECONDS = 60


class Answer(NamedTuple):
    """The exit code of a program and what it wrote."""

    code: int
    text: str
    errors: str

    @property
    def reason(self) -> str:
        """What it said last, errors before the rest."""
        lines = (self.errors.strip() or self.text.strip() or f"exit code {self.code}").splitlines()
        return lines[-1].strip()


def ask(words: Sequence[str], script: str = "") -> Answer:
    """Run a program, each word as it is, with a script on its standard input.

    Raises UpfieldError if it is not there or does not end. In a session of its own: what was begun is finished though
    whoever asked is interrupted.
    """
    try:
        done = subprocess.run(
            words,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise UpfieldError(f"{words[0]} was not found; start Snakemake on a login node") from None
    except subprocess.TimeoutExpired:
        raise UpfieldError(f"{words[0]} said nothing for {SECONDS} s") from None
    return Answer(done.returncode, done.stdout, done.stderr)
