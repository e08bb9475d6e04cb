"""The report as one HTML file: everything a reader needs to judge a study, in the order in which it is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield.files import places, portable, write_text
from upfield.report.context import StudyContext
from upfield.report.render import render
from upfield.report.subject import SubjectImages
from upfield.study.designs.narrative import Narrative


def build(
    root: Path,
    output: Path,
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    images: Sequence[SubjectImages],
    narrative: Narrative,
) -> None:
    """Write the report of the study in `root` to `output`, atomically: one HTML file that refers to nothing else.

    Parameters
    ----------
    root, config, provenance, narrative
        As for `Context`; `report.subjects` (default 6) limits `images`.
    images
        Test subjects to show, in order. Only what lies inside their brain masks gets into the file.

    """
    shown = images[: int(config.get("report", {}).get("subjects", 6))]
    known = places({**config, "root": str(root)})
    context = StudyContext(root, portable(config, known), provenance, narrative, known, images=shown)
    write_text(output, render(context, title="Upfield report", over="Upfield report"))
