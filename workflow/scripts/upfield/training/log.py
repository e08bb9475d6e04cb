"""The history of a training run: one row an epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from upfield.files import write_tsv

COLUMNS = ("epoch", "step", "seconds")


class RunningMean:
    """Running means of named values, as plain sums, so that they can be checkpointed."""

    def __init__(self, sums: Mapping[str, float] | None = None, counts: Mapping[str, int] | None = None) -> None:
        self.sums = dict(sums or {})
        self.counts = dict(counts or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Take one more value of each name."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self, prefix: str = "") -> dict[str, float]:
        """Mean of each name."""
        return {f"{prefix}{name}": total / self.counts[name] for name, total in self.sums.items()}


def write_history(path: str | Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write history.tsv: epoch, step, seconds, then learning rates, training losses, validation values."""
    table = pd.DataFrame(rows) if rows else pd.DataFrame({name: [] for name in COLUMNS})
    first = [name for name in COLUMNS if name in table]
    write_tsv(path, table[[*first, *(name for name in table if name not in first)]])
