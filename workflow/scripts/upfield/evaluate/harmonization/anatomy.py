"""One harmonized scan: whether it still shows the anatomy of its source, and how far its intensities are off."""

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError
from upfield.evaluate import metrics
from upfield.image import intensity
from upfield.image.nifti import Array


def structure(source: Array, output: Array, mask: Array, cycled: Array | None = None) -> dict[str, float]:
    """What harmonization did to the anatomy of one scan.

    Parameters
    ----------
    source, output, cycled
        (X, Y, Z) on one grid: the scan, its harmonized version, and that one taken back to the source's scanner.
    mask
        (X, Y, Z) boolean, the source's brain; nothing outside it counts.

    Returns
    -------
    ssim_source
        SSIM of output and source as in `metrics`, -1 to 1. Each image is first put on [0, 1] by its own 0.5 and 99.5
        percentile in the brain, so that a linear change of intensity costs nothing; a curved one does cost.
    gradient_correlation
        Correlation of the derivatives of output and source along x, y and z, mean of the three, -1 to 1 (Penney et
        al. 1998, https://doi.org/10.1109/42.730403). Blind to a linear change of intensity. Only voxels whose
        neighbours are all in the brain count, or the edge of the mask, which both share, would decide.
    cycle_error
        Only with `cycled`: mean absolute difference to the source, divided by the source's robust range.

    Raises ScanError for an empty mask, a constant or broken image, or a brain without interior.

    """
    inside = np.asarray(mask, dtype=bool)
    for name, image in (("output", output), ("cycled image", cycled)):
        if image is not None and not np.isfinite(image[inside]).all():
            raise ScanError(f"the {name} has NaN or infinite values inside the brain mask")
    changed, original = (intensity.fit(image, inside, "percentile").apply(image) for image in (output, source))
    result = {
        "ssim_source": metrics.compute(changed, original, inside, 1.0, ["ssim"])["ssim"],
        "gradient_correlation": gradient_correlation(source, output, inside),
    }
    if cycled is not None:
        width = metrics.reference_range(source, inside)
        result["cycle_error"] = metrics.compute(cycled, source, inside, width, ["mae"])["mae"] / width
    return result


def gradient_correlation(source: Array, output: Array, mask: Array) -> float:
    """See `structure`; NaN if one of the images does not vary along an axis. Raises ScanError without interior."""
    interior = interior_of(mask)
    pairs = zip(np.gradient(np.asarray(source, np.float64)), np.gradient(np.asarray(output, np.float64)), strict=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.mean([np.corrcoef(a[interior], b[interior])[0, 1] for a, b in pairs]))


def interior_of(mask: Array) -> Array:
    """Voxels of a boolean mask whose six neighbours are in it too. Raises ScanError if there are none."""
    interior = np.asarray(ndimage.binary_erosion(mask))
    if not interior.any():
        raise ScanError("the brain mask has no interior: it is less than three voxels thick")
    return interior


def wasserstein(image: Array, mask: Array, reference: Array) -> float:
    """Wasserstein-1 distance of the intensities in `mask` to a reference distribution, in units of intensity.

    `reference` (Q,) is a quantile function at equal steps from 0 to 1, such as `histograms.fit_histogram` of the
    training targets. 0 for the same distribution; an image brighter by c everywhere is c further off.
    """
    own = np.quantile(image[mask], np.linspace(0, 1, len(reference)))
    return float(np.abs(own - reference).mean())
