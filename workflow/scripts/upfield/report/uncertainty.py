"""The report's section on uncertainty: predicted standard deviation against the error that was made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from upfield.files import read_tsv
from upfield.report import charts, figures


def section(root: Path, methods: Sequence[str]) -> dict[str, Any] | None:
    """What the template shows, methods in the order given; None for a study whose predictions have no deviation."""
    path = root / "metrics" / "calibration.tsv"
    table = read_tsv(path) if path.is_file() else pd.DataFrame()
    if table.empty:
        return None
    order = [method for method in methods if method in set(table["method"])]
    rows = []
    for method in order:
        own = table[table["method"] == method]
        people = own.groupby("participant_id")
        whole = {column: _whole(own, column) for column in ("predicted", "rmse")}
        means = people[["spearman", "ence"]].first().mean()
        rows.append({"method": method, "n": people.ngroups, **whole, **means})
    draw = [charts.reliability(table, order, theme) for theme in (figures.LIGHT, figures.DARK)]
    return {"rows": rows, "light": draw[0], "dark": draw[1]}


def _whole(table: pd.DataFrame, column: str) -> float:
    """Root mean square over all voxels of each participant, mean over participants."""
    squares = table.assign(square=table[column] ** 2 * table["voxels"]).groupby("participant_id")
    return float(np.sqrt(squares["square"].sum() / squares["voxels"].sum()).mean())
