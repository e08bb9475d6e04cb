"""The working grid of a study that leaves it to its scans: `preprocess.spacing: auto`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upfield.bids import Scan
from upfield.image.nifti import Array

AUTO, NATIVE = "auto", "native"
# Voxel sizes that differ by no more than this, relative, are one.
ALIKE = 0.05
# Slices that are this many times as thick as their pixels are thick: between them nothing can be interpolated.
THICK = 3.0
# Isotropic voxels are a multiple of this, in mm, and within what a configuration may say.
STEP, FINEST, COARSEST = 0.05, 0.2, 8.0
# Where no voxel size is known, as before a DICOM series is converted.
UNKNOWN = 1.0


@dataclass(frozen=True)
class WorkingGrid:
    """Voxels of the working grid, isotropic in mm or `native`, and why."""

    spacing: float | str
    because: str


def planned(scans: Sequence[Scan], may_be_native: bool) -> WorkingGrid:
    """The working grid for the scans that decide it: the targets, or those of both sides where people are not pairs.

    Voxel sizes of headers alone decide. `native` where all have the same, or thick slices, and a grid of each target's
    own is possible; else isotropic, with the volume of the median voxel.
    """
    sizes = np.array([sorted(scan.voxel) for scan in scans if scan.voxel])
    if not len(sizes):
        if may_be_native:
            return WorkingGrid(NATIVE, "the target's own; voxel sizes are not known before scans are converted")
        return WorkingGrid(UNKNOWN, "voxel sizes are not known before scans are converted")
    median = np.median(sizes, axis=0)
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    if may_be_native and (high <= (1 + ALIKE) * low).all():
        return WorkingGrid(NATIVE, f"all targets have voxels of {_by(median)} mm, so that none is interpolated")
    if may_be_native and np.median(sizes[:, 2] / sizes[:, 0]) >= THICK:
        return WorkingGrid(NATIVE, f"slices are thick (median {_by(median)} mm): nothing lies between them")
    edge = float(np.clip(np.cbrt(np.median(sizes.prod(axis=1))), FINEST, COARSEST))
    spacing = round(round(edge / STEP) * STEP, 2)
    span = f"{_by(low)} mm" if (high <= (1 + ALIKE) * low).all() else f"{_by(low)} to {_by(high)} mm"
    return WorkingGrid(spacing, f"as fine as the median voxel of scans of {span}")


def laid_over(settings: Mapping[str, Any], grid: WorkingGrid) -> dict[str, Any]:
    """A configuration with the planned working grid."""
    return {**settings, "preprocess": {**settings["preprocess"], "spacing": grid.spacing}}


def _by(sizes: Array) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)
