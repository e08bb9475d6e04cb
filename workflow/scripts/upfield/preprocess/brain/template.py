"""`template`: the mask of a template of a whole head, moved onto the scan by ANTs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import Tool

# mm around a template's brain that decide where it lies.
NEAR = 10.0


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """The mask after an affine registration of the heads, then of what is inside. Raises ScanError if it lies outside.

    No deformation follows: SyN of a real head to MNI152 moved the outline of the brain inwards by 5 mm (Dice's overlap
    with deepbet 0.89, and 0.96 without it).
    """
    # Imported here: ANTs takes a second to load.
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


TOOL = Tool(
    name="template",
    summary="the mask of a template, moved onto the scan by affine registration of the heads, then of the brains and"
    f" {NEAR:g} mm around",
    needs="`template`, `mask`",
    says="by affine registration of a template [avants2011]",
    extract=extract,
    files=("template", "mask"),
)
