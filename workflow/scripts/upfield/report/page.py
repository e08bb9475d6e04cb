"""The report as one HTML file: everything a reader needs to judge a study, in the order in which it is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import contrast_names
from upfield.catalogue.methods import MODEL_FREE, NEED_A_TARGET
from upfield.errors import ScanError
from upfield.files import write_text
from upfield.report import (
    citing,
    costs,
    export,
    figures,
    findings,
    harmonisation,
    panels,
    review,
    subject,
    tables,
    uncertainty,
    viewer,
    winner,
)
from upfield.report.headline import headline
from upfield.report.render import inline, label, render, uri
from upfield.report.subject import SubjectImages

# Together below 25 MB with 20 subjects (benchmarks/report_size.py): a pixel is about one byte as PNG, a voxel 0.1 to
# 0.3 as WebP, a third more as base64.
PANEL_PIXELS, VIEWER_VOXELS = 3e6, 40e6
# Models with pictures of their training; 0.2 MB each.
DRAWN = 12


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
    named = list(dict.fromkeys([*methods, *config.get("methods", []), *(run["method"] for run in runs)]))
    harmonised = harmonisation.section(table)
    options = config.get("report", {})
    shown, faces = images[: int(options.get("subjects", 6))], bool(options.get("faces", False))
    page = render(
        "study.html",
        scripts=("script.js", "viewer.js") if shown else ("script.js",),
        config=config,
        provenance=provenance,
        notices=notices,
        headline=harmonisation.headline(harmonised["rows"]) if harmonised else headline(scores["psnr"], scores["ssim"]),
        winner=[] if harmonised else winner.sentences(values, scores["psnr"]),
        summary=_summary(config, named, runs),
        cohort=tables.cohort(table),
        inventory=tables.records(table["inventory"]),
        excluded=tables.records(table["excluded"]),
        validation=tables.validation(table["qc/validation"]),
        quality=review.section(root),
        folds=tables.folds(table["splits"]),
        boards=tables.boards(board, methods),
        filters=tables.filters(board),
        charts=_charts(scores, board, methods),
        extremes=tables.extremes(scores["psnr"][[m for m in methods if m in scores["psnr"]]]),
        harmonisation=harmonised,
        ranking=findings.ranking(table, methods),
        outliers=findings.outliers(table),
        definitions=tables.records(table["metrics/definitions"]),
        agreement=findings.agreement(table, methods),
        hallucinations=findings.hallucinations(table, methods),
        comparisons=tables.comparisons(table["metrics/comparisons"], methods),
        subjects=_subjects(shown, scores, methods, faces),
        faces=faces,
        unpaired=config.get("pairing") == "unpaired",
        palettes=viewer.colours(),
        uncertainty=uncertainty.section(root, methods),
        scales={name: panels.scale_bar(name) for name in ("grey", "error", "deviation")},
        runs=runs,
        trained=_trained(runs),
        benchmarks=costs.benchmarks(root / "benchmarks", methods),
        gpu_energy=costs.gpu_energy(runs),
        citing=citing.section(config, provenance, named, bool(harmonised)),
        export=export.section(root),
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
        left_out = " and ".join(NEED_A_TARGET)
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
    text = [f"{m} ({presets[m]} preset)" if presets.get(m) else str(m) for m in methods]
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
        charts.append(
            {
                "metric": metric,
                "n": len(values),
                "violins": len(values) >= figures.VIOLIN,
                "light": draw[0],
                "dark": draw[1],
            }
        )
    return charts


def _subjects(
    images: Sequence[SubjectImages], scores: Mapping[str, pd.DataFrame], methods: Sequence[str], faces: bool
) -> list[dict[str, Any]]:
    """The image section: a view of each subject, or the reason why there is none."""
    result = []
    for person in images:
        order = [m for m in methods if m in person.outputs] + [m for m in person.outputs if m not in methods]
        entry: dict[str, Any] = {"name": person.participant_id, "methods": order, "view": None, "problem": None}
        try:
            entry["view"] = _view(subject.read(person, faces), len(images))
        except ScanError as error:
            entry["problem"] = str(error)
        entry["scores"] = {
            method: {k: t.loc[person.participant_id, method] for k, t in scores.items()
                     if person.participant_id in t.index and method in t}
            for method in order
        }  # fmt: skip
        result.append(entry)
    return result


def _view(volumes: subject.SubjectVolumes, subjects: int) -> dict[str, Any]:
    """The pictures of one of so many subjects."""
    still = panels.subject_view(volumes, PANEL_PIXELS / subjects)
    moving = viewer.view(volumes, VIEWER_VOXELS / subjects)
    return {
        "planes": still.planes,
        "pixel": still.pixel,
        "volumes": moving | {"sheets": {name: uri(sheet) for name, sheet in moving["sheets"].items()}},
        "window": volumes.window,
        "error": volumes.error,
        "truth": volumes.truth is not None,
        "deviation": volumes.deviation if volumes.deviations else None,
        "failures": volumes.failures,
    }


def _trained(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trained models, the first `DRAWN` with their curves and preview: `drawn`."""
    networks = [run for run in runs if run["method"] not in MODEL_FREE]
    first = [{**run, "drawn": True, "curves": _curves(run)} for run in networks[:DRAWN]]
    return [*first, *({**run, "drawn": False, "curves": [], "last": None} for run in networks[DRAWN:])]


def _curves(run: Mapping[str, Any]) -> list[bytes]:
    """A run's training curves in both themes; empty without a history."""
    themes = (figures.LIGHT, figures.DARK) if len(run["history"]) else ()
    return [figures.training_curves(run["history"], run.get("best_epoch"), theme) for theme in themes]
