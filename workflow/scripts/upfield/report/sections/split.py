"""Who trains, validates and tests."""

from typing import Any

import pandas as pd

from upfield.report.context import StudyContext
from upfield.report.sections import Section


def build(context: StudyContext) -> dict[str, Any]:
    """Participants by fold and part."""
    return {"folds": folds(context.table["splits"])}


def folds(splits: pd.DataFrame) -> list[tuple[str, dict[str, list[str]]]]:
    """Participants of each split, by fold."""
    return [
        (fold, {s: sorted(rows.participant_id[rows.split == s]) for s in ("train", "val", "test")})
        for fold, rows in splits.groupby("fold")
    ]


SECTION = Section(id="split", title="Split", order=1050, of=StudyContext, build=build)
