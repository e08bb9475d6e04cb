"""Brain extraction by programs that are not part of Upfield.

They see nothing but a copy of the scan in a folder of its own, so no name of a user's file stands in a command.
"""

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from upfield import program
from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array

# That one scan may take: hd-bet on a slow processor needs a quarter of an hour.
SECONDS = 3600


class Tool(NamedTuple):
    """A program, its arguments, the mask that it writes, and where it comes from."""

    command: str
    arguments: str
    mask: str
    origin: str


COMMANDS = {
    # Hoopes et al. 2022, https://doi.org/10.1016/j.neuroimage.2022.119474
    "synthstrip": Tool("mri_synthstrip", "-i scan.nii.gz -m mask.nii.gz", "mask.nii.gz", "FreeSurfer"),
    # Isensee et al. 2019, https://doi.org/10.1002/hbm.24750; version 2
    "hdbet": Tool(
        "hd-bet",
        "-i scan.nii.gz -o brain.nii.gz -device cpu --disable_tta --save_bet_mask --no_bet_image",
        "brain_bet.nii.gz",
        "the package hd-bet",
    ),
    # Smith 2002, https://doi.org/10.1002/hbm.10062; -R repeats it around a better centre
    "bet": Tool("bet", "scan.nii.gz brain -m -n -R", "brain_mask.nii.gz", "FSL"),
}


def require(method: str, key: str) -> None:
    """Raise UpfieldError, one line that names the config's `key`, if the program behind a method is not there."""
    tool = COMMANDS.get(method)
    if tool is not None and shutil.which(tool.command) is None:
        raise UpfieldError(
            f"config: {key} is {method}, but its program {tool.command} was not found; install {tool.origin}, or"
            " choose deepbet"
        )


def run(volume: Volume, method: str) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid. Raises ScanError if the program fails or writes no mask."""
    tool = COMMANDS[method]
    with tempfile.TemporaryDirectory() as folder:
        nifti.save(volume, Path(folder) / "scan.nii.gz")
        words = [tool.command, *shlex.split(tool.arguments)]
        try:
            done = program.run(words, seconds=SECONDS, folder=folder, environment={"FSLOUTPUTTYPE": "NIFTI_GZ"})
        except program.ProgramError as error:
            raise ScanError(f"brain extraction ({method}): {error}") from None
        if done.code != 0:
            raise ScanError(f"brain extraction ({method}): {tool.command} failed ({done.last_line[:160]})")
        mask = Path(folder) / tool.mask
        if not mask.is_file():
            raise ScanError(f"brain extraction ({method}): {tool.command} wrote no {tool.mask}")
        return nifti.mask_on(nifti.load_mask(mask), volume.grid)
