"""Metrics of fine detail: edges kept, lost or invented."""

import numpy as np
from scipy import ndimage

from upfield.catalogue.metrics import Metric
from upfield.evaluate.metrics.fidelity import correlation
from upfield.evaluate.metrics.frame import Picture, Sample
from upfield.image.nifti import Array


def high_frequency_error(sample: Sample) -> float:
    """High-frequency error norm: |LoG(output) - LoG(reference)|_2 / |LoG(reference)|_2 over the region.

    0 or more; 0 for identical images, 1 for an output without detail; NaN if the reference has none. After Ravishankar
    and Bresler 2011, https://doi.org/10.1109/TMI.2010.2090538. LoG is the sum of second differences of the image
    smoothed by a Gaussian (sigma 1.5 voxels, 11 wide) that stops at the edge of the brain.
    """
    reference = sample.pair.reference.memo(_log).ravel()[sample.region.where]
    error = sample.pair.output.memo(_log).ravel()[sample.region.where] - reference
    flat = np.abs(reference).max() < 1e-9 * sample.pair.frame.data_range
    return np.nan if flat else float(np.linalg.norm(error) / np.linalg.norm(reference))


def edge_preservation_index(sample: Sample) -> float:
    """Edge preservation as a ratio: sum of |differences of neighbours| in the output over that in the reference.

    0 or more; 1 for identical images, below 1 for a blurred output, above 1 for a sharpened or noisy one; NaN if the
    reference is constant. Neighbours along the three axes, both in the region. Han, Guo and Wang 2002, Edge
    preservation evaluation of digital speckle filters, Proc. IGARSS 4:2471-2473.
    """
    kept = whole = 0.0
    mask = sample.region.mask
    for axis in range(3):
        both = np.flatnonzero(_along(mask, axis, 1) & _along(mask, axis, 0))
        kept += float(np.abs(sample.pair.output.memo(_differences)[axis].ravel()[both]).sum())
        whole += float(np.abs(sample.pair.reference.memo(_differences)[axis].ravel()[both]).sum())
    return kept / whole if whole > 0 else np.nan


def edge_preservation_correlation(sample: Sample) -> float:
    """Edge preservation as a correlation: Pearson's r of the Laplacians of output and reference over the region.

    -1 to 1; 1 for identical images; NaN if either Laplacian is constant. Sattar et al. 1997,
    Image enhancement based on a nonlinear multiscale method, IEEE Trans Image Process 6:888-895. The Laplacian is the
    sum of second differences along the axes; beyond the brain the image is carried on by its local mean.
    """
    where = sample.region.where
    output, reference = (image.laplacian.ravel()[where] for image in (sample.pair.output, sample.pair.reference))
    # Of a constant image rounding is left.
    flat = 1e-9 * sample.pair.frame.data_range
    return np.nan if min(np.ptp(output), np.ptp(reference)) < flat else correlation(output, reference)


def laplacian_variance(sample: Sample) -> float:
    """Sharpness of the output: variance over the region of the Laplacian of its intensities divided by R.

    0 or more; 0 for a constant or linear image; as high as the reference's for an ideal output, higher for a noisy one.
    Pech-Pacheco et al. 2000, https://doi.org/10.1109/ICPR.2000.903548.
    """
    values = sample.pair.output.laplacian.ravel()[sample.region.where]
    return float(values.var()) / sample.pair.frame.data_range**2


def _log(picture: Picture) -> Array:
    """Laplacian of the Gaussian-smoothed image."""
    return np.asarray(ndimage.laplace(picture.mean, mode="nearest"))


def _differences(picture: Picture) -> list[Array]:
    """Differences of neighbours along each axis; one voxel shorter along it."""
    return [np.diff(picture.data, axis=axis) for axis in range(3)]


def _along(field: Array, axis: int, start: int) -> Array:
    """All but the first (`start` 1) or the last (`start` 0) plane along an axis."""
    return field[tuple(slice(start, start - 1 or None) if a == axis else slice(None) for a in range(3))]


METRICS = (
    Metric(
        name="high_frequency_error",
        label="High-frequency error",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="‖LoG(output) − LoG(target)‖ / ‖LoG(target)‖, LoG: Laplacian of Gaussian, sigma 1.5 voxels",
        source="Ravishankar and Bresler 2011, https://doi.org/10.1109/TMI.2010.2090538",
        function=high_frequency_error,
    ),
    Metric(
        name="edge_preservation_index",
        label="Edge preservation (ratio)",
        better="nearer",
        ideal=1,
        values="≥ 0",
        definition="Σ|differences of neighbours| in the output / in the target",
        source="Han, Guo and Wang 2002, Proc. IGARSS 4:2471–2473",
        function=edge_preservation_index,
    ),
    Metric(
        name="edge_preservation_correlation",
        label="Edge preservation (correlation)",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="correlation of the Laplacians of output and target",
        source="Sattar et al. 1997, IEEE Trans Image Process 6:888–895",
        function=edge_preservation_correlation,
    ),
    Metric(
        name="laplacian_variance",
        label="Laplacian variance",
        better="nearer",
        ideal=None,
        values="≥ 0",
        definition="variance of the Laplacian of the output / R",
        source="Pech-Pacheco et al. 2000, https://doi.org/10.1109/ICPR.2000.903548",
        function=laplacian_variance,
    ),
)
