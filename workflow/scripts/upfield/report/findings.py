"""The report's sections on what stands behind the leaderboard: ranks, agreement with the truth, hallucinations."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.evaluate import statistics
from upfield.report import charts, figures, tables

THEMES = (figures.LIGHT, figures.DARK)
VOLUME = "volume_ml"
# Structures and outliers listed in the page; all of them are in the tables.
LISTED = 40
# Methods with a row of their own in the charts of agreement.
ROWS = 6
# Any will do: nothing else on the page is random.
BOOTSTRAP_SEED = 0


def ranking(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any] | None:
    """Mean ranks: `chart` in both themes, `rows` of the table by metric and rank; None without any."""
    found = table["metrics/ranks"]
    if found.empty:
        return None
    metrics = _known(found["metric"], list(tables.LABELS))
    wide = found.pivot(index="metric", columns="method", values="mean_rank")
    shown = wide.reindex(index=metrics, columns=_known(found["method"], methods))
    shown.index = pd.Index([tables.LABELS.get(metric, metric.replace("_", " ")) for metric in metrics])
    rows = found.assign(place=found["metric"].map(metrics.index)).sort_values(["place", "mean_rank"], kind="stable")
    return {
        "chart": [charts.ranks(shown, theme) for theme in THEMES],
        "rows": rows.to_dict("records"),
        "n": int(found["n"].max()),
    }


def outliers(table: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Participants who stand apart: `rows`, the farthest first, `all` of them and `unknown`; None without any value."""
    found = table["metrics/outliers"]
    if found.empty:
        return None
    apart = found[found["outlier"] == "yes"].sort_values("robust_z", key=abs, ascending=False, kind="stable")
    return {
        "rows": apart.head(LISTED).to_dict("records"),
        "all": len(apart),
        "unknown": bool((found["outlier"] == "unknown").all()),
    }


def agreement(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any] | None:
    """What is measured in an output against the same in the truth: `chart` of volumes, `rows`; None without any."""
    found = table["metrics/agreement"]
    if found.empty:
        return None
    order = _known(found["method"], methods)
    rows = found.assign(place=found["method"].map(order.index), named=found["region"].map(_region))
    rows = rows.sort_values(["quantity", "region", "place"], kind="stable")
    volumes = table["metrics/quantities"]
    volumes = volumes[volumes["quantity"] == VOLUME].assign(region=lambda rows: rows["region"].map(_region))
    limits = rows[rows["quantity"] == VOLUME].assign(region=lambda rows: rows["named"])
    drawn = [method for method in order if (volumes["method"] == method).any()][:ROWS]
    shown = volumes[volumes["method"].isin(drawn)]
    return {
        "chart": [charts.bland_altman(shown, limits, drawn, theme) for theme in THEMES] if drawn else [],
        "left_out": [method for method in order if (volumes["method"] == method).any()][ROWS:],
        "rows": rows.to_dict("records"),
        "notes": sorted(set(found["note"].dropna())),
    }


def hallucinations(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any] | None:
    """The audit and the lesion test; None if neither was made.

    `audit`: means over participants by method; `structures`: added and removed ones, the largest volume first, and
    `all` of these; `lesions`: share recovered by method and radius (rows of the leaderboard's kind), and `chart`.
    """
    audit, structures, lesions = (table[f"metrics/{name}"] for name in ("audit", "structures", "lesions"))
    if audit.empty and lesions.empty:
        return None
    means = audit.groupby("method").agg(
        n=("participant_id", "nunique"),
        **{name: (name, "mean") for name in
           ("share_beyond", "added", "added_ml", "removed", "removed_ml", "changed", "changed_ml")},
    )  # fmt: skip
    by_uncertainty = set(audit.loc[audit["standardised_by"] == "uncertainty", "method"])
    found = structures[structures["kind"].isin(["added", "removed"])]
    found = found.sort_values("volume_ml", ascending=False, kind="stable")
    order = _known(lesions["method"], methods)
    recovered = _recovered(lesions)
    return {
        "audit": [{"method": method, "uncertain": method in by_uncertainty, **means.loc[method]}
                  for method in _known(audit["method"], methods)],
        "structures": found.head(LISTED).to_dict("records"),
        "all": len(found),
        "lesions": [{"method": method, "recovered": recovered[method],
                     "elsewhere": lesions.loc[lesions["method"] == method, "elsewhere"].mean()}
                    for method in order if method in recovered],
        "radii": sorted(lesions["radius_mm"].unique()),
        "people": lesions["participant_id"].nunique(),
        "chart": [charts.lesions(lesions, order, theme) for theme in THEMES] if len(lesions) else [],
    }  # fmt: skip


def _recovered(lesions: pd.DataFrame) -> dict[str, dict[float, dict[str, float]]]:
    """By method and radius: `n` participants, their `mean`, `ci_low`, `ci_high`; methods with a value anywhere."""
    values = lesions.assign(fold="0", seed="0", split="test", metric="recovered", region=lesions["radius_mm"],
                            value=lesions["recovered"])  # fmt: skip
    board = statistics.leaderboard(values, BOOTSTRAP_SEED)
    known = board[board["n"] > 0]
    return {
        str(method): {
            row["region"]: row for row in rows[["region", "n", "mean", "ci_low", "ci_high"]].to_dict("records")
        }
        for method, rows in known.groupby("method")
    }


def _region(name: str) -> str:
    return tables.REGIONS.get(name, name)


def _known(names: pd.Series, order: Sequence[str]) -> list[str]:
    """Distinct names, those of `order` first and in its order."""
    return sorted(names.unique(), key=lambda name: (tables.place(name, order), name))
