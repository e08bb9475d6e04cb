"""Whether two files hold the same image."""

import hashlib
from pathlib import Path

import numpy as np

from upfield.image import nifti


def digest(path: str | Path) -> str:
    """Sixteen hexadecimal digits of the values of an image's voxels, in their stored order, and of their numbers.

    Values are float32, with the intensity slope of the header. So packing, another type of number that holds the same
    values, and everything else that a header says, change nothing. Raises ScanError as `nifti.load`.
    """
    data = nifti.load(path).data
    found = hashlib.sha256(repr(data.shape).encode())
    found.update(np.ascontiguousarray(data, dtype=np.float32).data)
    return found.hexdigest()[:16]
