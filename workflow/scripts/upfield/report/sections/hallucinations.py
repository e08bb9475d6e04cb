"""What outputs invent and paint over: the audit and the lesion test."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.evaluate import statistics
from upfield.report import charts, tables
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section

# Structures listed in the page; all of them are in the table.
LISTED = 40


def applies(context: MeasuredContext) -> bool:
    """Whether the audit or the lesion test was made."""
    return not (context.table["metrics/audit"].empty and context.table["metrics/lesions"].empty)


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values, and the methods that the lesion test leaves out."""
    return {"hallucinations": hallucinations(context.table, context.methods), "external": list(context.external)}


def hallucinations(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any]:
    """The audit and the lesion test.

    `audit`: means over participants by method; `structures`: added and removed ones, the largest volume first, and
    `all` of these; `lesions`: share recovered by method and radius (rows of the leaderboard's kind), and `chart`.
    """
    audit, structures, lesions = (table[f"metrics/{name}"] for name in ("audit", "structures", "lesions"))
    counted = ["share_beyond", "added", "added_ml", "removed", "removed_ml", "changed", "changed_ml"]
    people = statistics.of_people(audit).groupby(["method", "participant_id"])[counted].mean().reset_index()
    means = people.groupby("method").agg(n=("participant_id", "size"), **{name: (name, "mean") for name in counted})
    by_uncertainty = set(audit.loc[audit["standardised_by"] == "uncertainty", "method"])
    found = structures[structures["kind"].isin(["added", "removed"])]
    found = found.sort_values("volume_ml", ascending=False, kind="stable")
    order = tables.known(lesions["method"], methods)
    recovered = _recovered(lesions)
    return {
        "audit": [{"method": method, "uncertain": method in by_uncertainty, **means.loc[method]}
                  for method in tables.known(audit["method"], methods)],
        "structures": found.head(LISTED).to_dict("records"),
        "all": len(found),
        "lesions": [{"method": method, "recovered": recovered[method],
                     "elsewhere": lesions.loc[lesions["method"] == method, "elsewhere"].mean()}
                    for method in order if method in recovered],
        "radii": sorted(lesions["radius_mm"].unique()),
        "participants": statistics.of_people(lesions)["participant_id"].nunique(),
        "chart": charts.lesions(lesions, order) if len(lesions) else None,
    }  # fmt: skip


def _recovered(lesions: pd.DataFrame) -> dict[str, dict[float, dict[str, float]]]:
    """By method and radius: `n` participants, their `mean`, `ci_low`, `ci_high`; methods with a value anywhere."""
    values = lesions.assign(fold="0", seed="0", split="test", metric="recovered", region=lesions["radius_mm"],
                            value=lesions["recovered"])  # fmt: skip
    board = statistics.leaderboard(values)
    known = board[board["n"] > 0]
    return {
        str(method): {
            row["region"]: row for row in rows[["region", "n", "mean", "ci_low", "ci_high"]].to_dict("records")
        }
        for method, rows in known.groupby("method")
    }


SECTION = Section(
    id="hallucinations", title="Hallucinations", order=900, of=MeasuredContext, build=build, applies=applies
)
