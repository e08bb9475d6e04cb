"""Several acquisitions of one head as one scan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.preprocess import registration
from upfield.preprocess.derivatives import require_usable, save_image
from upfield.step import step

# An acquisition that correlates less with the first after registration is another head, or no head.
ALIKE = 0.8


@step(version=4, memory=(400, 60), minutes=(0.5, 0.1))
def average(images: Sequence[str], averaged: str, seed: int) -> None:
    """Write the mean of all `images`, on the grid and in the intensities of the first.

    The others are moved onto the first (rigid, whole heads) and multiplied by the factor that brings them nearest to
    it. Where one does not reach, the mean is that of the rest. One that cannot be registered or correlates with the
    first by less than 0.8 is left out, and stands in the sidecar's `LeftOut` with the reason. If the first is excluded
    (a DICOM series that could not be converted), so is the mean.
    """
    first = nifti.load(images[0])
    total, count = first.data.astype(np.float64), np.ones(first.data.shape)
    used, left_out = [str(images[0])], {}
    for path in images[1:]:
        try:
            require_usable(path)
            moved, there = _onto(first, nifti.load(path), seed)
        except ScanError as error:
            left_out[Path(path).name] = str(error)
            continue
        total[there] += moved[there]
        count[there] += 1
        used.append(str(path))
    metadata: dict[str, Any] = {"Sources": used, "Averaged": len(used)}
    if left_out:
        metadata["LeftOut"] = left_out
    save_image(first.with_data((total / count).astype(np.float32)), averaged, metadata)


def _onto(first: Volume, other: Volume, seed: int) -> tuple[Array, Array]:
    """`other` on the grid of `first` and in its intensities, and where it reaches, boolean. Raises ScanError."""
    matrix, _ = registration.register(first, other, "rigid", seed)
    moved = nifti.resample(other, first.grid, matrix, order=3).data
    there = nifti.mask_on(other.with_data(np.ones(other.data.shape, dtype=bool)), first.grid, matrix)
    here, them = first.data[there], moved[there]
    alike = float(np.corrcoef(here, them)[0, 1]) if len(here) > 1 and np.ptp(here) > 0 and np.ptp(them) > 0 else 0.0
    if alike < ALIKE:
        raise ScanError(f"correlates with the first acquisition by {alike:.2f}; expected at least {ALIKE:g}")
    return moved * float((here * them).sum() / (them * them).sum()), there
