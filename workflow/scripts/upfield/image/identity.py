"""Whether two files hold the same image."""

import hashlib
from pathlib import Path

import numpy as np

from upfield.image import nifti
from upfield.image.nifti import Array


def digest(path: str | Path) -> str:
    """Sixteen hexadecimal digits of the values of an image's voxels, in their stored order, and of its shape.

    Values are float32, with the intensity slope of the header. So packing, another type of number that holds the same
    values, and everything else that a header says, change nothing. Raises ScanError as `nifti.load`.
    """
    return of(nifti.load(path).data)


def of(data: Array) -> str:
    """The same of values that were loaded."""
    found = hashlib.sha256(repr(data.shape).encode())
    found.update(np.ascontiguousarray(data, dtype=np.float32).data)
    return found.hexdigest()[:16]
