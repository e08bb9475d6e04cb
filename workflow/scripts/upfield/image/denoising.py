"""Classical denoisers, for the baseline that learns no network."""

import numpy as np
from scipy import ndimage

from upfield.image.nifti import Array

# What is tried: the kind and its strengths, mm of standard deviation for `gaussian`, shares of the robust range for
# `nlm`. A Gaussian of 0 mm changes nothing, so that the curve alone is among the candidates.
CANDIDATES = (
    *(("gaussian", strength) for strength in (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)),
    *(("nlm", strength) for strength in (0.05, 0.1, 0.2)),
)
UNITS = {"gaussian": "mm", "nlm": "of the robust range"}


def denoise(data: Array, spacing: Array, width: float, kind: str, strength: float) -> Array:
    """An image (X, Y, Z) with less noise, float32.

    `gaussian`: convolved with a Gaussian of `strength` mm, voxels being `spacing` mm (3,). `nlm`: non-local means
    (Buades et al. 2005, https://doi.org/10.1109/CVPR.2005.38), patches of 3 voxels within 2 voxels, filtered with
    `strength` times `width`, the robust width of the intensities.
    """
    if kind == "gaussian":
        return np.asarray(ndimage.gaussian_filter(data, strength / spacing), dtype=np.float32)
    # Imported here: most jobs have no use for it.
    from skimage.restoration import denoise_nl_means

    found = denoise_nl_means(data / width, patch_size=3, patch_distance=2, h=strength, fast_mode=True)
    return np.asarray(found * width, dtype=np.float32)


def curved(data: Array, before: Array, after: Array) -> Array:
    """Values under a curve with knots `before` and `after` (K,), float32; those beyond get the values of the ends."""
    return np.asarray(np.interp(data, before, after), dtype=np.float32)
