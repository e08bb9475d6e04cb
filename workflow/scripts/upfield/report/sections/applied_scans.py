"""The scans that a model was applied to, and what to be careful about."""

from typing import Any

import pandas as pd

from upfield.report import tables
from upfield.report.context import AppliedContext
from upfield.report.sections import Section


def build(context: AppliedContext) -> dict[str, Any]:
    """Notices, counts and every scan."""
    return {
        "notices": context.narrative.notices,
        "counts": _counts(context.applied),
        "rows": tables.records(context.applied),
    }


def _counts(table: pd.DataFrame) -> list[tuple[str, int]]:
    applied = table["status"] == "applied"
    return [
        ("scans found", len(table)),
        ("scans enhanced", int(applied.sum())),
        ("of them with a warning", int((applied & table["warnings"].notna()).sum())),
        ("scans left out", int((~applied).sum())),
    ]


SECTION = Section(id="result", title="Result", order=100, of=AppliedContext, build=build, heading="Scans")
