"""`synthstrip`: FreeSurfer's network (Hoopes et al. 2022, https://doi.org/10.1016/j.neuroimage.2022.119474)."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain import program
from upfield.preprocess.brain.tool import Tool

COMMAND = "mri_synthstrip"


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid. Raises ScanError if the program fails."""
    return program.run(volume, "synthstrip", COMMAND, "-i scan.nii.gz -m mask.nii.gz", "mask.nii.gz")


TOOL = Tool(
    name="synthstrip",
    summary="FreeSurfer's network",
    needs=f"`{COMMAND}`",
    says="with SynthStrip [hoopes2022]",
    extract=extract,
    program=COMMAND,
    origin="FreeSurfer",
)
