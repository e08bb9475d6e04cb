"""Metrics that look at neighbourhoods: similarity of structure at one scale and at several."""

import numpy as np

from upfield.catalogue.metrics import Metric
from upfield.evaluate.metrics.frame import WINDOW, Frame, Pair, Picture, Sample, halved
from upfield.image.nifti import Array

# Weights of the scales of MS-SSIM, finest first (Wang et al. 2003, fitted to human judgement).
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# VIF was made for images with 255 as their range; its visual noise has variance 2 on that scale.
VIF_RANGE = 255.0
VIF_NOISE = 2.0
VIF_SCALES = 4
TINY = 1e-10


def ssim(sample: Sample) -> float:
    """Structural similarity: the mean over the region of the local index, K1 = 0.01, K2 = 0.03, Gaussian window.

    -1 to 1; 1 for identical images. Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861. The window
    (sigma 1.5 voxels, 11 wide) is 3-D. An image with fewer than 11 slices along one axis has no room for it:
    the index is then computed in 2-D, slice by slice along that axis, and the two are not to be compared.

    The window stops at the edge of the mask (its weights are normalized over the voxels inside), so background
    can neither flatter nor spoil it. Away from the edge the value is scikit-image's.
    """
    return sample.average(sample.pair.memo(similarity))


def ms_ssim(sample: Sample) -> float:
    """Multi-scale structural similarity: contrast and structure at up to five scales, luminance at the coarsest.

    0 to 1; 1 for identical images; scales that correlate negatively count as 0. Wang, Simoncelli and Bovik 2003,
    https://doi.org/10.1109/ACSSC.2003.1292216. Each scale halves the image by averaging blocks of 2 voxels (those
    inside the brain). Scales on which the brain's box is narrower than the window are left out and the weights of
    the others made to sum to 1, so compare it between images of one size only.
    """
    maps = sample.pair.memo(_scales)
    weights, value = sample.region.mask.astype(np.float64), 1.0
    for level, (field, mask) in enumerate(maps):
        weights = np.where(mask, halved(weights, sample.pair.frame.thin) if level else weights, 0)
        if not weights.any():
            return np.nan
        mean = float(np.average(field, weights=weights))
        value *= max(mean, 0.0) ** (SCALE_WEIGHTS[level] / sum(SCALE_WEIGHTS[: len(maps)]))
    return value


def vif(sample: Sample) -> float:
    """Visual information fidelity, pixel domain: information about the reference in the output over its own.

    0 or more; 1 for identical images; above 1 for a version with more contrast; NaN if the reference has no structure.
    Sheikh and Bovik 2006, https://doi.org/10.1109/TIP.2005.859378. Four scales with windows of 17, 9, 5 and 3
    voxels, in 3-D; intensities are scaled so that R is 255, since the model's visual noise has variance 2.
    """
    kept = whole = 0.0
    region = sample.region.mask
    for level, (in_output, in_reference) in enumerate(sample.pair.memo(_information)):
        region = region[_sampled(level, sample.pair.frame)] if level else region
        kept += float(in_output[region].sum())
        whole += float(in_reference[region].sum())
    return kept / whole if whole > 0 else np.nan


def similarity(pair: Pair) -> Array:
    """Local SSIM, (X, Y, Z), valid in the brain."""
    return luminance(pair) * pair.memo(contrast)


def luminance(pair: Pair) -> Array:
    """The factor of local SSIM that compares means."""
    one, other, constant = pair.output.mean, pair.reference.mean, (0.01 * pair.frame.data_range) ** 2
    return np.asarray((2 * one * other + constant) / (one**2 + other**2 + constant))


def contrast(pair: Pair) -> Array:
    """The factor of local SSIM that compares contrast and structure."""
    frame, constant = pair.frame, (0.03 * pair.frame.data_range) ** 2
    covariance = frame.smooth(pair.output.data * pair.reference.data)
    np.divide(covariance, frame.weight, out=covariance, where=frame.mask)
    covariance -= pair.output.mean * pair.reference.mean
    return np.asarray((2 * covariance + constant) / (pair.output.variance + pair.reference.variance + constant))


def _scales(pair: Pair) -> list[tuple[Array, Array]]:
    """What MS-SSIM averages on each scale, finest first, and the brain on that scale."""
    narrowest = min(size for axis, size in enumerate(pair.frame.mask.shape) if axis not in pair.frame.thin)
    count = int(np.clip(np.log2(narrowest / WINDOW) + 1, 1, len(SCALE_WEIGHTS)))
    result = []
    for level in range(count):
        pair = Pair(pair.output.half, pair.reference.half) if level else pair
        result.append((pair.memo(similarity if level == count - 1 else contrast), pair.frame.mask))
    return result


def _information(pair: Pair) -> list[tuple[Array, Array]]:
    """By scale, finest first: information about the reference in the output and in itself, bits up to a factor."""
    frame = pair.frame
    result = []
    for level, (mask, _, weight) in enumerate(frame.memo(_vif_frames)):
        output, mean_o, variance_o = pair.output.memo(_vif_moments)[level]
        reference, mean_t, variance_t = pair.reference.memo(_vif_moments)[level]
        covariance = _vif_mean(frame, output * reference, weight, mask, level) - mean_o * mean_t
        gain = covariance / (variance_t + TINY)
        rest = variance_o - gain * covariance
        # Where one of them is flat, or they run against each other, nothing of the reference comes through.
        lost = (variance_t < TINY) | (variance_o < TINY) | (gain < 0)
        rest = np.maximum(np.where(lost, variance_o, rest), TINY)
        gain = np.where(lost, 0, gain)
        known = np.where(variance_t < TINY, 0, variance_t)
        result.append((np.log10(1 + gain**2 * known / (rest + VIF_NOISE)), np.log10(1 + known / VIF_NOISE)))
    return result


def _vif_frames(frame: Frame) -> list[tuple[Array, Array, Array]]:
    """By scale: the brain, the share of the shrinking filter inside the finer brain, that of the window inside it."""
    mask, shrink, result = frame.mask, np.ones(0), []
    for level in range(VIF_SCALES):
        if level:
            shrink = frame.smooth(mask.astype(np.float64), *_vif_window(level))
            mask = mask[_sampled(level, frame)]
        result.append((mask, shrink, frame.smooth(mask.astype(np.float64), *_vif_window(level))))
    return result


def _vif_moments(picture: Picture) -> list[tuple[Array, Array, Array]]:
    """By scale: the image (0 outside the brain), its local mean and variance, intensities scaled to a range of 255."""
    frame, result = picture.frame, []
    centre = frame.low + frame.data_range / 2
    data = np.where(frame.mask, (picture.data - centre) * (VIF_RANGE / frame.data_range), 0)
    finer = frame.mask
    for level, (mask, shrink, weight) in enumerate(frame.memo(_vif_frames)):
        if level:
            data = _vif_mean(frame, data, shrink, finer, level)[_sampled(level, frame)]
        mean = _vif_mean(frame, data, weight, mask, level)
        variance = np.maximum(_vif_mean(frame, data**2, weight, mask, level) - mean**2, 0)
        result.append((data, mean, variance))
        finer = mask
    return result


def _vif_window(level: int) -> tuple[float, int]:
    """Sigma and radius of the window of a scale: 17, 9, 5 and 3 voxels wide, a fifth of that as sigma."""
    radius = 2 ** (VIF_SCALES - 1 - level)
    return (2 * radius + 1) / 5, radius


def _vif_mean(frame: Frame, values: Array, weight: Array, mask: Array, level: int) -> Array:
    """Mean over the part of each window inside the brain; 0 outside the brain."""
    return np.divide(frame.smooth(values, *_vif_window(level)), weight, out=np.zeros_like(weight), where=mask)


def _sampled(level: int, frame: Frame) -> tuple[slice, ...]:
    """Every second voxel, from the first one whose whole window lies in the array: the phase of the original."""
    start = _vif_window(level)[1] % 2
    return tuple(slice(None) if axis in frame.thin else slice(start, None, 2) for axis in range(3))


METRICS = (
    Metric(
        name="ssim",
        label="SSIM",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="mean local structural similarity, Gaussian window, sigma 1.5 voxels",
        source="Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861",
        digits=4,
        function=ssim,
    ),
    Metric(
        name="ms_ssim",
        label="MS-SSIM",
        better="higher",
        ideal=1,
        values="0 to 1",
        definition="SSIM at up to five scales, each half as fine as the one before",
        source="Wang, Simoncelli and Bovik 2003, https://doi.org/10.1109/ACSSC.2003.1292216",
        digits=4,
        function=ms_ssim,
    ),
    Metric(
        name="vif",
        label="VIF",
        better="higher",
        ideal=1,
        values="≥ 0",
        definition="information about the target in the output / in the target, four scales",
        source="Sheikh and Bovik 2006, https://doi.org/10.1109/TIP.2005.859378",
        function=vif,
    ),
)
