"""The one function behind which all ways of brain extraction stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from upfield import nifti
from upfield.brain import plausibility, tools
from upfield.errors import ScanError
from upfield.nifti import Grid, Volume
from upfield.transforms import Array

# mm around a template's brain that decide where it lies.
NEAR = 10.0
# mm of slices that a network for whole heads is shown of a slab.
HEAD_DEPTH = 160.0


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

    A slab of a few slices is shown with its outermost slices repeated: at the edge of a field of view the network
    expects the end of the brain and leaves half of it out.
    """
    # Imported here: it pulls in torch, which the other stages that use this module do not need.
    from deepbet import BrainExtraction

    canonical = nifti.reorient(volume)
    margin = _repeated_slices(canonical.grid)
    padded = np.pad(canonical.data, [(width, width) for width in margin], mode="edge")
    network = BrainExtraction(no_gpu=True)
    try:
        probability = network.run_model(np.ascontiguousarray(padded, dtype=np.float32))
        mask = network.postprocess(probability > 0.5)
    except (AssertionError, ValueError, IndexError) as error:
        raise ScanError(f"brain extraction (deepbet) found no brain ({' '.join(str(error).split())})") from None
    inside = mask[tuple(slice(width, width + size) for width, size in zip(margin, canonical.data.shape, strict=True))]
    back = nifti.resample(Volume(inside.astype(np.uint8), canonical.affine), volume.grid, order=0)
    return np.asarray(back.data > 0)


def _repeated_slices(grid: Grid) -> list[int]:
    """How many times each end of each axis is repeated: across the slices of a slab, until it is as deep as a head."""
    margin = [0, 0, 0]
    if grid.slab_axis is not None:
        missing = HEAD_DEPTH / grid.spacing[grid.slab_axis] - grid.shape[grid.slab_axis]
        margin[grid.slab_axis] = int(np.ceil(missing / 2))
    return margin


def _template(volume: Volume, settings: Mapping[str, Any]) -> Array:
    """The mask of a template of a whole head, moved by an affine registration of the heads, then of what is inside.

    No deformation follows: SyN of a real head to MNI152 moved the outline of the brain inwards by 5 mm (Dice's overlap
    with deepbet 0.89, and 0.96 without it).
    """
    from upfield import registration

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
    near = nifti.widened(volume.with_data(inside), NEAR)
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
