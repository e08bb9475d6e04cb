"""The study's tables inside the page, to be saved from it with all their digits."""

import base64
import csv
import gzip
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield.files import inert, portable
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section

TABLES = (
    "metrics/leaderboard.tsv", "metrics/per_subject.tsv", "metrics/comparisons.tsv", "splits.tsv", "pairs.tsv",
    "excluded.tsv", "inventory.tsv",
)  # fmt: skip
LARGEST = 8_000_000  # bytes of a table; a larger one is left out and stays in the study's folder


def build(context: MeasuredContext) -> dict[str, Any]:
    """The files, and the name of the study for that of the archive."""
    return {"export": archive(context.root, context.places), "study": context.config.get("study", "study")}


def archive(root: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """`files`: name, rows and gzip as base64 of every table of the study; `archive`: all of them as a ZIP, base64.

    `left_out` names tables that are too large. The same tables give the same bytes. They go out with the page, so they
    hold no folder of this machine (`places`) and no cell that a spreadsheet would run.
    """
    others = [path for folder in ("metrics", "qc") for path in sorted((root / folder).glob("*.tsv"))]
    paths = dict.fromkeys([*(root / name for name in TABLES), *others])
    known = [path for path in paths if path.is_file()]
    small = [path for path in known if path.stat().st_size <= LARGEST]
    files, buffer = [], io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in small:
            content, name = _outgoing(path, places), path.relative_to(root).as_posix()
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
            files.append(
                {"name": name, "rows": max(content.count(b"\n") - 1, 0), "data": _text(gzip.compress(content, mtime=0))}
            )
    return {
        "files": files,
        "archive": _text(buffer.getvalue()) if files else None,
        "left_out": [path.relative_to(root).as_posix() for path in known if path not in small],
    }


def _outgoing(path: Path, places: Mapping[str, str]) -> bytes:
    rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), delimiter="\t")
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows(
        [inert(portable(cell, places)) for cell in row] for row in rows
    )
    return buffer.getvalue().encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


SECTION = Section(id="tables", title="Tables", order=1400, of=MeasuredContext, build=build)
