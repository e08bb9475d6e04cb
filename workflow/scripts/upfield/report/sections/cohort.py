"""What was found, used and left out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from upfield.bids import person
from upfield.report import tables
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section


def build(context: MeasuredContext) -> dict[str, Any]:
    """Counts, scans left out, the validator's findings, every scan."""
    table = context.table
    return {
        "cohort": cohort(table),
        "excluded": tables.records(table["excluded"]),
        "validation": validation(table["qc/validation"]),
        "inventory": tables.records(table["inventory"]),
    }


def cohort(table: Mapping[str, pd.DataFrame]) -> list[tuple[str, int]]:
    """Counts of what was found, used and left out."""
    inventory, pairs, excluded = table["inventory"], table["pairs"], table["excluded"]
    return [
        ("participants found", inventory.participant_id.map(person).nunique()),
        ("scans found", len(inventory)),
        ("pairs used" if pairs.source_path.notna().any() else "targets used", len(pairs)),
        ("scans left out", len(excluded)),
    ]


def validation(issues: pd.DataFrame) -> list[dict[str, Any]]:
    """The validator's words on each dataset: `dataset`, `result`, and `issues`."""
    found = []
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
        found.append({"dataset": dataset, "result": words, "issues": tables.records(kept)})
    return found


SECTION = Section(id="cohort", title="Cohort", order=1040, of=MeasuredContext, build=build)
