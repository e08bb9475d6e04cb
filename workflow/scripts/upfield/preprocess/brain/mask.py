"""`mask`: masks that are there already, BIDS derivatives."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import Tool


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """The first of the given masks on the scan's own grid. Raises ScanError if there is none."""
    if not given:
        raise ScanError("brain extraction (mask): no *_desc-brain_mask.nii.gz of this scan was found")
    return nifti.mask_on(nifti.load_mask(given[0]), volume.grid)


TOOL = Tool(
    name="mask",
    summary="masks that are there already",
    needs="`*_desc-brain_mask.nii.gz` beside the scan, in `derivatives/*/` of its dataset, or in"
    " `preprocess.brain.derivatives`",
    says="with masks that came with the data",
    extract=extract,
    folders=("derivatives",),
    takes_masks=True,
)
