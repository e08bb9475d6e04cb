"""The report as one HTML file: everything a reader needs to judge a study, in the order in which it is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import contrast_names
from upfield.config import MODEL_FREE, NEED_A_TRUTH
from upfield.errors import ScanError
from upfield.files import write_text
from upfield.report import figures, harmonisation, panels, review, tables, uncertainty
from upfield.report.headline import headline
from upfield.report.panels import SubjectImages
from upfield.report.render import inline, label, render

PANEL_PIXELS = 5.5e6  # about one byte each as PNG, a third more as base64: the page stays below 10 MB


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
        Test subjects to show, in order. Only what lies inside their brain masks gets into the file.
    notices
        Plain sentences shown above everything else, such as "The data are a phantom."

    """
    table = tables.read(root)
    values, board = table["metrics/per_subject"], table["metrics/leaderboard"]
    scores = {metric: tables.per_subject(values, metric) for metric in tables.PRIMARY}
    methods = tables.ranked(board, values)
    runs = tables.runs(root, methods)
    harmonised = harmonisation.section(table)
    shown = images[: int(config.get("report", {}).get("subjects", 6))]
    page = render(
        "template.html",
        config=config,
        provenance=provenance,
        notices=notices,
        headline=harmonisation.headline(harmonised["rows"]) if harmonised else headline(scores["psnr"], scores["ssim"]),
        summary=_summary(config, methods, runs),
        cohort=tables.cohort(table),
        inventory=tables.records(table["inventory"]),
        excluded=tables.records(table["excluded"]),
        validation=tables.validation(table["qc/validation"]),
        quality=review.section(root),
        folds=tables.folds(table["splits"]),
        boards=tables.boards(board, methods),
        charts=_charts(scores, board, methods),
        extremes=tables.extremes(scores["psnr"][[m for m in methods if m in scores["psnr"]]]),
        harmonisation=harmonised,
        comparisons=tables.comparisons(table["metrics/comparisons"], methods),
        subjects=_subjects(shown, scores, methods),
        uncertainty=uncertainty.section(root, methods),
        scales={name: panels.scale_bar(name) for name in ("grey", "error")},
        runs=runs,
        trained=[{**run, "curves": _curves(run)} for run in runs if run["method"] not in MODEL_FREE],
        benchmarks=tables.benchmarks(root / "benchmarks", methods),
    )
    write_text(output, page)


def notices(config: Mapping[str, Any]) -> list[str]:
    """What a reader must know before any number: a phantom, simulated sources, contrasts that not every method sees."""
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
    if config["pairing"] == "unpaired":
        left_out = " and ".join(NEED_A_TRUTH)
        result.append(
            "Source and target are different people, so there is no truth: no number here compares an output with the"
            f" image that it should have been. The baselines {left_out} are left out, since they need one."
        )
    source = config.get("source", {})
    if len(source.get("channels", [])) > 1:
        result.append(
            f"The networks see several contrasts of the source side by side: {', '.join(contrast_names(source))}."
            " The baselines without a network, and the images shown, have the first alone."
        )
    return result


def _summary(
    config: Mapping[str, Any], methods: Sequence[str], runs: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """The study in terms and descriptions."""
    prep, splits = config.get("preprocess", {}), dict(config.get("splits", {}))
    if splits.get("scheme") == "holdout":
        splits.pop("folds", None)
    side = {key: config.get(key, {}) for key in ("source", "target")}
    pairing = str(config.get("pairing", "n/a"))
    simulated = pairing == "simulated"
    spacing = prep.get("spacing", "n/a")
    rows = [
        ("Study", config.get("study", "n/a")),
        ("Input", "made from the target: " + inline(config.get("simulate")) if simulated else _scan(side["source"])),
        ("Target", _scan(side["target"])),
        ("Pairing", pairing),
        ("Working grid", "the target's own grid" if spacing == "native" else f"{spacing} mm voxels"),
    ]
    steps = [(key.replace("_", " "), value) for key, value in prep.items() if key != "spacing"]
    rows += [("Preprocessing", "; ".join(f"{key}: {inline(value)}" for key, value in steps))] if steps else []
    presets = {run["method"]: run.get("preset") for run in runs if run["method"] not in MODEL_FREE}
    named = dict.fromkeys([*methods, *config.get("methods", []), *(run["method"] for run in runs)])
    text = [f"{m} ({presets[m]} preset)" if presets.get(m) else str(m) for m in named]
    return [*rows, ("Methods", ", ".join(text) or "none"), ("Split", inline(splits))]


def _scan(side: Mapping[str, Any]) -> str:
    """A dataset and its filters on one line."""
    filters = {**side.get("entities", {}), **side.get("metadata", {})}
    return f"{side.get('bids_dir', 'n/a')} ({inline(filters)})" if filters else str(side.get("bids_dir", "n/a"))


def _charts(scores: Mapping[str, pd.DataFrame], board: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Per-subject charts on the test split."""
    charts = []
    for metric, values in scores.items():
        if values.empty:
            continue
        values = values[[m for m in methods if m in values]]
        part = board[(board.split == "test") & (board.region == "brain") & (board.metric == metric)]
        networks = [m for m in values if m not in MODEL_FREE]
        draw = [figures.subject_values(values, part.set_index("method"), networks, label(metric), theme)
                for theme in (figures.LIGHT, figures.DARK)]  # fmt: skip
        charts.append({"metric": metric, "n": len(values), "light": draw[0], "dark": draw[1]})
    return charts


def _subjects(
    images: Sequence[SubjectImages], scores: Mapping[str, pd.DataFrame], methods: Sequence[str]
) -> list[dict[str, Any]]:
    """The image section: a view of each subject, or the reason why there is none."""
    result = []
    for subject in images:
        order = [m for m in methods if m in subject.outputs] + [m for m in subject.outputs if m not in methods]
        entry: dict[str, Any] = {"name": subject.participant_id, "methods": order, "view": None, "problem": None}
        try:
            entry["view"] = panels.subject_view(subject, PANEL_PIXELS / len(images))
        except ScanError as error:
            entry["problem"] = str(error)
        entry["scores"] = {
            method: {k: t.loc[subject.participant_id, method] for k, t in scores.items()
                     if subject.participant_id in t.index and method in t}
            for method in order
        }  # fmt: skip
        result.append(entry)
    return result


def _curves(run: Mapping[str, Any]) -> list[bytes]:
    """A run's training curves in both themes; empty without a history."""
    themes = (figures.LIGHT, figures.DARK) if len(run["history"]) else ()
    return [figures.training_curves(run["history"], run.get("best_epoch"), theme) for theme in themes]
