"""What an acquisition does along one axis, as matrices: slices, the middle of k-space, interpolation."""

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from upfield.image.nifti import Array

# Full width at half maximum of a Gaussian of standard deviation 1.
FWHM = 2.3548


def slices(size: int, positions: Array, thickness: float, softness: float) -> Array:
    """Slices at `positions` (S,) of an axis of `size` voxels, (S, size) with rows that sum to 1; lengths in voxels.

    The profile is a box of `thickness` whose edges are blurred by a Gaussian; `softness` 0 is the box, 1 a Gaussian of
    that full width at half maximum.
    """
    fine = np.linspace(-0.5, 0.5, 9)[:, None, None]
    distance = np.arange(size)[None] - positions[:, None] + fine
    sigma = max(softness * thickness / FWHM, 0.05)
    box = thickness * (1 - softness)
    if box > 0.05:
        profile = ndtr((distance + box / 2) / sigma) - ndtr((distance - box / 2) / sigma)
    else:
        profile = np.exp(-((distance / sigma) ** 2) / 2)
    weights = profile.mean(axis=0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9), dtype=np.float32)


def partitions(size: int, count: int, positions: Array) -> Array:
    """The lowest `count` frequencies of a periodic axis of `size` voxels, seen at `positions` (S,): (S, size).

    What 3-D imaging does along its second phase axis: a sinc with the side lobes that it has.
    """
    frequencies = np.arange(count) - count // 2
    waves = np.exp(2j * np.pi * (positions[:, None, None] - np.arange(size)[None, :, None]) * frequencies / size)
    return np.asarray(waves.real.sum(axis=2) / size, dtype=np.float32)


def spline(size: int, at: Array, order: int = 3, periodic: bool = False) -> Array:
    """Interpolation of `size` samples at places `at` (N,), in samples, by a spline: (N, size).

    As `nifti.resample` interpolates along an axis; beyond the ends a sample goes on, or begins again if `periodic`.
    """
    mode = "grid-wrap" if periodic else "nearest"
    columns = [
        ndimage.map_coordinates(column, at[None], order=min(order, max(size - 1, 0)), mode=mode)
        for column in np.eye(size)
    ]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float32)
