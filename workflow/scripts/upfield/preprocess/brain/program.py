"""Brain extraction by programs that are not part of Upfield, through nipype's command lines.

They see nothing but a copy of the scan in a folder of its own, so no name of a user's file stands in a command.
"""

import os
import tempfile
from pathlib import Path

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array


def run(volume: Volume, method: str, command: str, arguments: str, written: str) -> Array:
    """Brain mask (X, Y, Z) on the scan's own grid, from the file `written` of a program that is given scan.nii.gz.

    Raises ScanError if the program fails or writes no mask.
    """
    # nipype would ask its maker's server for a newer version.
    os.environ.setdefault("NO_ET", "1")
    from nipype.interfaces.base import CommandLine

    with tempfile.TemporaryDirectory() as folder:
        nifti.save(volume, Path(folder) / "scan.nii.gz")
        environment = {"FSLOUTPUTTYPE": "NIFTI_GZ"}
        program = CommandLine(command=command, args=arguments, environ=environment, terminal_output="allatonce")
        try:
            done = program.run(cwd=folder).runtime
        except (OSError, RuntimeError) as error:
            raise ScanError(f"brain extraction ({method}): {command} cannot be run ({error})"[:250]) from None
        if done.returncode != 0:
            said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
            raise ScanError(
                f"brain extraction ({method}): {command} failed ({said[-1][:160] if said else done.returncode})"
            )
        mask = Path(folder) / written
        if not mask.is_file():
            raise ScanError(f"brain extraction ({method}): {command} wrote no {written}")
        return nifti.mask_on(nifti.load_mask(mask), volume.grid)
