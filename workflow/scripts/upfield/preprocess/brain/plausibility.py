"""Whether a mask can be that of a brain."""

import numpy as np

from upfield.errors import ScanError
from upfield.image.nifti import Grid
from upfield.image.transforms import Array

# Cubic centimetres: a newborn's brain and twice a large adult's.
PLAUSIBLE_CM3 = (200.0, 2600.0)
# Small components beside the largest one, as a share of the mask: fewer are dropped, more are no brain.
SMALL_COMPONENTS = 0.1
# A brain that ends at the edge of the image with more than this share of its largest cross-section is cut.
CUT = 0.6


def checked(mask: Array, grid: Grid, method: str) -> Array:
    """The largest piece of `mask`, boolean; `method` stands in the messages.

    Raises ScanError if its volume is not that of a brain (200 to 2600 cm3; slabs thinner than 80 mm may have less),
    if more than a tenth of it is disconnected, or if it meets a face of the image with more than 60 % of its largest
    cross-section, as masks of noise do (not asked of a slab across its slices).
    """
    # Imported where it is used: training and prediction extract no brain.
    import cc3d

    slab = grid.slab_axis
    low, high = PLAUSIBLE_CM3 if slab is None else (1.0, PLAUSIBLE_CM3[1])
    litre = abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000
    cm3 = float(mask.sum()) * litre
    if not low <= cm3 <= high:
        raise ScanError(f"brain extraction ({method}) found {cm3:.0f} cm3; expected {low:.0f} to {high:.0f}")
    # In a few thick slices one brain can be several pieces.
    pieces = cc3d.largest_k(mask, k=1, connectivity=26) > 0 if slab is None else mask
    disconnected = 1 - pieces.sum() / mask.sum()
    if disconnected > SMALL_COMPONENTS:
        raise ScanError(
            f"brain extraction ({method}) found several pieces, {disconnected:.0%} disconnected; expected one brain"
        )
    for axis in range(3):
        if axis == slab:
            continue
        area = pieces.sum(axis=tuple(a for a in range(3) if a != axis))
        share = max(area[0], area[-1]) / area.max()
        if share > CUT:
            raise ScanError(
                f"brain extraction ({method}): the mask meets the edge of the image with {share:.0%} of its largest"
                " cross-section; expected a brain that is not cut"
            )
    return np.asarray(pieces)
