"""The report's section on uncertainty: predicted standard deviation against the error that was made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate.statistics import of_people
from upfield.report import charts
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section


def applies(context: MeasuredContext) -> bool:
    """Whether predictions have a standard deviation."""
    return not context.table["metrics/calibration"].empty


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    drawn = perception(context.table["metrics/perception"], context.methods)
    return {"uncertainty": calibration(context.table["metrics/calibration"], context.methods), "perception": drawn}


def calibration(table: pd.DataFrame, methods: Sequence[str]) -> dict[str, Any]:
    """Chart and rows of the table, methods in the order given."""
    order = [method for method in methods if method in set(table["method"])]
    rows = []
    for method in order:
        values = table[table["method"] == method]
        whole = {column: _whole(values, column) for column in ("predicted", "rmse")}
        pairs = values.groupby("participant_id")[["spearman", "ence"]].first().reset_index()
        participants = of_people(pairs).groupby("participant_id").mean()
        rows.append({"method": method, "n": len(participants), **whole, **participants.mean()})
    return {"rows": rows, "chart": charts.reliability(table, order)}


def perception(table: pd.DataFrame, methods: Sequence[str]) -> dict[str, Any] | None:
    """Chart and rows of outputs and samples; None where nothing draws samples."""
    if table.empty:
        return None
    order = [method for method in methods if method in set(table["method"])]
    networks = [method for method in order if method not in MODEL_FREE]
    columns = ["psnr", "ssim", "sharpness"]
    found = of_people(table).groupby(["method", "image", "participant_id"])[columns].mean()
    known = set(found.index.droplevel("participant_id"))
    rows = [
        {"method": method, "image": image, "n": len(part), **part[columns].mean()}
        for method in order
        for image, part in ((image, found.loc[(method, image)]) for image in ("output", "sample")
                            if (method, image) in known)
    ]  # fmt: skip
    return {"rows": rows, "chart": charts.perception(table, order, networks)}


def _whole(table: pd.DataFrame, column: str) -> float:
    """Root mean square over all voxels of each participant, mean over participants."""
    squares = of_people(table).assign(square=table[column] ** 2 * table["voxels"]).groupby("participant_id")
    return float(np.sqrt(squares["square"].sum() / squares["voxels"].sum()).mean())


SECTION = Section(id="uncertainty", title="Uncertainty", order=1000, of=MeasuredContext, build=build, applies=applies)
