"""Quality control as the page shows it: measurements by scan and by pair, and pictures, the doubtful pairs first."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.files import read_tsv
from upfield.quality import PICTURES
from upfield.quality.judging import COLUMNS, METRICS, PAIR
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section

# How much a flag tells a reader, the most first.
FLAGS = ("exclude", "warn", "outlier", "ok")
# Bytes of pictures in the page, and pairs that have some at most.
BYTES, SHOWN = 5e6, 24
LABELS = {metric.name: metric.label for metric in METRICS.values()}


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    return {"quality": quality(context.root)}


def quality(root: Path) -> dict[str, Any]:
    """What the template needs: `scans` and `pairs` (columns and rows), `counts`, `shown` (pairs with pictures), `all`.

    Empty tables and no pictures where the study was not measured.
    """
    path = root / "qc" / "quality.tsv"
    table = read_tsv(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    of_pair = table["role"] == PAIR
    participants = _doubtful_first(table)
    return {
        "scans": _wide(table[~of_pair], [name for name, metric in METRICS.items() if metric.of == "scan"]),
        "pairs": _wide(table[of_pair], [name for name, metric in METRICS.items() if metric.of == PAIR]),
        "counts": {flag: int((table["flag"] == flag).sum()) for flag in FLAGS},
        "shown": _shown(root, participants, table),
        "all": len(participants),
    }


def _shown(root: Path, participants: Sequence[str], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Pictures of the first of them, as many as there is room for."""
    result: list[dict[str, Any]] = []
    size = 0
    for name in participants[:SHOWN]:
        for entry in _pictures(root, name, table):
            size += sum(map(len, entry["pictures"].values()))
            if result and size > BYTES:
                return result
            result.append(entry)
    return result


def _wide(table: pd.DataFrame, metrics: Iterable[str]) -> dict[str, Any]:
    """One row per participant and role; a cell holds `value`, `before` (or None) and `flag`. No column without one."""
    cells = {(row.participant_id, row.role, row.metric): row for row in table.itertuples(index=False)}
    known = set(table["metric"][table["value"].notna()])
    metrics = [name for name in metrics if name in known]
    rows = []
    for participant, role in dict.fromkeys(zip(table["participant_id"], table["role"], strict=True)):
        row = {}
        for name in metrics:
            cell, before = cells.get((participant, role, name)), cells.get((participant, role, f"{name}_before"))
            if cell is not None:
                row[name] = {"value": cell.value, "before": before.value if before else None, "flag": cell.flag}
        rows.append({"participant_id": participant, "role": role, "cells": row})
    return {"columns": {name: LABELS[name] for name in metrics}, "rows": rows}


def _doubtful_first(table: pd.DataFrame) -> list[str]:
    """Participants by their worst flag, then by how little the source gains over its mirror image."""
    ranks = table.assign(rank=table["flag"].map(FLAGS.index)).groupby("participant_id")["rank"].min()
    measured = table["metric"].isin(["mirror_gain", "slab_gain"]) & table["value"].notna()
    gain = table[measured].set_index("participant_id")["value"]
    order = pd.DataFrame({"rank": ranks, "gain": gain.reindex(ranks.index)}).sort_values(
        ["rank", "gain"], kind="stable"
    )
    return list(order.index)


def _pictures(root: Path, participant: str, table: pd.DataFrame) -> list[dict[str, Any]]:
    """A pair's pictures by name and its findings; nothing if they were not drawn."""
    files = {name: root / "qc" / "figures" / f"{participant}_{name}.webp" for name in PICTURES}
    if not all(path.is_file() for path in files.values()):
        return []
    rows = table[(table["participant_id"] == participant) & (table["flag"] != "ok")]
    worst = min(rows["flag"], key=FLAGS.index, default="ok")
    findings = [
        f"{LABELS[row.metric]}{'' if row.role == PAIR else f' of the {row.role}'}: {row.flag}"
        for row in rows.itertuples(index=False)
    ]
    return [{
        "participant_id": participant, "flag": worst, "findings": findings,
        "pictures": {name.replace("-", "_"): path.read_bytes() for name, path in files.items()},
    }]  # fmt: skip


SECTION = Section(id="quality", title="Quality", order=1020, of=MeasuredContext, build=build)
