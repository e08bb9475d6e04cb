"""Images as odd devices and programs write them, which nibabel itself would not save."""

import nibabel as nib
import numpy as np
from upfield.image.nifti import Array


def nifti_bytes(data: Array, affine: Array | None = None, **fields: object) -> bytes:
    """A NIfTI-1 file of 4 mm voxels, or with this `affine`, with changes of its header."""
    image = nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1]) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)
