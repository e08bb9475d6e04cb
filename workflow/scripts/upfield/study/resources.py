"""How large a study's scans are: what memory and time of its jobs grow with."""

import math
from collections.abc import Sequence

from upfield.errors import UpfieldError
from upfield.image.nifti import LARGEST

# Field of view of a scan whose geometry is not known yet, mm.
HEAD = (192, 240, 210)


def megavoxels(shape: Sequence[int], voxel: Sequence[float], spacing: float | str) -> float:
    """Millions of voxels of a scan of `shape` and `voxel` (mm), on its own grid or on one of `spacing` (mm) if larger.

    At most that of the largest scan that is used: no job asks for more, whatever a header says.
    An unknown geometry (both empty) is that of a head on an isotropic grid of `spacing`, 1 mm if that is `native`.
    """
    if len(shape) != len(voxel):
        raise UpfieldError(f"resources: {len(shape)} axes but {len(voxel)} voxel sizes; expected as many")
    extent = [count * size for count, size in zip(shape, voxel, strict=True)] or HEAD
    resampled = math.prod(extent) / (1.0 if isinstance(spacing, str) else spacing) ** 3
    own = math.prod(shape) if shape else 0
    return min(max(own, resampled if spacing != "native" or not shape else 0), LARGEST) / 1e6
