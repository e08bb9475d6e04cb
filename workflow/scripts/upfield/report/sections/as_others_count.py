"""Methods by the scores of papers and challenges, greyed: for comparing with published numbers, deciding nothing."""

from typing import Any

import numpy as np
import pandas as pd

from upfield.catalogue.metrics import OTHERS, RANK_SUM
from upfield.evaluate.metrics import BRAIN
from upfield.evaluate.metrics.volume import VOLUME
from upfield.evaluate.statistics import subject_table
from upfield.report.context import MeasuredContext
from upfield.report.render import number
from upfield.report.sections import Section

# What the same images reach here, beside what they reach by others' count.
OWN = ("psnr", "ssim")
LABELS = {metric.name: metric.label for metric in OTHERS}
# Written like metrics with as many decimals.
LIKE = {2: "psnr", 4: "ssim"}
WRITTEN = {metric.name: LIKE.get(metric.digits or 0, "") for metric in OTHERS}


def applies(context: MeasuredContext) -> bool:
    """Whether there are such scores."""
    return not context.table["metrics/as_others_count_leaderboard"].empty


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    return {"others": as_others_count(context)}


def as_others_count(context: MeasuredContext) -> dict[str, Any]:
    """Means by method: `own` metrics, those of `columns` with their labels, `rows`; and `gap`, see there."""
    board = context.table["metrics/as_others_count_leaderboard"].set_index(["method", "metric"])
    known = context.table["metrics/leaderboard"]
    known = known[(known["split"] == "test") & (known["region"] == BRAIN)].set_index(["method", "metric"])
    found = set(board.index.get_level_values("metric"))
    rows: list[dict[str, Any]] = [
        {
            "method": method,
            "own": {name: known.loc[(method, name)] for name in OWN if (method, name) in known.index},
            "cells": {name: board.loc[(method, name)] for name in LABELS if (method, name) in board.index},
        }
        for method in context.methods
    ]
    rows = [row for row in rows if row["cells"]]
    return {
        "own": [name for name in OWN if any(name in row["own"] for row in rows)],
        "columns": {name: label for name, label in LABELS.items() if name in found},
        "text": {
            (row["method"], name): _text(name, cell["mean"]) for row in rows for name, cell in row["cells"].items()
        },
        "rows": rows,
        "n": max((int(cell["n"]) for row in rows for cell in row["cells"].values()), default=0),
        "gap": gap(context),
    }


def _text(name: str, mean: float) -> str:
    return f"{mean:g}" if name == RANK_SUM else number(mean, WRITTEN[name])


def gap(context: MeasuredContext) -> dict[str, float] | None:
    """By how many dB PSNR is higher as others count, the mean over all outputs: `whole`, and of that by `background`.

    The rest is by the range, which is another one. None where PSNR was not measured in both ways.
    """
    own, others = (context.table[f"metrics/{name}"] for name in ("per_subject", "as_others_count"))
    in_brain, in_volume = (
        subject_table(own[(own["metric"] == "psnr") & (own["region"] == region) & (own["split"] == "test")])
        for region in (BRAIN, VOLUME)
    )
    counted = subject_table(others[others["metric"] == "psnr_volume"])
    whole, background = (_mean(table, in_brain) for table in (counted, in_volume))
    return None if np.isnan([whole, background]).any() else {"whole": whole, "background": background}


def _mean(high: pd.DataFrame, low: pd.DataFrame) -> float:
    """Mean difference of two tables, of finite values alone; NaN if there is none."""
    both = high.replace(np.inf, np.nan) - low.replace(np.inf, np.nan)
    return float(np.nanmean(both)) if both.notna().to_numpy().any() else np.nan


SECTION = Section(
    id="as-others-count", title="As others count", order=760, of=MeasuredContext, build=build, applies=applies,
    heading="As others count, for comparison with published numbers",
)  # fmt: skip
