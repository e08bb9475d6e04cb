"""The working grid of a pair, and a native scan on it: normalized, interpolated once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.image import intensity, nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import SAME, Grid, Scale, Volume
from upfield.image.transforms import Array, Transform

# An axis along which the target's voxels are larger than this many voxels of the working grid keeps its own: slices are
# not invented.
THICK = 2.0
# Room around the brain (or head) on the working grid, in mm.
MARGIN = 8.0
# The edge of a low-field mask is uncertain: so many mm around the source's brain (head) are left for networks to judge.
SOURCE_MARGIN = 6.0


def working_grid(mask: Volume, spacing: float | str | Sequence[float], multiple: Scale = SAME) -> Grid:
    """The grid on which a pair meets: RAS+ axes of the target, `spacing` mm or `native`, cropped to its `mask`.

    `spacing` is one number, or one for each axis. Along an axis where the target's voxels are larger than twice one
    number (thick slices), its own slices are kept.

    Its corner and size are multiples of `multiple` voxels of the target's whole field of view, so that blocks of the
    working grid are blocks of the whole: what was downsampled before is not interpolated again. It may reach beyond the
    image for that. Raises ScanError for an empty mask.
    """
    canonical = nifti.reorient(mask)
    if spacing == "native":
        grid, inside = canonical.grid, canonical
    else:
        own = canonical.grid.spacing
        wanted = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
        if np.ndim(spacing) == 0:
            wanted = np.where(own > THICK * wanted, own, wanted)
        x, y, z = wanted.tolist()
        grid = nifti.regrid(canonical, (x, y, z))
        inside = nifti.resample(canonical.with_data(canonical.data.astype(np.uint8)), grid, order=0)
    low, high = nifti.bounding_box(inside.data > 0, np.ceil(MARGIN / grid.spacing).astype(int))
    return nifti.crop(grid, low // multiple * multiple, -(-high // multiple) * multiple)


def normalized(
    image: Volume,
    mask: Array,
    grid: Grid,
    transform: Transform | None,
    method: str,
    margin: float = 0.0,
    exact: bool = False,
    suffix: str = "T1w",
    kept: Array | None = None,
) -> tuple[Volume, Scaling]:
    """Put a native scan on `grid` with one interpolation (cubic B-spline), or `exact` with none, and normalize it.

    `exact` copies voxels where `grid` lies on the lattice of the image, and interpolates elsewhere. The scaling is
    fitted on the native voxels in `mask`, the brain. Everything farther than `margin` mm from `kept` (None: the brain)
    becomes intensity 0 before the interpolation. Raises ScanError for an empty mask or a constant image.
    """
    scaling = intensity.fit(image.data, mask, method, suffix)
    inside = nifti.dilated(image.with_data(mask if kept is None else kept), margin)
    stripped = image.with_data(np.where(inside, image.data, 0).astype(np.float32))
    copied = nifti.cut_out(stripped, grid, transform) if exact else None
    moved = copied or nifti.resample(stripped, grid, transform, order=3)
    return moved.with_data(scaling.apply(moved.data)), scaling


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """The working grid and what is on it, as a clause; empty if it is not known."""
    settings = config.get("preprocess", {})
    spacing = settings.get("spacing")
    if spacing is None:
        return ""
    grid = "the target's own grid" if spacing == "native" else f"an isotropic grid of {spacing} mm"
    head = ", with the whole head" if settings.get("region") == "head" else ""
    return f"images were resampled once, to {grid}{head}"
