"""What is new to a model in the data that it is measured on."""

from collections.abc import Sequence
from typing import Any

from upfield.catalogue.methods import FITTED
from upfield.report import tables
from upfield.report.context import ValidationContext
from upfield.report.sections import Section
from upfield.study import seen


def build(context: ValidationContext) -> dict[str, Any]:
    """Whether the model is known to have seen nobody here, baselines fitted with it or missing, every source."""
    return {
        "unseen": seen.complete(context.cards),
        "fitted": [method for method in context.methods if method in FITTED],
        "missing": [method for method in FITTED if context.methods and method not in context.methods],
        "counts": _counts(context),
        "rows": tables.records(context.applied),
    }


def _counts(context: ValidationContext) -> Sequence[tuple[str, int]]:
    applied = context.applied["status"] == "applied"
    return [
        ("participants with a source and a target", len(applied)),
        ("measured", int(applied.sum())),
        ("of them with a source unlike the training scans", int((applied & context.applied["warnings"].notna()).sum())),
        ("left out", int((~applied).sum())),
    ]


SECTION = Section(id="other-data", title="Model and data", order=240, of=ValidationContext, build=build)
