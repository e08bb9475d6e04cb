"""The study in terms and descriptions."""

from collections.abc import Mapping
from typing import Any

from upfield.catalogue.methods import MODEL_FREE
from upfield.report.context import MeasuredContext
from upfield.report.render import inline
from upfield.report.sections import Section


def build(context: MeasuredContext) -> dict[str, Any]:
    """What goes in, what is done with it, by which methods."""
    config, narrative = context.config, context.narrative
    prep, splits = config.get("preprocess", {}), dict(config.get("splits", {}))
    if splits.get("scheme") != "kfold":
        splits.pop("folds", None)
    side = {key: config.get(key, {}) for key in ("source", "target")}
    spacing = prep.get("spacing", "n/a")
    rows = [
        ("Study", config.get("study", "n/a")),
        ("Input", f"{narrative.input}: {inline(config['simulate'])}" if narrative.input else _scan(side["source"])),
        ("Target", _scan(side["target"])),
        ("Pairing", str(config.get("pairing", "n/a"))),
        ("Working grid", narrative.native_grid if spacing == "native" else f"{spacing} mm voxels"),
    ]
    steps = [(key.replace("_", " "), value) for key, value in prep.items() if key != "spacing"]
    rows += [("Preprocessing", "; ".join(f"{key}: {inline(value)}" for key, value in steps))] if steps else []
    others = {*MODEL_FREE, *context.external}
    presets = {run["method"]: run.get("preset") for run in context.runs if run["method"] not in others}
    named = [f"{m} ({presets[m]} preset)" if presets.get(m) else str(m) for m in context.named]
    rows.append(("Methods", ", ".join(named) or "none"))
    return {"summary": [*rows, ("Split", inline(splits))] if context.trains else rows}


def _scan(side: Mapping[str, Any]) -> str:
    """A dataset and its filters on one line."""
    filters = {**side.get("entities", {}), **side.get("metadata", {})}
    return f"{side.get('bids_dir', 'n/a')} ({inline(filters)})" if filters else str(side.get("bids_dir", "n/a"))


SECTION = Section(id="study", title="Study", order=1030, of=MeasuredContext, build=build)
