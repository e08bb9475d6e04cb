"""`bet`: FSL's BET (Smith 2002, https://doi.org/10.1002/hbm.10062)."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain import program
from upfield.preprocess.brain.tool import Tool

COMMAND = "bet"


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str]) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid; -R repeats it around a better centre.

    Raises ScanError if the program fails.
    """
    return program.run(volume, "bet", COMMAND, "scan.nii.gz brain -m -n -R", "brain_mask.nii.gz")


TOOL = Tool(
    name="bet",
    summary="FSL's BET, with `-R`",
    needs=f"`{COMMAND}`",
    says="with BET [smith2002]",
    extract=extract,
    program=COMMAND,
    origin="FSL",
)
