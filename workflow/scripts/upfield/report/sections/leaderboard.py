"""The leaderboard and what stands behind it: definitions, subjects one by one, outliers, ranks, comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate.statistics import decide
from upfield.report import charts, figures, tables
from upfield.report.context import MeasuredContext
from upfield.report.render import label
from upfield.report.sections import Section

# Outliers listed in the page; all of them are in the table.
LISTED = 40


def build(context: MeasuredContext) -> dict[str, Any]:
    """Every table and chart of the section; None for what was not made."""
    table, methods, psnr = context.table, context.methods, context.scores["psnr"]
    board = table["metrics/leaderboard"]
    return {
        "boards": boards(board, methods),
        "filters": filters(board),
        "definitions": tables.records(table["metrics/definitions"]),
        "charts": subject_charts(context)[1:],
        "extremes": extremes(psnr[[method for method in methods if method in psnr]]),
        "outliers": outliers(table),
        "ranking": ranking(table, methods),
        "comparisons": comparisons(table["metrics/comparisons"], methods),
    }


def boards(board: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """One table per split and region, the test split and the whole brain first; `primary` marks that one.

    What orders outputs as a metric beside it does has a table of its own, folded. A metric without a mean is left out.
    """
    order = list(tables.SPLITS)
    found = set(zip(board.split, board.region, strict=True))
    keys = sorted(found, key=lambda key: (tables.place(key[0], order), key[1] != "brain", key[1]))
    result = []
    for split, region in keys:
        part = board[(board.split == split) & (board.region == region)].set_index(["method", "metric"])
        measured = part.index[part["mean"].notna()].get_level_values("metric").unique()
        title = f"{tables.SPLITS.get(split, split).capitalize()} split, {tables.REGIONS.get(region, region)}"
        primary = (split, region) == ("test", "brain")
        shown, twins = tables.without_twins(tables.ordered(measured, list(tables.LABELS)))
        named = {"split": split, "region": region}
        result.append({**named, "title": title, "primary": primary, **_board(part, shown, methods)})
        if twins:
            title += f": what follows from {label('rmse')}"
            result.append({**named, "title": title, "primary": False, **_board(part, twins, methods)})
    return result


def _board(part: pd.DataFrame, metrics: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """Columns and rows of one table: `part` is indexed by method and metric."""
    best = {}
    for metric in metrics:
        means = part["mean"].xs(metric, level="metric").dropna()
        if len(means) > 1 and metric in tables.HIGHER | tables.LOWER:
            best[metric] = means.max() if metric in tables.HIGHER else means.min()
    rows = []
    for method in methods:
        cells = {m: part.loc[(method, m)] for m in metrics if (method, m) in part.index}
        counts = sorted({int(cell.n) for cell in cells.values()})
        if cells:
            number = "–".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
            marked = {m for m, cell in cells.items() if cell["mean"] == best.get(m)}
            rows.append({"method": method, "n": number, "cells": cells, "best": marked})
    arrows = {m: "↑" if m in tables.HIGHER else "↓" if m in tables.LOWER else "" for m in metrics}
    return {"metrics": metrics, "arrows": arrows, "rows": rows}


def filters(board: pd.DataFrame) -> list[tuple[str, str, dict[str, str]]]:
    """What the leaderboard can be filtered by: the name of a choice, its label, its values with their texts."""
    choices = {"split": tables.SPLITS, "region": tables.REGIONS, "metric": tables.LABELS}
    return [
        (name, name.capitalize(), {value: known.get(value, value.replace("_", " ")) for value in values})
        for name, known in choices.items()
        for values in [tables.ordered(board[name].unique(), list(known))]
    ]


def subject_charts(context: MeasuredContext) -> list[dict[str, Any]]:
    """Per-subject charts on the test split; the first of them is shown with the result."""
    board = context.table["metrics/leaderboard"]
    drawn = []
    for metric, values in context.scores.items():
        if values.empty:
            continue
        values = values[[m for m in context.methods if m in values]]
        part = board[(board.split == "test") & (board.region == "brain") & (board.metric == metric)]
        networks = [m for m in values if m not in MODEL_FREE]
        picture = figures.subject_values(values, part.set_index("method"), networks, label(metric))
        drawn.append(
            {
                "metric": metric,
                "n": len(values),
                "violins": len(values) >= figures.VIOLIN,
                "chart": picture,
            }
        )
    return drawn


def extremes(values: pd.DataFrame) -> list[dict[str, Any]]:
    """The best and the worst subject of each method, each a name and a value; `values` as of `per_subject`."""
    result = []
    for method in values:
        column = values[method].dropna()
        result.append({"method": method, "n": len(column), **{
            name: (who, column[who]) for name, who in (("best", column.idxmax()), ("worst", column.idxmin()))
        }})  # fmt: skip
    return result


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


def ranking(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any] | None:
    """Mean ranks: `chart`, `rows` by metric and rank, `twins`, metrics with the ranks of another; None without any."""
    found = table["metrics/ranks"]
    if found.empty:
        return None
    metrics, twins = tables.without_twins(tables.known(found["metric"], list(tables.LABELS)))
    found = found[found["metric"].isin(metrics)]
    wide = found.pivot(index="metric", columns="method", values="mean_rank")
    shown = wide.reindex(index=metrics, columns=tables.known(found["method"], methods))
    shown.index = pd.Index([tables.LABELS.get(metric, metric.replace("_", " ")) for metric in metrics])
    rows = found.assign(place=found["metric"].map(metrics.index)).sort_values(["place", "mean_rank"], kind="stable")
    return {
        "chart": charts.ranks(shown),
        "rows": rows.to_dict("records"),
        "n": int(found["n"].max()),
        "twins": [label(metric) for metric in twins],
    }


def comparisons(table: pd.DataFrame, methods: Sequence[str]) -> dict[str, list[Any]]:
    """Rows of the comparison table by metric and leaderboard: the `primary` comparison, then by metric.

    `shown` are the exploratory ones by the metrics with charts, `twins` those by metrics that follow from another,
    `other` those by the rest. What each row `favours`
    is what its decision says, whose rule stands in `evaluate.statistics.decide`. `notes`: of small samples.
    `relevant`: metrics with the smallest difference that matters.
    """
    metrics = list(tables.LABELS)
    rows = sorted(
        table.to_dict("records"),
        key=lambda row: (
            tables.place(row["metric"], metrics),
            row["metric"],
            tables.place(row["method"], methods),
            tables.place(row["baseline"], methods),
        ),
    )
    result: dict[str, list[Any]] = {name: [] for name in ("primary", "shown", "other", "twins", "notes", "relevant")}
    _, twins = tables.without_twins(list(table["metric"].unique()))
    for row in rows:
        shown = {decide.BETTER: row["method"], decide.WORSE: row["baseline"], decide.SAME: "the same"}
        favours = shown.get(row["decision"], "neither")
        part = "shown" if row["metric"] in tables.PRIMARY else "twins" if row["metric"] in twins else "other"
        result["primary" if row["family"] == decide.PRIMARY else part].append({**row, "favours": favours})
    result["notes"] = sorted(set(table["note"].dropna()))
    result["relevant"] = list(
        dict.fromkeys((r["metric"], r["relevant"]) for r in rows if r["relevant"] == r["relevant"])
    )
    return result


SECTION = Section(id="leaderboard", title="Leaderboard", order=700, of=MeasuredContext, build=build)
