"""Intensity normalization inside the brain mask, stored so that it can be undone.

Each image is normalized by itself and linearly (`Scaling`). Nyúl's method goes on from there with a curve that is
fitted on the training images of a fold (`Curve`): it is applied where patches are read, never stored in an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image.nifti import Array

# Robust extremes of the intensities in the mask, in percent; also the data range of the metrics.
PERCENTILES = (0.5, 99.5)
# What tells one contrast from another: percentiles of the intensities in the mask.
PROFILE = (10, 25, 50, 75, 90)
# Between them, the deciles: where the curves of Nyúl's method have their knots.
LANDMARKS = (PERCENTILES[0], *range(10, 100, 10), PERCENTILES[1])
# The kinds of normalization that `fit` knows, and those that put the brain between 0 and 1.
KINDS = ("percentile", "minmax", "zscore", "whitestripe", "nyul")
UNIT = ("percentile", "minmax", "nyul")
# What each method is called in a methods text.
SAID = {
    "percentile": "0.5 and 99.5 percentile to 0 and 1",
    "minmax": "least and greatest value to 0 and 1",
    "zscore": "mean 0 and standard deviation 1",
    "whitestripe": "WhiteStripe [shinohara2014]",
    "nyul": "Nyúl's method [nyul1999], fitted on the training participants",
}
# WhiteStripe estimates a density from this many voxels: more change nothing but its duration.
STRIPE_VOXELS = 50_000
STRIPE_CONTRASTS = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair", "PDw": "pd"}


@dataclass(frozen=True)
class Scaling:
    """normalized = (intensity - offset) / scale."""

    offset: float
    scale: float

    def apply(self, data: Array) -> Array:
        """Intensities to normalized values, float32."""
        return np.asarray((data - self.offset) / self.scale, dtype=np.float32)

    def invert(self, data: Array) -> Array:
        """Normalized values to intensities, float32."""
        return np.asarray(data * self.scale + self.offset, dtype=np.float32)

    @property
    def background(self) -> float:
        """The normalized value of intensity 0."""
        return -self.offset / self.scale


def robust_range(data: Array, mask: Array) -> tuple[float, float]:
    """0.5 and 99.5 percentile of the intensities in the mask. Raises ScanError if they are equal or mask is empty."""
    if not mask.any():
        raise ScanError("the brain mask is empty")
    low, high = np.percentile(data[mask], PERCENTILES)
    if not high > low:
        raise ScanError(f"the image is constant in the brain mask (value {low:g})")
    return float(low), float(high)


def profile(data: Array, mask: Array) -> list[float]:
    """How the intensities in the mask are distributed: quantiles, relative to their robust range (0 to 1).

    It does not depend on the scanner's units. Raises ScanError like `robust_range`.
    """
    low, high = robust_range(data, mask)
    return [round(float((value - low) / (high - low)), 4) for value in np.percentile(data[mask], PROFILE)]


def fit(data: Array, mask: Array, method: str, suffix: str = "T1w") -> Scaling:
    """Scaling of one image from the voxels in its brain mask.

    `percentile`, `nyul`: the 0.5 and 99.5 percentiles become 0 and 1 (values outside are kept, so it can be inverted).
    `minmax`: so do the least and the greatest value.
    `zscore`: mean 0 and standard deviation 1.
    `whitestripe`: the same of normal-appearing white matter (Shinohara et al. 2014), found by the contrast that the
    BIDS `suffix` names.
    Raises ScanError for an empty mask or a constant image.
    """
    low, high = robust_range(data, mask)
    inside = data[mask]
    if method == "zscore":
        return Scaling(float(inside.mean()), float(inside.std()))
    if method == "whitestripe":
        return _white_stripe(inside, suffix)
    if method == "minmax":
        low, high = float(inside.min()), float(inside.max())
    return Scaling(low, high - low)


def _white_stripe(inside: Array, suffix: str) -> Scaling:
    from intensity_normalization import Modality, WhiteStripeNormalizer
    from intensity_normalization.adapters.images import NumpyImageAdapter
    from intensity_normalization.domain.exceptions import NormalizationError

    if suffix not in STRIPE_CONTRASTS:
        raise ScanError(f"WhiteStripe knows {', '.join(STRIPE_CONTRASTS)}; the scan is {suffix}; choose percentile")
    few = np.ascontiguousarray(inside[:: max(len(inside) // STRIPE_VOXELS, 1)])
    stripe = WhiteStripeNormalizer(modality=Modality(STRIPE_CONTRASTS[suffix]))
    try:
        stripe.fit(NumpyImageAdapter(few), NumpyImageAdapter(np.ones_like(few)))
    except NormalizationError as error:
        raise ScanError(f"WhiteStripe found no white matter ({error})") from None
    if stripe.mean is None or stripe.std is None:
        raise ScanError("WhiteStripe found no white matter")
    return Scaling(stripe.mean, stripe.std)


def landmarks(data: Array, mask: Array, scaling: Scaling) -> list[float]:
    """Normalized values of the percentiles LANDMARKS in the mask: 0, nine deciles, 1. They never decrease."""
    return [float(value) for value in scaling.apply(np.percentile(data[mask], LANDMARKS))]


def standard_scale(found: Sequence[Sequence[float]]) -> list[float]:
    """Mean landmarks of the training images (Nyúl & Udupa 1999)."""
    return [float(value) for value in np.mean(np.asarray(found, dtype=np.float64), axis=0)]


@dataclass(frozen=True)
class Curve:
    """Piecewise linear from an image's landmarks to those of a standard scale; the end pieces go on beyond them."""

    own: Sequence[float]
    standard: Sequence[float]

    def apply(self, data: Array) -> Array:
        """Normalized values of the image to the standard scale, float32."""
        return _piecewise(data, self.own, self.standard)

    def invert(self, data: Array) -> Array:
        """Back to the normalized values of the image, float32."""
        return _piecewise(data, self.standard, self.own)


def _piecewise(data: Array, before: Sequence[float], after: Sequence[float]) -> Array:
    # Landmarks that coincide (two deciles in one peak of an integer image) are moved apart, or no inverse would exist.
    x, y = (np.maximum.accumulate(np.asarray(knots) + 1e-5 * np.arange(len(knots))) for knots in (before, after))
    result = np.interp(data, x, y)
    below, above = data < x[0], data > x[-1]
    result[below] = y[0] + (data[below] - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
    result[above] = y[-1] + (data[above] - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
    return np.asarray(result, dtype=np.float32)


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What was done, as a clause with citations; empty if the method is not known."""
    method = config.get("preprocess", {}).get("normalize", {}).get("method")
    return f"intensities were normalized inside the brain ({SAID[method]})" if method else ""
