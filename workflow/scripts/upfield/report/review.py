"""Quality control as the page shows it: measurements by scan and by pair, and pictures, the doubtful pairs first."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.files import read_tsv
from upfield.quality import PICTURES
from upfield.quality.judging import COLUMNS, METRICS, PAIR

# How much a flag tells a reader, the most first.
FLAGS = ("exclude", "warn", "outlier", "ok")
# Pairs with pictures in the page; about 0.2 MB each.
SHOWN = 24
LABELS = {metric.name: metric.label for metric in METRICS.values()}


def section(root: Path) -> dict[str, Any]:
    """What the template needs: `scans` and `pairs` (columns and rows), `counts`, `shown` (pairs with pictures), `all`.

    Empty tables and no pictures where the study was not measured.
    """
    path = root / "qc" / "quality.tsv"
    table = read_tsv(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    of_pair = table["role"] == PAIR
    people = _doubtful_first(table)
    return {
        "scans": _wide(table[~of_pair], [name for name, metric in METRICS.items() if metric.of == "scan"]),
        "pairs": _wide(table[of_pair], [name for name, metric in METRICS.items() if metric.of == PAIR]),
        "counts": {flag: int((table["flag"] == flag).sum()) for flag in FLAGS},
        "shown": [entry for person in people[:SHOWN] for entry in _pictures(root, person, table)],
        "all": len(people),
    }


def _wide(table: pd.DataFrame, metrics: Iterable[str]) -> dict[str, Any]:
    """One row per participant and role; a cell holds `value`, `before` (or None) and `flag`."""
    cells = {(row.participant_id, row.role, row.metric): row for row in table.itertuples(index=False)}
    rows = []
    for person, role in dict.fromkeys(zip(table["participant_id"], table["role"], strict=True)):
        row = {}
        for name in metrics:
            cell, before = cells.get((person, role, name)), cells.get((person, role, f"{name}_before"))
            if cell is not None:
                row[name] = {"value": cell.value, "before": before.value if before else None, "flag": cell.flag}
        rows.append({"participant_id": person, "role": role, "cells": row})
    return {"columns": {name: LABELS[name] for name in metrics}, "rows": rows}


def _doubtful_first(table: pd.DataFrame) -> list[str]:
    """Participants by their worst flag, then by how little the source gains over its mirror image."""
    people = table.assign(rank=table["flag"].map(FLAGS.index)).groupby("participant_id")["rank"].min()
    measured = table["metric"].isin(["mirror_gain", "slab_gain"]) & table["value"].notna()
    gain = table[measured].set_index("participant_id")["value"]
    order = pd.DataFrame({"rank": people, "gain": gain.reindex(people.index)}).sort_values(
        ["rank", "gain"], kind="stable"
    )
    return list(order.index)


def _pictures(root: Path, person: str, table: pd.DataFrame) -> list[dict[str, Any]]:
    """A pair's pictures by name and its findings; nothing if they were not drawn."""
    files = {name: root / "qc" / "figures" / f"{person}_{name}.webp" for name in PICTURES}
    if not all(path.is_file() for path in files.values()):
        return []
    rows = table[(table["participant_id"] == person) & (table["flag"] != "ok")]
    worst = min(rows["flag"], key=FLAGS.index, default="ok")
    findings = [
        f"{LABELS[row.metric]}{'' if row.role == PAIR else f' of the {row.role}'}: {row.flag}"
        for row in rows.itertuples(index=False)
    ]
    return [{
        "participant_id": person, "flag": worst, "findings": findings,
        "pictures": {name.replace("-", "_"): path.read_bytes() for name, path in files.items()},
    }]  # fmt: skip
