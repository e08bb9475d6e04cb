"""How far a run is: by stage, weighed by what jobs are planned to cost and then by what they are seen to cost."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from upfield.commands.dry import Job


@dataclass
class Progress:
    """The jobs of a run by number, of which `planned` says what one costs in minutes; `clock` counts seconds."""

    jobs: Mapping[int, Job]
    planned: Callable[[Job], float]
    clock: Callable[[], float] = time.monotonic
    running: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.clock()

    def began(self, number: int) -> None:
        """A job begins."""
        self.running[number] = self.clock()

    def done(self, number: int) -> None:
        """A job has ended as it should."""
        self.ended[number] = self.clock() - self.running.pop(number, self.clock())

    def failed(self, number: int) -> None:
        """A job has failed; it may be tried again."""
        self.running.pop(number, None)

    def of(self, stage: str) -> list[int]:
        """The jobs of a stage."""
        return [number for number, job in self.jobs.items() if job.stage == stage]

    @property
    def stages(self) -> list[str]:
        """Those that have jobs."""
        return list(dict.fromkeys(job.stage for job in self.jobs.values()))

    def share(self, stage: str) -> float:
        """What is done of a stage, 0 to 1, by cost."""
        costs = self._costs()
        mine = self.of(stage)
        gone = sum(costs[number] if number in self.ended else self._elapsed(number, costs[number]) for number in mine)
        return gone / (sum(costs[number] for number in mine) or 1)

    def left(self, stages: Iterable[str]) -> float:
        """Seconds until all jobs of some stages have ended, if as many run side by side as until now."""
        costs, wanted = self._costs(), set(stages)
        rest = [
            costs[number] - self._elapsed(number, costs[number])
            for number, job in self.jobs.items()
            if job.stage in wanted and number not in self.ended
        ]
        return max([sum(rest) / self._side_by_side(), *rest], default=0.0)

    def _elapsed(self, number: int, cost: float) -> float:
        """Seconds that a job has run, of what it costs; one that takes longer has a little left all the time."""
        return min(self.clock() - self.running[number], 0.95 * cost) if number in self.running else 0.0

    def _side_by_side(self) -> float:
        now = self.clock()
        busy = sum(self.ended.values()) + sum(now - begun for begun in self.running.values())
        # Before anything has ended, what runs says more than what has been waited for.
        return max(busy / max(now - self.start, 1e-9) if self.ended else len(self.running), 1.0)

    def _costs(self) -> dict[int, float]:
        """Seconds of each job: of its rule as they were, else as planned, and as right as plans have been so far."""
        seen: dict[str, list[float]] = {}
        for number, seconds in self.ended.items():
            seen.setdefault(self.jobs[number].rule, []).append(seconds)
        plans = {number: 60 * self.planned(job) for number, job in self.jobs.items()}
        foreseen = sum(plans[number] for number in self.ended)
        right = sum(self.ended.values()) / foreseen if foreseen else 1.0
        means = {rule: fmean(seconds) for rule, seconds in seen.items()}
        return {number: means.get(job.rule, right * plans[number]) for number, job in self.jobs.items()}

    def who(self, stage: str) -> str:
        """Whom the jobs of a stage that run now are about, in a few words."""
        names = list(dict.fromkeys(about(self.jobs[number]) for number in self.of(stage) if number in self.running))
        named = [name for name in names if name]
        return ", ".join(named[:2]) + (f" and {len(named) - 2} more" if named[2:] else "")


def about(job: Job) -> str:
    """Whom or what a job is about: its participant, or its method and fold."""
    found = job.wildcards
    name = found.get("participant") or found.get("scan") or found.get("store") or ""
    method = found.get("method", "")
    parts = [name.split("_")[0], method, f"fold {found['fold']}" if "fold" in found and method and not name else ""]
    return " ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Seconds as one says them."""
    if seconds < 90:
        return "about a minute" if seconds > 20 else "less than a minute"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
