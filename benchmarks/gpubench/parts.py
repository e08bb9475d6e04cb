"""Which parts there are, in the order in which they run."""

from collections.abc import Sequence
from dataclasses import dataclass

# A group that every other one needs.
ALWAYS = "prepare"


@dataclass(frozen=True)
class Part:
    """One part: `function` is `module:name` of what takes a `Bench`; `weight` is its share of the time.

    What a part leaves of its time is shared by those after it.
    """

    name: str
    group: str
    function: str
    weight: float
    # Seconds that it gets in any case, up to half of what is left.
    least: float = 0.0


PARTS = (
    Part("machine", ALWAYS, "gpubench.machine:run", 2, least=60),
    Part("heads", ALWAYS, "gpubench.heads:run", 6, least=30),
    Part("agree", "right", "gpubench.agree:run", 20),
    Part("falls", "right", "gpubench.falls:run", 14),
    Part("repeat", "right", "gpubench.repeat:run", 12),
    Part("layout", "right", "gpubench.layout:run", 5),
    Part("memory", "right", "gpubench.memory:run", 4),
    Part("together", "right", "gpubench.together:run", 9),
    Part("training", "fast", "gpubench.training:run", 16),
    Part("inference", "fast", "gpubench.inference:run", 16),
    Part("plans", "fast", "gpubench.plans:run", 10),
    Part("learning", "learning", "gpubench.learning:run", 24),
)


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names or groups, and those that always run. Raises ValueError for an unknown name."""
    known = {part.name for part in PARTS} | {part.group for part in PARTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--parts names {', '.join(unknown)}; expected names among {', '.join(sorted(known))}")
    return [part for part in PARTS if part.group == ALWAYS or part.name in names or part.group in names]
