"""`none`: the scan is skull-stripped, and brain is what is above 0; a simulated source has the mask of its target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import Tool


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """The largest connected component above 0, its holes filled; or the given mask, of the scan that this is made from.

    Degradation leaves noise or blurred edges where a stripped target is 0.
    """
    if given:
        return nifti.mask_on(nifti.load_mask(given[0]), volume.grid)
    import cc3d
    import fill_voids

    mask = cc3d.largest_k(volume.data > 0, k=1, connectivity=6) > 0
    return np.asarray(fill_voids.fill(mask)).astype(bool)


TOOL = Tool(
    name="none",
    summary="the scans are skull-stripped: what is above 0; a simulated source has the mask of its target",
    needs="",
    says="",
    extract=extract,
    takes_masks=True,
)
