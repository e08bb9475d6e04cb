"""`deepbet`: a network whose weights come with its package (Fisch et al. 2024).

https://doi.org/10.1016/j.compbiomed.2024.108845
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import Tool

# mm from the outermost slice of a slab to where the head that a network for whole heads is shown ends.
BEYOND = 60.0
# Robust standard deviations above the median of a slab's mask from which a voxel may be fat; mm around fat that are not
# brain either, and of the thinnest piece of brain beside it.
FAT, PARTIAL, THIN = 5.0, 2.0, 5.0


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """Brain mask of a scan, which the network sees in RAS+ order. Raises ScanError if it finds no brain.

    A slab of a few slices is shown as part of a whole head, see `_completed`; what it takes in of the scalp is taken
    out again.
    """
    # Imported here: it pulls in torch, which planning does not need.
    from deepbet import BrainExtraction

    canonical = nifti.reorient(volume)
    whole, shown = _completed(canonical)
    network = BrainExtraction(no_gpu=True)
    try:
        probability = network.run_model(np.ascontiguousarray(whole, dtype=np.float32))
        mask = network.postprocess(probability > 0.5)
    except (AssertionError, ValueError, IndexError) as error:
        raise ScanError(f"brain extraction (deepbet) found no brain ({' '.join(str(error).split())})") from None
    back = nifti.resample(Volume(mask[shown].astype(np.uint8), canonical.affine), volume.grid, order=0)
    found = volume.with_data(back.data > 0)
    return np.asarray(found.data) if volume.grid.slab_axis is None else without_scalp(found, volume.data)


def without_scalp(mask: Volume, data: Array) -> Array:
    """The mask of a slab without bright tissue that lies mostly outside of it, and slivers that this leaves.

    High in the head, where slices cut the skull at a slant, the network takes fat for brain, which moves the upper
    percentiles of the intensities by a factor of two. Bright lesions and ventricles lie inside, and stay.
    """
    import cc3d
    from scipy import stats

    values = data[mask.data]
    if not values.size:
        return np.asarray(mask.data)
    bright = data > np.median(values) + FAT * stats.median_abs_deviation(values, scale="normal")
    pieces = cc3d.connected_components(bright, connectivity=6)
    everywhere = np.bincount(pieces.ravel())
    inside = np.bincount(pieces[mask.data], minlength=len(everywhere))
    fat = mask.data & bright & (2 * inside < everywhere)[pieces]
    if not fat.any():
        return np.asarray(mask.data)
    thinner = nifti.dilated(mask.with_data(~mask.data | nifti.dilated(mask.with_data(fat), PARTIAL)), THIN)
    return np.asarray(mask.data & nifti.dilated(mask.with_data(~thinner), THIN))


def _completed(volume: Volume) -> tuple[Array, tuple[slice, ...]]:
    """A scan as a network for whole heads should see it, and where in that the scan is.

    Beyond both ends of a slab its outermost slices follow, smaller and smaller like cross-sections of an ellipsoid
    that ends after `BEYOND` mm. At the edge of a field of view the network expects the end of the brain and leaves half
    of it out; of a column of equal slices it leaves out pieces.
    """
    axis, grid = volume.grid.slab_axis, volume.grid
    everything = (slice(None),) * 3
    if axis is None:
        return volume.data, everything
    slices = np.moveaxis(np.asarray(volume.data, dtype=np.float32), axis, 0)
    distances = np.arange(grid.spacing[axis], BEYOND, grid.spacing[axis])
    sizes = np.sqrt(1 - (distances / BEYOND) ** 2)
    below, above = ([_shrunk(end, size) for size in sizes] for end in (slices[0], slices[-1]))
    whole = np.moveaxis(np.stack([*below[::-1], *slices, *above]), 0, axis)
    here = slice(len(sizes), len(sizes) + len(slices))
    return whole, (*everything[:axis], here, *everything[axis + 1 :])


def _shrunk(image: Array, size: float) -> Array:
    """A slice (X, Y) at `size` (0 to 1) of its size, about its centre of mass, with zeros around it."""
    centre = np.array(ndimage.center_of_mass(np.clip(image, 0, None) + np.finfo(np.float32).tiny))
    return np.asarray(ndimage.affine_transform(image, np.eye(2) / size, centre - centre / size, order=1))


TOOL = Tool(
    name="deepbet",
    summary="a network (default)",
    needs="nothing: its weights come with its package",
    says="with deepbet{} [fisch2024]",
    extract=extract,
)
