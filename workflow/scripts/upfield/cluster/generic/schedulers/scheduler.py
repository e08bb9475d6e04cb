"""What differs between schedulers."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from upfield.cluster.generic.asked import Asked


@dataclass(frozen=True)
class Scheduler:
    """Its programs and their words; the script of a job goes to the standard input of `submit`.

    `options` are the arguments of a submission whose output goes to a file of this relative path; `number` finds the
    number of the job in the answer. `look` and a number ask for one job: it is over where the answer matches `over`,
    holds nothing, or is an error that matches `unknown`; any other error says nothing of the job. `stuck` matches a job
    that stays in the queue and will never run. `tells` is whether it sends SIGUSR1 before the time is over; `lacks` are
    fields of `Asked` that it has no word for.
    """

    name: str
    submit: str
    options: Callable[[Asked, str], list[str]]
    number: str
    look: tuple[str, ...]
    over: str | None
    unknown: str
    cancel: str
    tells: bool = False
    stuck: str | None = None
    lacks: tuple[str, ...] = ()

    def number_of(self, answer: str) -> str | None:
        """The number of the job that a submission answers with."""
        match = re.search(self.number, answer, re.MULTILINE)
        return match[1] if match else None

    def lives(self, code: int, answer: str, errors: str) -> bool:
        """Whether a job that was looked at waits or runs, as far as is known."""
        if code:
            return re.search(self.unknown, f"{answer}\n{errors}", re.IGNORECASE) is None
        return bool(answer.strip()) and not (self.over and re.search(self.over, answer, re.MULTILINE))

    def stuck_because(self, answer: str) -> str | None:
        """Why a job that was looked at will never run; None if it may."""
        match = re.search(self.stuck, answer, re.MULTILINE) if self.stuck else None
        return " ".join(match[0].split()) if match else None


def given(option: str, value: str | None) -> list[str]:
    """An option with its value, or nothing."""
    return [option, value] if value else []
