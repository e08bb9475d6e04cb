"""The plans: what was worked out from the training data and the device, and why."""

from collections.abc import Mapping
from typing import Any

from upfield.report.context import StudyContext
from upfield.report.sections import Section

# Settings in words, in the order of the table; the others stand in the file.
WORDS = {
    "base": "channels of the first level",
    "levels": "halvings",
    "flat_levels": "levels that leave an axis alone",
    "blocks": "residual blocks of a level",
    "patch": "patch, voxels",
    "batch_size": "patches in a batch",
    "accumulate": "batches in a step",
    "epochs": "epochs",
    "per_volume": "patches of a volume in an epoch",
    "per_volume_val": "validation patches of a volume",
    "lr": "learning rate",
    "ema": "moving average of the weights",
    "augmentation": "probability of random changes",
}


def build(context: StudyContext) -> dict[str, Any]:
    """Every plan: its table, what it foresees, and what it was made from."""
    return {"plans": [_shown(plan) for plan in context.plans]}


def _shown(plan: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {"name": name, "words": words, "value": _text(plan["settings"][name]), "because": plan["reasons"].get(name)}
        for name, words in WORDS.items()
        if name in plan["settings"]
    ]
    # A working grid that the study named has no place in the plan.
    return {"grid": None, **plan, "rows": rows}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items() if part)
    if isinstance(value, list):
        return " × ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


SECTION = Section(
    id="plan", title="Plan", order=1190, of=StudyContext, build=build, applies=lambda context: bool(context.plans)
)
