"""Images that other programs made: in whose world they are, and moved to the target's grid once."""

from typing import NamedTuple

import numpy as np

from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Transform

# Whose world an output can be in.
SOURCE, TARGET = "source", "target"
# The share of a brain that an output must show; one that shows less lies elsewhere in the world.
COVERED = 0.5


class Placed(NamedTuple):
    """An output on the target's grid, and how it came there, for a sidecar."""

    volume: Volume
    how: str


def placed(
    output: Volume, source_mask: Volume, target_mask: Volume, transform: Transform, space: str | None, key: str
) -> Placed:
    """An output of another program on the target's grid, interpolated once, or not at all where it lies there.

    Parameters
    ----------
    output
        On any grid.
    source_mask, target_mask
        Brains on the native grids of source and target.
    transform
        From the target's world to the source's.
    space
        The world in which the output is: `source`, `target`, or None if its grid says so. One on the target's grid is
        in the target's world, any other in the source's.
    key
        The configuration's of the method.

    Raises UpfieldError if the grid does not say it; ScanError if less than half of the brain is in the output.

    """
    grid, on_target = target_mask.grid, _same_voxels(output, target_mask)
    if space is None:
        still = isinstance(transform, np.ndarray) and np.allclose(transform, np.eye(4), atol=1e-3)
        if on_target and _same_voxels(output, source_mask) and not still:
            raise UpfieldError(
                f"config: {key}.space is not set, and predictions are on the grid of source and target, which a"
                " transform leads between; expected source (not registered yet) or target"
            )
        space = TARGET if on_target else SOURCE
    if space == TARGET and output.grid.matches(grid):
        return Placed(Volume(output.data, grid.affine), "on the target's grid, as it is")
    if space == TARGET and on_target:
        # Other axes, the same voxels.
        return Placed(nifti.resample(output, grid, order=0), "on the target's grid, axes turned")
    require_covered(output, source_mask if space == SOURCE else target_mask, space)
    moves = transform if space == SOURCE else None
    how = "moved by the registration" if space == SOURCE else "in the target's world, moved to its grid"
    return Placed(nifti.resample(output, grid, moves, order=3), f"{how} with one cubic interpolation")


def _same_voxels(one: Volume, other: Volume) -> bool:
    """Whether two images have their voxels at the same places of the world, whatever the order of their axes."""
    return nifti.reorient(one).grid.matches(nifti.reorient(other).grid)


def require_covered(output: Volume, mask: Volume, space: str) -> None:
    """Raise ScanError if an output shows less than half of a brain, whose boolean `mask` is in the same world."""
    there = output.with_data(np.ones(output.data.shape, np.float32))
    seen = nifti.resample(there, mask.grid, order=0).data[mask.data] > 0
    share = float(seen.mean()) if len(seen) else 0.0
    if share < COVERED:
        raise ScanError(
            f"it shows {100 * share:.0f} % of the brain; expected an image in the world of the {space}: see its affine"
        )
