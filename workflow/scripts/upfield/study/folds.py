"""Who trains, validates and tests, asked in the ways that rules ask."""

from collections.abc import Mapping
from functools import cached_property

import pandas as pd

from upfield.study import splits


class Folds:
    """The table `participant_id, fold, split` of a study."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    @cached_property
    def names(self) -> list[str]:
        """Names of the folds, in order."""
        return list(dict.fromkeys(self.table["fold"]))

    @cached_property
    def test_folds(self) -> Mapping[str, str]:
        """Each test participant's fold."""
        rows = self.table[self.table["split"] == "test"]
        return dict(zip(rows["participant_id"], rows["fold"], strict=True))

    @cached_property
    def _parts(self) -> dict[tuple[str, str], list[str]]:
        return splits.parts(self.table)

    def members(self, fold: str, *parts: str) -> list[str]:
        """Participants of some parts (train, val, test) of a fold."""
        return [participant for part in parts for participant in self._parts.get((fold, part), [])]
