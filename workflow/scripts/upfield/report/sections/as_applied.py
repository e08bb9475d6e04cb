"""Methods measured as `apply` would deliver them, beside what they reach with what is known of the target."""

from typing import Any

from upfield.catalogue.methods import NEED_A_GRID
from upfield.report import tables
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section


def applies(context: MeasuredContext) -> bool:
    """Whether there are outputs as applied, or a reason why there are none."""
    return not context.table["metrics/as_applied_leaderboard"].empty or bool(context.narrative.not_applied)


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    return {"applied": as_applied(context)}


def as_applied(context: MeasuredContext) -> dict[str, Any]:
    """Means inside the brain as applied and with the target known: `metrics`, `rows` by method, and what is missing.

    `lost` are participants who are measured with the target known alone, `left_out` and `given` the methods that are;
    `why` there is nothing, if so. `registered`: whether networks were shown sources that had been registered to their
    targets.
    """
    boards = [context.table[f"metrics/{name}"] for name in ("as_applied_leaderboard", "leaderboard")]
    alone, known = (
        board[(board["split"] == "test") & (board["region"] == "brain")].set_index(["method", "metric"])
        for board in boards
    )
    metrics = tables.ordered(alone.index.get_level_values("metric").unique(), list(tables.LABELS))
    rows = []
    for method in context.methods:
        cells = {
            metric: {"alone": alone.loc[(method, metric)], "known": known.loc[(method, metric)]}
            for metric in metrics
            if (method, metric) in alone.index and (method, metric) in known.index
        }
        if cells:
            rows.append({"method": method, "n": max(int(cell["alone"].n) for cell in cells.values()), "cells": cells})
    measured, every = (
        set(context.table[f"metrics/{name}"]["participant_id"]) for name in ("as_applied", "per_subject")
    )
    return {
        "metrics": metrics,
        "rows": rows,
        "lost": sorted(every - measured) if rows else [],
        "left_out": [method for method in context.methods if method in NEED_A_GRID],
        "given": [method for method, found in context.external.items() if not found.command],
        "why": context.narrative.not_applied,
        "registered": context.trains,
    }


SECTION = Section(
    id="as-applied", title="As applied", order=750, of=MeasuredContext, build=build, applies=applies,
    heading="As applied, without the target",
)  # fmt: skip
