"""The report as one HTML file: everything a reader needs to judge a study, in the order in which it is asked."""

import base64
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from scipy import stats

from upfield.errors import ScanError
from upfield.files import read_json, read_tsv, write_text
from upfield.metrics import HIGHER, LABELS, LOWER
from upfield.report import figures
from upfield.report.figures import SubjectImages

BASELINES = ("identity", "spline", "histogram_match", "unet3d")
SMALL = 10  # test subjects below which the headline asks for caution
PANEL_PIXELS = 5.5e6  # about one byte each as PNG, a third more as base64: the page stays below 10 MB
COLUMNS = {
    "inventory": ("participant_id", "role", "session", "path", "shape", "voxel_mm", "field_strength_t",
                  "manufacturer", "bytes"),
    "pairs": ("participant_id", "source_path", "target_path", "source_name", "target_name"),
    "excluded": ("participant_id", "role", "path", "stage", "reason"),
    "splits": ("participant_id", "fold", "split"),
    "metrics/per_subject": ("participant_id", "method", "fold", "seed", "split", "region", "metric", "value"),
    "metrics/leaderboard": ("method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"),
    "metrics/comparisons": ("method", "baseline", "metric", "n", "mean_difference", "p_t", "p_wilcoxon", "p_holm",
                            "effect_size"),
}  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The answer to "did it work?": a `verdict` of a few words and the `sentences` that carry it."""

    verdict: str
    sentences: list[str]


def build(
    root: Path,
    output: Path,
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    images: Sequence[SubjectImages],
    notices: Sequence[str],
) -> None:
    """Write the report of the study in `root` to `output`, atomically: one HTML file that refers to nothing else.

    Parameters
    ----------
    root
        The study folder: tables, `metrics/`, `models/`, `benchmarks/`; whatever is missing is said to be missing.
    config
        The configuration of the run; `report.subjects` (default 6) limits `images`.
    provenance
        Scalars to list (`upfield`, `git_commit`, `command`, `created`, ...) and `versions`, a mapping.
    images
        Test subjects to show, in order.
    notices
        Plain sentences shown above everything else, such as "The data are a phantom."

    """
    table = {name: _read(root, name, columns) for name, columns in COLUMNS.items()}
    values, board = table["metrics/per_subject"], table["metrics/leaderboard"]
    test = _per_subject(values, "psnr")
    methods = _ranked(board, values)
    runs = _runs(root)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"uri": _uri, "label": _label, "number": _number, "duration": _duration}
    shown = images[: int(config.get("report", {}).get("subjects", 6))]
    page = environment.get_template("template.html").render(
        css=Markup(Path(__file__).with_name("style.css").read_text(encoding="utf-8")),
        config=config,
        config_yaml=yaml.safe_dump(json.loads(json.dumps(config, default=str)), sort_keys=False, allow_unicode=True),
        provenance=provenance,
        notices=notices,
        headline=headline(test),
        summary=_summary(config, runs),
        cohort=_cohort(table),
        inventory=_records(table["inventory"]),
        excluded=_records(table["excluded"]),
        folds=_folds(table["splits"]),
        boards=_boards(board, methods),
        charts=_charts(values, board, methods),
        comparisons=_comparisons(table["metrics/comparisons"]),
        baselines=BASELINES,
        new_id=itertools.count().__next__,
        subjects=_subjects(shown, values, methods),
        scales={name: figures.scale_bar(name) for name in ("grey", "error")},
        runs=runs,
        benchmarks=_benchmarks(root / "benchmarks"),
    )
    write_text(output, page)


def notices(config: Mapping[str, Any]) -> list[str]:
    """What a reader must know before any number: that the data are a phantom, or that the sources are simulated."""
    result = []
    if config["phantom"] is not None:
        result.append(
            "The data are a phantom: simulated heads, no scan of a person. The numbers show that the workflow works;"
            " they say nothing about real images."
        )
    if config["pairing"] == "simulated":
        result.append(
            f"The source images are simulated from the target images ({config['simulate']['kind']}), not acquired."
            " Results on acquired images will differ."
        )
    return result


def headline(psnr: pd.DataFrame) -> Headline:
    """Best model against best baseline, both by mean test PSNR.

    `psnr`: participants in rows, methods in columns, dB. The interval is the 95 % t interval of the paired
    differences over subjects.
    """
    means = psnr.mean().dropna().sort_values(ascending=False, kind="stable")
    baselines = [m for m in means.index if m in BASELINES]
    models = [m for m in means.index if m not in BASELINES]
    if not len(means):
        return Headline("Nothing was measured.", ["The study holds no PSNR on a test split."])
    best = (models or baselines)[0]
    if not models or not baselines:
        missing, other = ("baseline", "models") if models else ("model", "baselines")
        return Headline(
            f"No {missing} to compare with.",
            [f"Only {other} were evaluated on the test split. The best is {best}: {means[best]:.2f} dB PSNR "
             f"inside the brain ({_subjects_text(psnr[best].count())})."],
        )  # fmt: skip
    rival = baselines[0]
    difference = (psnr[best] - psnr[rival]).dropna()
    n, mean = len(difference), float(difference.mean())
    half = float(stats.t.ppf(0.975, n - 1) * difference.sem()) if n > 1 else np.nan
    interval = (
        f"95\N{NO-BREAK SPACE}% CI {_signed(mean - half)} to {_signed(mean + half)}, " if n > 1 else "no interval, "
    )
    first = (
        f"On the test split {best}{', the best model,' * (len(models) > 1)} reaches {means[best]:.2f} dB PSNR inside "
        f"the brain; {rival}, the best baseline, reaches {means[rival]:.2f} dB: a difference of {_signed(mean)} dB "
        f"({interval}{_subjects_text(n)})."
    )
    if n < 2:
        verdict = "Undecided: one test subject is too few."
    elif mean - half > 0:
        verdict = f"Yes, in {n} subjects: {best} does better than the best baseline."
    elif mean + half < 0:
        verdict = f"No, in {n} subjects: {best} does worse than the best baseline."
    else:
        verdict = f"Not shown in {n} subjects: {best} and the best baseline cannot be told apart."
    caution = []
    if n < SMALL:
        caution.append(f"With {n} subject{'s' * (n > 1)} this is an indication, not a proof.")
    if len(models) > 1:
        caution.append(f"The model was picked among {len(models)} on these same subjects, which flatters it a little.")
    return Headline(verdict, [first, *caution])


def _read(root: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table of the study with exactly `columns`; empty if the file is missing or empty."""
    try:
        return read_tsv(root / f"{name}.tsv").reindex(columns=list(columns))
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame(columns=list(columns))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, n/a for what is missing."""
    return table.astype(object).where(table.notna(), "n/a").to_dict("records")


def _per_subject(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test values in the brain: participants x methods, averaged over folds and seeds; infinite values are left out."""
    chosen = values[(values.split == "test") & (values.region == "brain") & (values.metric == metric)]
    chosen = chosen.assign(value=pd.to_numeric(chosen.value).replace([np.inf, -np.inf], np.nan))
    return chosen.pivot_table(index="participant_id", columns="method", values="value", aggfunc="mean")


def _ranked(board: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    """All methods, best mean test PSNR first, then those without one: the order used everywhere on the page."""
    psnr = board[(board.split == "test") & (board.region == "brain") & (board.metric == "psnr")]
    ranked = psnr.sort_values("mean", ascending=False, kind="stable").method
    return list(dict.fromkeys([*ranked, *board.method, *values.method]))


def _summary(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The study in terms and descriptions."""
    prep, splits = config.get("preprocess", {}), dict(config.get("splits", {}))
    if splits.get("scheme") == "holdout":
        splits.pop("folds", None)
    side = {key: config.get(key, {}) for key in ("source", "target")}
    pairing = str(config.get("pairing", "n/a"))
    simulated = pairing == "simulated"
    rows = [
        ("Study", config.get("study", "n/a")),
        ("Input", "made from the target: " + _inline(config.get("simulate")) if simulated else _scan(side["source"])),
        ("Target", _scan(side["target"])),
        ("Pairing", pairing),
        ("Working grid", f"{prep.get('spacing', 'n/a')} mm voxels"),
    ]
    steps = [(key.replace("_", " "), value) for key, value in prep.items() if key != "spacing"]
    rows += [("Preprocessing", "; ".join(f"{key}: {_inline(value)}" for key, value in steps))] if steps else []
    presets = {run["method"]: run.get("preset") for run in runs}
    named = [*config.get("methods", []), *(m for m in presets if m not in config.get("methods", []))]
    text = [f"{m} ({presets[m]} preset)" if presets.get(m) else str(m) for m in named]
    return [*rows, ("Methods", ", ".join(text) or "none"), ("Split", _inline(splits))]


def _scan(side: Mapping[str, Any]) -> str:
    """A dataset and its filters on one line."""
    filters = {**side.get("entities", {}), **side.get("metadata", {})}
    return f"{side.get('bids_dir', 'n/a')} ({_inline(filters)})" if filters else str(side.get("bids_dir", "n/a"))


def _inline(value: Any) -> str:
    """A configuration value on one line, nested mappings included, empty entries left out."""
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if v not in (None, [], {})}
        return ", ".join(f"{k} {_inline(v)}" for k, v in kept.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inline, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _cohort(table: Mapping[str, pd.DataFrame]) -> list[tuple[str, int]]:
    """Counts of what was found, used and left out."""
    inventory, pairs, excluded = table["inventory"], table["pairs"], table["excluded"]
    return [
        ("participants found", inventory.participant_id.nunique()),
        ("scans found", len(inventory)),
        ("pairs used" if pairs.source_path.notna().any() else "targets used", len(pairs)),
        ("scans left out", len(excluded)),
    ]


def _folds(splits: pd.DataFrame) -> list[tuple[str, dict[str, list[str]]]]:
    """Participants of each split, by fold."""
    return [
        (fold, {s: sorted(rows.participant_id[rows.split == s]) for s in ("train", "val", "test")})
        for fold, rows in splits.groupby("fold")
    ]


def _boards(board: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """One table per split and region, the test split and the whole brain first."""
    order = {"test": 0, "val": 1, "train": 2}
    keys = sorted(
        set(zip(board.split, board.region, strict=True)), key=lambda k: (order.get(k[0], 3), k[1] != "brain", k[1])
    )
    boards = []
    for split, region in keys:
        part = board[(board.split == split) & (board.region == region)].set_index(["method", "metric"])
        known = part.index.get_level_values("metric").unique()
        metrics = [m for m in LABELS if m in known] + [m for m in known if m not in LABELS]
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
        boards.append({"split": split, "region": region, "metrics": metrics, "arrows": arrows, "rows": rows})
    return boards


def _charts(values: pd.DataFrame, board: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Per-subject charts of PSNR and SSIM on the test split."""
    charts = []
    for metric in ("psnr", "ssim"):
        table = _per_subject(values, metric)
        if table.empty:
            continue
        table = table[[m for m in methods if m in table]]
        part = board[(board.split == "test") & (board.region == "brain") & (board.metric == metric)]
        models = [m for m in table if m not in BASELINES]
        draw = [figures.subject_values(table, part.set_index("method"), models, _label(metric), theme)
                for theme in (figures.LIGHT, figures.DARK)]  # fmt: skip
        charts.append({"metric": metric, "n": len(table), "light": draw[0], "dark": draw[1]})
    return charts


def _comparisons(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the comparison table, each with the side it favours at Holm-adjusted p < 0.05."""
    rows = []
    for row in table.to_dict("records"):
        better = row["mean_difference"] * (1 if row["metric"] in HIGHER else -1 if row["metric"] in LOWER else 0) > 0
        decided = row["p_holm"] < 0.05 and row["metric"] in HIGHER | LOWER
        rows.append({**row, "favours": (row["method"] if better else row["baseline"]) if decided else "neither"})
    return rows


def _subjects(images: Sequence[SubjectImages], values: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """The image section: a view of each subject, or the reason why there is none."""
    scores = {metric: _per_subject(values, metric) for metric in ("psnr", "ssim")}
    result = []
    for subject in images:
        order = [m for m in methods if m in subject.outputs] + [m for m in subject.outputs if m not in methods]
        entry: dict[str, Any] = {"name": subject.participant_id, "methods": order, "view": None, "problem": None}
        try:
            entry["view"] = figures.subject_view(subject, PANEL_PIXELS / len(images))
        except ScanError as error:
            entry["problem"] = str(error)
        entry["scores"] = {
            method: {k: t.loc[subject.participant_id, method] for k, t in scores.items()
                     if subject.participant_id in t.index and method in t}
            for method in order
        }  # fmt: skip
        result.append(entry)
    return result


def _runs(root: Path) -> list[dict[str, Any]]:
    """Every trained model: its card, curves in both themes and last triptych."""
    runs = []
    for card in sorted((root / "models").glob("*/*/model.json")):
        run = read_json(card)
        history = _history(card.with_name("history.tsv"))
        curves = None
        if len(history):
            curves = [figures.training_curves(history, run.get("best_epoch"), t) for t in (figures.LIGHT, figures.DARK)]
        triptychs = sorted(card.parent.glob("figures/*.png"))
        last = (re.sub("-0*", " ", triptychs[-1].stem), triptychs[-1].read_bytes()) if triptychs else None
        name = f"{run['method']}, fold {run.get('fold', 'n/a')}, seed {run.get('seed', 'n/a')}"
        runs.append({**run, "name": name, "curves": curves, "last": last})
    return runs


def _history(path: Path) -> pd.DataFrame:
    """A training history; empty if there is none."""
    try:
        return read_tsv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()


def _benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Jobs, total and longest time in s, and peak resident memory in MB, by stage (the first part of the path)."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        measured = pd.read_csv(path, sep="\t")
        numbers = {key: pd.to_numeric(measured.get(key, pd.Series(dtype=float)), errors="coerce").max()
                   for key in ("s", "max_rss")}  # fmt: skip
        rows.append({"stage": path.relative_to(folder).with_suffix("").parts[0], **numbers})
    if not rows:
        return []
    grouped = pd.DataFrame(rows).groupby("stage", sort=False)
    stages = grouped.agg(jobs=("s", "size"), total=("s", "sum"), longest=("s", "max"), memory=("max_rss", "max"))
    return stages.reset_index().to_dict("records")


def _uri(png: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _label(metric: str) -> str:
    """A metric as a column heading."""
    return LABELS.get(metric, metric.replace("_", " "))


def _number(value: Any, metric: str = "") -> str:
    """A number as text: two decimals for dB, three significant digits otherwise; n/a if there is none."""
    if value is None or pd.isna(value):
        return "n/a"
    if metric == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    plain = ",.0f" if abs(value) >= 1000 else "#.3g"
    pattern = {"psnr": ".2f", "ssim": ".4f", "ms_ssim": ".4f", "pearson": ".4f"}.get(metric, plain)
    return f"{value:{pattern}}".rstrip(".").replace("-", "−")


def _signed(value: float) -> str:
    """Two decimals with a sign."""
    return f"{value:+.2f}".replace("-", "−")


def _subjects_text(n: int) -> str:
    """`n` as a phrase."""
    return f"n = {n} subject" + ("" if n == 1 else "s")


def _duration(seconds: float | None) -> str:
    """Seconds as a reader says them."""
    if seconds is None or pd.isna(seconds):
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
