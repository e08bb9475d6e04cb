"""Histogram matching to the mean distribution of several images."""

from collections.abc import Iterable

import numpy as np

from upfield.image.nifti import Array

QUANTILES = 1001


def fit_histogram(images: Iterable[tuple[Array, Array]]) -> Array:
    """Mean quantile function of training targets: (1001,) normalized values; `images` are (image, mask) pairs."""
    levels = np.linspace(0, 1, QUANTILES)
    return np.mean([np.quantile(image[mask], levels) for image, mask in images], axis=0)


def match_histogram(image: Array, mask: Array, quantiles: Array) -> Array:
    """Give the voxels in `mask` the distribution `quantiles`; voxels outside follow the same monotone curve.

    Piecewise linear between quantiles (Gonzalez & Woods, Digital Image Processing, 3.3.2); values beyond the
    extremes move with them.
    """
    own = np.quantile(image[mask], np.linspace(0, 1, len(quantiles)))
    matched = np.interp(image, own, quantiles)
    below, above = image < own[0], image > own[-1]
    matched[below] = image[below] - own[0] + quantiles[0]
    matched[above] = image[above] - own[-1] + quantiles[-1]
    return np.asarray(matched, dtype=np.float32)
