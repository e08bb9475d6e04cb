"""The one function behind which all ways of brain extraction stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage, stats

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain import plausibility, tools

# mm around a template's brain that decide where it lies.
NEAR = 10.0
# mm from the outermost slice of a slab to where the head that a network for whole heads is shown ends.
BEYOND = 60.0
# Robust standard deviations above the median of a slab's mask from which a voxel may be fat; mm around fat that are not
# brain either, and of the thinnest piece of brain beside it.
FAT, PARTIAL, THIN = 5.0, 2.0, 5.0


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str] = ()) -> Array:
    """Brain mask of a scan: boolean (X, Y, Z) on the scan's own grid, checked.

    `settings` is a study's `preprocess.brain`. `given` are masks found for the scan, for the method `mask`; the first
    is used. Raises ScanError if nothing like a brain is found.
    """
    method = settings["method"]
    if method in tools.COMMANDS:
        mask = tools.run(volume, method)
    elif method == "mask":
        mask = _given(volume, given)
    else:
        ways: dict[str, Callable[[], Array]] = {
            "deepbet": lambda: _deepbet(volume),
            "template": lambda: _template(volume, settings),
            "none": lambda: _above_zero(volume),
        }
        mask = ways[method]()
    return plausibility.checked(mask, volume.grid, method)


def _deepbet(volume: Volume) -> Array:
    """The network (https://doi.org/10.1016/j.compbiomed.2024.108845) sees the scan in RAS+ order.

    A slab of a few slices is shown as part of a whole head, see `_completed`; what it takes in of the scalp is taken
    out again.
    """
    # Imported here: it pulls in torch, which the other stages that use this module do not need.
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
    return np.asarray(found.data) if volume.grid.slab_axis is None else _without_scalp(found, volume.data)


def _without_scalp(mask: Volume, data: Array) -> Array:
    """The mask of a slab without bright tissue that lies mostly outside of it, and slivers that this leaves.

    High in the head, where slices cut the skull at a slant, the network takes fat for brain, which moves the upper
    percentiles of the intensities by a factor of two. Bright lesions and ventricles lie inside, and stay.
    """
    import cc3d

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


def _template(volume: Volume, settings: Mapping[str, Any]) -> Array:
    """The mask of a template of a whole head, moved by an affine registration of the heads, then of what is inside.

    No deformation follows: SyN of a real head to MNI152 moved the outline of the brain inwards by 5 mm (Dice's overlap
    with deepbet 0.89, and 0.96 without it).
    """
    from upfield.preprocess import registration

    head, mask = nifti.load(settings["template"]), nifti.load_mask(settings["mask"])
    # From the scan's world to the template's.
    matrix, _ = registration.register(volume, head, "affine", seed=1)
    inside = nifti.mask_on(mask, volume.grid, matrix)
    if not inside.any():
        raise ScanError("brain extraction (template): the template's brain lies outside the image")
    # Necks and faces differ more than brains do, and are cut elsewhere.
    matrix, _ = registration.register(_surroundings(volume, inside), _surroundings(head, mask.data), "affine", seed=1)
    return nifti.mask_on(mask, volume.grid, matrix)


def _surroundings(volume: Volume, inside: Array) -> Volume:
    """An image cropped to a mask and `NEAR` mm around it, 0 farther off."""
    near = nifti.dilated(volume.with_data(inside), NEAR)
    box = nifti.bounding_box(near)
    data = np.where(near, volume.data, 0)[tuple(map(slice, *box))]
    return Volume(data.astype(np.float32), nifti.crop(volume.grid, *box).affine)


def _given(volume: Volume, masks: Sequence[str]) -> Array:
    if not masks:
        raise ScanError("brain extraction (mask): no *_desc-brain_mask.nii.gz of this scan was found")
    return nifti.mask_on(nifti.load_mask(masks[0]), volume.grid)


def _above_zero(volume: Volume) -> Array:
    import cc3d
    import fill_voids

    mask = cc3d.largest_k(volume.data > 0, k=1, connectivity=6) > 0
    return np.asarray(fill_voids.fill(mask)).astype(bool)
