"""A study's tables, read and shaped for the page; a table that is missing is empty."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.evaluate import harmonization as harmonisation
from upfield.evaluate import metrics as quality
from upfield.evaluate.statistics import subject_table
from upfield.files import read_json, read_tsv

COLUMNS = {
    "inventory": ("participant_id", "role", "session", "path", "shape", "voxel_mm", "field_strength_t",
                  "manufacturer", "bytes"),
    "pairs": ("participant_id", "source_path", "target_path", "source_name", "target_name"),
    "excluded": ("participant_id", "role", "path", "stage", "reason"),
    "qc/validation": ("dataset", "severity", "code", "files", "example", "message"),
    "splits": ("participant_id", "fold", "split"),
    "metrics/per_subject": ("participant_id", "method", "fold", "seed", "split", "region", "metric", "value"),
    "metrics/leaderboard": ("method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"),
    "metrics/comparisons": ("method", "baseline", "metric", "n", "mean_difference", "p_t", "p_wilcoxon", "p_holm",
                            "effect_size"),
    "metrics/harmonisation": ("method", "metric", "n_source", "n_target", "value", "ci_low", "ci_high"),
    "metrics/ranks": ("metric", "method", "n", "mean_rank", "ci_low", "ci_high", "wins", "p_friedman"),
    "metrics/outliers": ("participant_id", "method", "metric", "n", "value", "median", "robust_z", "outlier"),
    "metrics/quantities": ("participant_id", "method", "region", "quantity", "output", "truth"),
    "metrics/agreement": ("method", "region", "quantity", "n", "bias", "bias_low", "bias_high", "sd", "limit_low",
                          "limit_high", "p_slope", "icc_1_1", "icc_1_1_low", "icc_1_1_high", "icc_a_1", "icc_a_1_low",
                          "icc_a_1_high", "note"),
    "metrics/audit": ("participant_id", "method", "standardised_by", "share_beyond", "added", "removed", "changed",
                      "added_ml", "removed_ml", "changed_ml"),
    "metrics/structures": ("participant_id", "method", "structure", "kind", "x_mm", "y_mm", "z_mm", "volume_ml",
                           "peak_z", "contrast_output", "contrast_truth", "contrast_input"),
    "metrics/lesions": ("participant_id", "method", "lesion", "radius_mm", "contrast", "truth_change", "output_change",
                        "recovered", "elsewhere"),
    "metrics/definitions": ("metric", "label", "unit", "better", "ideal", "values", "definition", "source"),
    "metrics/appearance": ("participant_id", "scanner", "method", "block", "feature", "value"),
}  # fmt: skip
LABELS = quality.LABELS | harmonisation.LABELS
HIGHER, LOWER = quality.HIGHER | harmonisation.HIGHER, quality.LOWER | harmonisation.LOWER
KINDS = {**dict.fromkeys(MODEL_FREE, "baseline"), SUPERVISED: "supervised baseline", "combat": "baseline"}
PRIMARY = ("psnr", "ssim")  # metrics with charts and comparisons in sight; the others are folded
SPLITS = {"test": "test", "val": "validation", "train": "training"}
REGIONS = {"brain": "whole brain", "csf": "CSF", "grey": "grey matter", "white": "white matter",
           "volume": "whole volume"}  # fmt: skip


def read(root: Path) -> dict[str, pd.DataFrame]:
    """Every table of the study in `root`, by its name in `COLUMNS`, with exactly these columns."""
    return {name: _table(root / f"{name}.tsv").reindex(columns=list(columns)) for name, columns in COLUMNS.items()}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, n/a for what is missing."""
    return table.astype(object).where(table.notna(), "n/a").to_dict("records")


def per_subject(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test values in the brain: participants x methods, means over folds and seeds; no column without a value."""
    chosen = values[(values.split == "test") & (values.region == "brain") & (values.metric == metric)]
    return subject_table(chosen).dropna(axis=1, how="all")


def ranked(board: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    """All methods, best mean test PSNR first, then those without one: the order used everywhere on the page."""
    psnr = board[(board.split == "test") & (board.region == "brain") & (board.metric == "psnr")]
    best = psnr.sort_values("mean", ascending=False, kind="stable").method
    return list(dict.fromkeys([*best, *board.method, *values.method]))


def extremes(values: pd.DataFrame) -> list[dict[str, Any]]:
    """The best and the worst subject of each method, each a name and a value; `values` as of `per_subject`."""
    result = []
    for method in values:
        column = values[method].dropna()
        result.append({"method": method, "n": len(column), **{
            name: (who, column[who]) for name, who in (("best", column.idxmax()), ("worst", column.idxmin()))
        }})  # fmt: skip
    return result


def cohort(table: Mapping[str, pd.DataFrame]) -> list[tuple[str, int]]:
    """Counts of what was found, used and left out."""
    inventory, pairs, excluded = table["inventory"], table["pairs"], table["excluded"]
    return [
        ("participants found", inventory.participant_id.nunique()),
        ("scans found", len(inventory)),
        ("pairs used" if pairs.source_path.notna().any() else "targets used", len(pairs)),
        ("scans left out", len(excluded)),
    ]


def validation(issues: pd.DataFrame) -> list[dict[str, Any]]:
    """The validator's verdict on each dataset: `dataset`, `verdict` in words, and `issues`."""
    result = []
    for dataset, rows in issues.groupby("dataset", sort=False):
        counts = rows["severity"].value_counts()
        if "unknown" in counts:
            words = f"not checked: {rows['message'].iloc[0]}"
        elif "error" in counts:
            words = f"not valid: {counts['error']} kind{'s' if counts['error'] > 1 else ''} of error"
        else:
            words = "valid"
        if "warning" in counts:
            words += f", {counts['warning']} kind{'s' if counts['warning'] > 1 else ''} of warning"
        kept = rows[rows["severity"].isin(["error", "warning"])]
        result.append({"dataset": dataset, "verdict": words, "issues": records(kept)})
    return result


def folds(splits: pd.DataFrame) -> list[tuple[str, dict[str, list[str]]]]:
    """Participants of each split, by fold."""
    return [
        (fold, {s: sorted(rows.participant_id[rows.split == s]) for s in ("train", "val", "test")})
        for fold, rows in splits.groupby("fold")
    ]


def boards(board: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """One table per split and region, the test split and the whole brain first; `primary` marks that one."""
    order = list(SPLITS)
    keys = sorted(
        set(zip(board.split, board.region, strict=True)), key=lambda k: (place(k[0], order), k[1] != "brain", k[1])
    )
    result = []
    for split, region in keys:
        part = board[(board.split == split) & (board.region == region)].set_index(["method", "metric"])
        metrics = _ordered(part.index.get_level_values("metric").unique(), list(LABELS))
        best = {}
        for metric in metrics:
            means = part["mean"].xs(metric, level="metric").dropna()
            if len(means) > 1 and metric in HIGHER | LOWER:
                best[metric] = means.max() if metric in HIGHER else means.min()
        rows = []
        for method in methods:
            cells = {m: part.loc[(method, m)] for m in metrics if (method, m) in part.index}
            counts = sorted({int(cell.n) for cell in cells.values()})
            if cells:
                number = "–".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
                marked = {m for m, cell in cells.items() if cell["mean"] == best.get(m)}
                rows.append({"method": method, "n": number, "cells": cells, "best": marked})
        arrows = {m: "↑" if m in HIGHER else "↓" if m in LOWER else "" for m in metrics}
        title = f"{SPLITS.get(split, split).capitalize()} split, {REGIONS.get(region, region)}"
        primary = (split, region) == ("test", "brain")
        shown = {"split": split, "region": region, "metrics": metrics, "arrows": arrows, "rows": rows}
        result.append({"title": title, "primary": primary, **shown})
    return result


def filters(board: pd.DataFrame) -> list[tuple[str, str, dict[str, str]]]:
    """What the leaderboard can be filtered by: the name of a choice, its label, its values with their texts."""
    names = (("split", "Split", SPLITS), ("region", "Region", REGIONS), ("metric", "Metric", LABELS))
    return [
        (name, label, {v: known.get(v, v.replace("_", " ")) for v in _ordered(board[name].unique(), list(known))})
        for name, label, known in names
    ]


def comparisons(table: pd.DataFrame, methods: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the comparison table by metric and leaderboard, `primary` and `other` metrics apart.

    Each row `favours` a side if the Holm-adjusted p is below 0.05.
    """
    metrics = list(LABELS)
    rows = sorted(
        table.to_dict("records"),
        key=lambda r: (
            place(r["metric"], metrics), r["metric"], place(r["method"], methods), place(r["baseline"], methods)
        ),
    )  # fmt: skip
    result: dict[str, list[dict[str, Any]]] = {"primary": [], "other": []}
    for row in rows:
        better = row["mean_difference"] * (1 if row["metric"] in HIGHER else -1 if row["metric"] in LOWER else 0) > 0
        decided = row["p_holm"] < 0.05 and row["metric"] in HIGHER | LOWER
        favours = (row["method"] if better else row["baseline"]) if decided else "neither"
        result["primary" if row["metric"] in PRIMARY else "other"].append({**row, "favours": favours})
    return result


def runs(root: Path, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Every fitted model in the order of `methods`: its card, `name`, `history` (a table), `last` preview.

    `last` is a text, PNG bytes and whether it is more than a triptych, or None. `kept` is the validation metric that
    decided which epoch is kept, with its value: one pair, or none.
    """
    result = []
    for card in sorted((root / "models").glob("*/*/model.json"), key=lambda p: (place(p.parts[-3], methods), p)):
        run = read_json(card)
        triptychs = sorted(card.parent.glob("figures/*.png"))
        last = _preview(triptychs[-1]) if triptychs else None
        name = f"{run['method']}, fold {run.get('fold', 'n/a')}, seed {run.get('seed', 'n/a')}"
        kept = [(key[9:], value) for key, value in run.items() if key.startswith("best_val_")]
        result.append(
            {**run, "name": name, "kept": kept, "history": _table(card.with_name("history.tsv")), "last": last}
        )
    return result


def _preview(path: Path) -> tuple[str, bytes, bool]:
    """The epoch of a preview, its bytes, and whether it is wide: a grid of six columns, not a triptych."""
    with Image.open(path) as picture:
        wide = picture.width > 4 * picture.height
    return re.sub("-0*", " ", path.stem), path.read_bytes(), wide


def _table(path: Path) -> pd.DataFrame:
    try:
        return read_tsv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()


def place(name: str, order: Sequence[str]) -> int:
    """Index in `order`; after all others if it is not there."""
    return order.index(name) if name in order else len(order)


def _ordered(names: Iterable[str], order: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: place(name, order))
