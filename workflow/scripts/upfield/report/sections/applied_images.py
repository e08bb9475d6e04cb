"""Inputs beside the outputs of an applied model."""

from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.intensity import robust_range
from upfield.image.nifti import mask_on
from upfield.report import panels
from upfield.report.context import AppliedContext, Enhanced
from upfield.report.panels import Layer
from upfield.report.sections import Section


def build(context: AppliedContext) -> dict[str, Any]:
    """A view of each scan."""
    return {"views": [_view(scan, panels.PIXELS / len(context.scans)) for scan in context.scans]}


def _view(scan: Enhanced, pixels: float) -> dict[str, Any]:
    """Slices through the input, on the grid of the output, and the output; each in its own robust range."""
    try:
        output = nifti.reorient(nifti.load(scan.output))
        source, native = nifti.load(scan.source), nifti.load_mask(scan.mask)
        inside = mask_on(native, output.grid)
        moved = nifti.resample(source, output.grid, order=1)
        windows = {"input": robust_range(moved.data, inside), "output": robust_range(output.data, inside)}
        layers = {
            name: Layer(np.where(inside, image.data, windows[name][0]), windows[name])
            for name, image in (("input", moved), ("output", output))
        }
        found, pixel = panels.cuts(layers, output.with_data(inside), pixels)
    except ScanError as error:
        return {"name": scan.name, "problem": str(error), "planes": [], "windows": {}, "pixel": None}
    return {"name": scan.name, "problem": None, "planes": found, "windows": windows, "pixel": pixel}


SECTION = Section(id="images", title="Images", order=200, of=AppliedContext, build=build)
