"""Who trains, validates and tests, asked in the ways that rules ask."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import pandas as pd

from upfield.study import splits


class Folds:
    """The table `participant_id, fold, split` of a study, and the labels of those who have several pairs.

    The table knows people; whoever is asked for is a pair of one, by its label.
    """

    def __init__(self, table: pd.DataFrame, several: Mapping[str, Sequence[str]]) -> None:
        self.table, self.several = table, several

    @cached_property
    def names(self) -> list[str]:
        """Names of the folds, in order."""
        return list(dict.fromkeys(self.table["fold"]))

    @cached_property
    def test_folds(self) -> Mapping[str, str]:
        """The fold of each pair of a test participant."""
        rows = self.table[self.table["split"] == "test"]
        folds = zip(rows["participant_id"], rows["fold"], strict=True)
        return {label: fold for person, fold in folds for label in self._labels(person)}

    @cached_property
    def _parts(self) -> dict[tuple[str, str], list[str]]:
        return splits.parts(self.table)

    def members(self, fold: str, *parts: str) -> list[str]:
        """The pairs of the participants of some parts (train, val, test) of a fold."""
        people = [person for part in parts for person in self._parts.get((fold, part), [])]
        return [label for person in people for label in self._labels(person)]

    def _labels(self, person: str) -> Sequence[str]:
        return self.several.get(person, [person])
