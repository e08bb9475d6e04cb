"""Linear intensity normalisation inside the brain mask, stored so that it can be undone."""

from dataclasses import dataclass

import numpy as np

from upfield.errors import ScanError
from upfield.nifti import Array

# Robust extremes of the intensities in the mask, in percent; also the data range of the metrics.
PERCENTILES = (0.5, 99.5)
# What tells one contrast from another: percentiles of the intensities in the mask.
PROFILE = (10, 25, 50, 75, 90)


@dataclass(frozen=True)
class Scaling:
    """normalised = (intensity - offset) / scale."""

    offset: float
    scale: float

    def apply(self, data: Array) -> Array:
        """Intensities to normalised values, float32."""
        return np.asarray((data - self.offset) / self.scale, dtype=np.float32)

    def invert(self, data: Array) -> Array:
        """Normalised values to intensities, float32."""
        return np.asarray(data * self.scale + self.offset, dtype=np.float32)

    @property
    def background(self) -> float:
        """The normalised value of intensity 0."""
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


def fit(data: Array, mask: Array, method: str) -> Scaling:
    """Scaling of one image from the voxels in its brain mask.

    `percentile`: the 0.5 and 99.5 percentiles become 0 and 1 (values outside are kept, so it can be inverted).
    `zscore`: mean 0 and standard deviation 1.
    Raises ScanError for an empty mask or a constant image.
    """
    low, high = robust_range(data, mask)
    if method == "percentile":
        return Scaling(low, high - low)
    inside = data[mask]
    return Scaling(float(inside.mean()), float(inside.std()))
