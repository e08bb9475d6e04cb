"""A study's tables, read and shaped for the page; a table that is missing is empty."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.catalogue.parts import PARTS
from upfield.evaluate import harmonization
from upfield.evaluate import metrics as quality
from upfield.evaluate.metrics.registry import TWINS
from upfield.evaluate.statistics import pair_table, subject_table
from upfield.files import portable, read_json, read_tsv

COLUMNS = {
    "inventory": ("participant_id", "role", "session", "path", "shape", "voxel_mm", "field_strength_t",
                  "manufacturer", "bytes"),
    "pairs": ("participant_id", "source_path", "target_path", "source_name", "target_name"),
    "excluded": ("participant_id", "role", "path", "stage", "reason"),
    "qc/validation": ("dataset", "severity", "code", "files", "example", "message"),
    "splits": ("participant_id", "fold", "split"),
    "metrics/per_subject": ("participant_id", "method", "fold", "seed", "split", "region", "metric", "value"),
    "metrics/leaderboard": ("method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"),
    "metrics/comparisons": ("method", "baseline", "metric", "n", "mean_difference", "p_t", "p_holm", "decision",
                            "family", "adjusted_level", "adjusted_low", "adjusted_high", "hedges_g", "g_low", "g_high",
                            "detectable", "needed", "non_inferior", "relevant", "note"),
    "metrics/harmonisation": ("method", "metric", "n_source", "n_target", "value", "ci_low", "ci_high", "decision",
                              "p_permutation", "change", "change_low", "change_high"),
    "metrics/ranks": ("metric", "method", "n", "mean_rank", "ci_low", "ci_high", "wins", "p_holm"),
    "metrics/outliers": ("participant_id", "method", "metric", "n", "value", "median", "robust_z", "outlier"),
    "metrics/quantities": ("participant_id", "method", "region", "quantity", "output", "truth"),
    "metrics/agreement": ("method", "region", "quantity", "n", "bias", "bias_low", "bias_high", "sd", "limit_low",
                          "limit_high", "p_slope", "icc_1_1", "icc_1_1_low", "icc_1_1_high", "icc_a_1", "icc_a_1_low",
                          "icc_a_1_high", "note", "limit_low_low", "limit_low_high", "limit_high_low",
                          "limit_high_high", "next_low", "next_high"),
    "metrics/audit": ("participant_id", "method", "standardised_by", "share_beyond", "added", "removed", "changed",
                      "added_ml", "removed_ml", "changed_ml"),
    "metrics/structures": ("participant_id", "method", "structure", "kind", "x_mm", "y_mm", "z_mm", "volume_ml",
                           "peak_z", "contrast_output", "contrast_truth", "contrast_input"),
    "metrics/lesions": ("participant_id", "method", "lesion", "radius_mm", "contrast", "truth_change", "output_change",
                        "recovered", "elsewhere"),
    "metrics/calibration": ("participant_id", "method", "fold", "bin", "voxels", "predicted", "rmse", "spearman",
                            "ence"),
    "metrics/perception": ("participant_id", "method", "fold", "image", "psnr", "ssim", "sharpness"),
    "metrics/definitions": ("metric", "label", "unit", "better", "ideal", "values", "definition", "source"),
    "metrics/as_applied": ("participant_id", "method", "fold", "seed", "split", "region", "metric", "value"),
    "metrics/as_applied_leaderboard": ("method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"),
    "metrics/as_others_count": ("participant_id", "method", "fold", "seed", "split", "region", "metric", "value"),
    "metrics/as_others_count_leaderboard": ("method", "split", "region", "metric", "n", "mean", "sd", "ci_low",
                                            "ci_high"),
    "metrics/appearance": ("participant_id", "scanner", "method", "block", "feature", "value"),
}  # fmt: skip
LABELS = quality.LABELS | harmonization.LABELS
HIGHER, LOWER = quality.HIGHER | harmonization.HIGHER, quality.LOWER | harmonization.LOWER
KINDS = {**dict.fromkeys(MODEL_FREE, "baseline"), SUPERVISED: "supervised baseline", "combat": "baseline"}
# ComBat changes features; there is no image to look at.
FEATURES_ONLY = "combat"
PRIMARY = ("psnr", "ssim")  # metrics with charts and comparisons in sight; the others are folded
SPLITS = {"test": "test", "val": "validation", "train": "training"}
REGIONS = {"brain": "whole brain", "csf": "CSF", "grey": "grey matter", "white": "white matter",
           "volume": "whole volume", **{name: name.replace("_", " ") for name in PARTS}}  # fmt: skip


def read(root: Path) -> dict[str, pd.DataFrame]:
    """Every table of the study in `root`, by its name in `COLUMNS`, with exactly these columns."""
    return {name: _table(root / f"{name}.tsv").reindex(columns=list(columns)) for name, columns in COLUMNS.items()}


def outgoing(table: pd.DataFrame, places: Mapping[str, str]) -> pd.DataFrame:
    """A table as it may leave this machine: see `files.portable`."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: [portable(cell, places) for cell in table[name]] for name in texts})


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, n/a for what is missing."""
    return table.astype(object).where(table.notna(), "n/a").to_dict("records")


def per_subject(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test values in the brain: participants x methods, means over pairs, folds, seeds; no column without a value."""
    return subject_table(_tested(values, metric)).dropna(axis=1, how="all")


def per_pair(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The same with a row for each pair of those who have several."""
    return pair_table(_tested(values, metric)).dropna(axis=1, how="all")


def _tested(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    return values[(values.split == "test") & (values.region == "brain") & (values.metric == metric)]


def ranked(board: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    """All methods, best mean test PSNR first, then those without one: the order used everywhere on the page."""
    psnr = board[(board.split == "test") & (board.region == "brain") & (board.metric == "psnr")]
    best = psnr.sort_values("mean", ascending=False, kind="stable").method
    return list(dict.fromkeys([*best, *board.method, *values.method]))


def runs(root: Path, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Every fitted model in the order of `methods`: its card, `name`, `history` (a table), `last` preview.

    `last` is a text, PNG bytes and whether it is more than a triptych, or None. `kept` is the validation metric that
    decided which epoch is kept, with its value: one pair, or none; `keeps_last` says that none did.
    """
    result = []
    for card in sorted((root / "models").glob("*/*/model.json"), key=lambda p: (place(p.parts[-3], methods), p)):
        run = read_json(card)
        triptychs = sorted(card.parent.glob("figures/*.png"))
        last = _preview(triptychs[-1]) if triptychs else None
        name = f"{run['method']}, fold {run.get('fold', 'n/a')}, seed {run.get('seed', 'n/a')}"
        kept = [(key[9:], value) for key, value in run.items() if key.startswith("best_val_")]
        history = _table(card.with_name("history.tsv"))
        keeps_last = bool(run.get("settings", {}).get("keep_last", False))
        result.append({**run, "name": name, "kept": kept, "keeps_last": keeps_last, "history": history, "last": last})
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


def ordered(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names sorted by their index in `order`, all others after them as they come."""
    return sorted(names, key=lambda name: place(name, order))


def without_twins(metrics: Sequence[str]) -> tuple[list[str], list[str]]:
    """Metrics that say something of their own, and those that order outputs as one of these does."""
    twins = [name for name in metrics if TWINS.get(name) in metrics]
    return [name for name in metrics if name not in twins], twins


def filled(rows: Iterable[Mapping[str, Any]], column: str) -> bool:
    """Whether any of the rows has a value in a column: one without is left out."""
    return any(not pd.isna(row[column]) and row[column] != "n/a" for row in rows)


def known(names: pd.Series, order: Sequence[str]) -> list[str]:
    """Distinct names, those of `order` first and in its order."""
    return sorted(names.unique(), key=lambda name: (place(name, order), name))
