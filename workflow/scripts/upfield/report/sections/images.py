"""Some test subjects in a viewer and as middle slices."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.errors import ScanError
from upfield.report import panels, subject, tables, viewer
from upfield.report.context import MeasuredContext
from upfield.report.render import uri
from upfield.report.sections import Section
from upfield.report.subject import SubjectImages

# Together below 25 MB with 20 subjects (benchmarks/report_size.py): a pixel is about one byte as PNG, a voxel 0.1 to
# 0.3 as WebP, a third more as base64.
PANEL_PIXELS, VIEWER_VOXELS = panels.PIXELS, 40e6


def build(context: MeasuredContext) -> dict[str, Any]:
    """Views of the subjects; `compared` is whether outputs have a target image beside them."""
    values = context.table["metrics/per_subject"]
    scores = {metric: tables.per_pair(values, metric) for metric in tables.PRIMARY}
    return {
        "subjects": _subjects(context.images, scores, context.methods, context.faces),
        "faces": context.faces,
        "compared": all(images.target is not None for images in context.images),
        "palettes": viewer.colours(),
        "scales": {name: panels.scale_bar(name) for name in ("grey", "error", "uncertainty")},
    }


def _subjects(
    images: Sequence[SubjectImages], scores: Mapping[str, pd.DataFrame], methods: Sequence[str], faces: bool
) -> list[dict[str, Any]]:
    """The image section: a view of each subject, or the reason why there is none."""
    result = []
    for shown in images:
        order = [m for m in methods if m in shown.outputs] + [m for m in shown.outputs if m not in methods]
        entry: dict[str, Any] = {"name": shown.participant_id, "methods": order, "view": None, "problem": None}
        try:
            entry["view"] = _view(subject.read(shown, faces), len(images))
        except ScanError as error:
            entry["problem"] = str(error)
        entry["scores"] = {
            method: {k: t.loc[shown.participant_id, method] for k, t in scores.items()
                     if shown.participant_id in t.index and method in t}
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
        "target": volumes.target is not None,
        "uncertainty": volumes.uncertainty if volumes.uncertainties else None,
        "failures": volumes.failures,
    }


SECTION = Section(id="images", title="Images", order=150, of=MeasuredContext, build=build)
