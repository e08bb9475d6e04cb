"""`none`: the scan is skull-stripped, and brain is what is above 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import Tool


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """The largest connected component above 0, its holes filled."""
    import cc3d
    import fill_voids

    mask = cc3d.largest_k(volume.data > 0, k=1, connectivity=6) > 0
    return np.asarray(fill_voids.fill(mask)).astype(bool)


TOOL = Tool(
    name="none",
    summary="the scans are skull-stripped: what is above 0",
    needs="",
    says="",
    extract=extract,
)
