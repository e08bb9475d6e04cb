"""`hdbet`: HD-BET, version 2 (Isensee et al. 2019, https://doi.org/10.1002/hbm.24750)."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain import program
from upfield.preprocess.brain.tool import Tool

COMMAND = "hd-bet"
ARGUMENTS = "-i scan.nii.gz -o brain.nii.gz -device cpu --disable_tta --save_bet_mask --no_bet_image"


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid. Raises ScanError if the program fails."""
    return program.run(volume, "hdbet", COMMAND, ARGUMENTS, "brain_bet.nii.gz")


TOOL = Tool(
    name="hdbet",
    summary="HD-BET, version 2",
    needs=f"`{COMMAND}`, with its weights",
    says="with HD-BET [isensee2019]",
    extract=extract,
    program=COMMAND,
    origin="the package hd-bet",
)
