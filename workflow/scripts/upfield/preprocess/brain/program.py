"""Brain extraction by programs that are not part of Upfield.

They see nothing but a copy of the scan in a folder of its own, so no name of a user's file stands in a command.
"""

import shlex
import tempfile
from pathlib import Path

from upfield import program
from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array

# That one scan may take: hd-bet on a slow processor needs a quarter of an hour.
SECONDS = 3600


def run(volume: Volume, method: str, command: str, arguments: str, written: str) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid, from the file `written` of a program that is given scan.nii.gz.

    Raises ScanError if the program fails or writes no mask.
    """
    with tempfile.TemporaryDirectory() as folder:
        nifti.save(volume, Path(folder) / "scan.nii.gz")
        words = [command, *shlex.split(arguments)]
        try:
            done = program.run(words, seconds=SECONDS, folder=folder, environment={"FSLOUTPUTTYPE": "NIFTI_GZ"})
        except program.ProgramError as error:
            raise ScanError(f"brain extraction ({method}): {error}") from None
        if done.code != 0:
            done.require_own_end(f"brain extraction ({method}): {command}")
            raise ScanError(f"brain extraction ({method}): {command} failed ({done.last_line[:160]})")
        mask = Path(folder) / written
        if not mask.is_file():
            raise ScanError(f"brain extraction ({method}): {command} wrote no {written}")
        return nifti.mask_on(nifti.load_mask(mask), volume.grid)
