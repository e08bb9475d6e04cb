"""What a part is given: where it runs, at which size, until when; and how it says what it found."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gpubench.forms import Form

Item = TypeVar("Item")
Finding = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What all parts of a run share. `work` is a folder for what is thrown away, `out` for what is kept."""

    device: str
    form: Form
    data: Path | None
    work: Path
    out: Path


@dataclass(frozen=True)
class Bench:
    """A job and one part's time: `deadline` is a value of time.monotonic, which all processes of a machine share."""

    job: Job
    deadline: float
    send: Callable[[Finding], None]

    @property
    def form(self) -> Form:
        """The sizes of this run."""
        return self.job.form

    @property
    def cuda(self) -> bool:
        """Whether this is about a GPU."""
        return self.job.device == "cuda"

    def left(self) -> float:
        """Seconds until the part should have ended."""
        return self.deadline - time.monotonic()

    def found(self, what: str, ok: bool | None = None, **values: Any) -> None:
        """Report one finding at once: `ok` is a verdict, None where there is nothing to be right or wrong."""
        self.send({"what": what, "ok": ok, "values": values})

    def left_out(self, what: str, why: str) -> None:
        """Report what was not done, and why."""
        self.send({"what": what, "ok": None, "values": {"left_out": why}})

    def while_time(self, items: Iterable[Item], name: Callable[[Item], str] = str) -> Iterator[Item]:
        """The items, until one that takes as long as the longest so far would not end in time; says what is left."""
        longest, rest = 0.0, list(items)
        while rest:
            if self.left() < 1.2 * longest or self.left() <= 0:
                self.left_out(", ".join(name(item) for item in rest), "no time left")
                return
            started = time.monotonic()
            yield rest.pop(0)
            longest = max(longest, time.monotonic() - started)


def distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Norm of the difference of two sets of tensors by name, relative to that of `other`; NaN if one is not finite."""
    difference = norm = 0.0
    for name, value in other.items():
        if value.is_floating_point():
            there = value.detach().double().cpu()
            difference += float(((one[name].detach().double().cpu() - there) ** 2).sum())
            norm += float((there**2).sum())
    return (difference / norm) ** 0.5 if norm else float(difference > 0)
