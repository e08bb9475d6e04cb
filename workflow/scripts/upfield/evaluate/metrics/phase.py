"""Feature similarity: phase congruency, which finds edges whatever their contrast, with gradient magnitude."""

import numpy as np
from scipy import fft, ndimage

from upfield.catalogue.metrics import Metric
from upfield.evaluate.metrics.frame import Frame, Pair, Picture, Sample
from upfield.image.nifti import Array

# Of the paper: log-Gabor filters on 4 scales and in 4 directions, and the constants of the two similarities.
SCALES, DIRECTIONS = 4, 4
WAVELENGTH, FACTOR = 6.0, 2.0
BANDWIDTH = 0.55
SPREAD = np.pi / DIRECTIONS / 1.2
NOISE_SD = 2.0
T_PHASE, T_GRADIENT = 0.85, 160.0
RANGE = 255.0
# The noise of the summed response is overestimated by about this factor for these filters (Kovesi 1999).
NOISE_FACTOR = 1.7
# Slices transformed at once: what fits into a processor's cache.
BATCH = 4


def fsim(sample: Sample) -> float:
    """Feature similarity of axial slices: phase congruency and gradient magnitude, weighted by phase congruency.

    0 to 1; 1 for identical images; NaN if neither has a feature. Zhang et al. 2011,
    https://doi.org/10.1109/TIP.2011.2109730; intensities are scaled so that R is 255, the scale of its constants.
    Defined in 2-D: slices across the third axis, each cut to the brain's box and carried on beyond the brain by its
    local mean; the sums run over all slices.
    """
    score, weight = sample.pair.memo(_maps)
    where = sample.region.where
    total = float(weight.ravel()[where].sum())
    return float(score.ravel()[where].sum()) / total if total > 0 else np.nan


def _maps(pair: Pair) -> tuple[Array, Array]:
    """Weighted similarity and its weight, (X, Y, Z) each."""
    (phase_o, slope_o), (phase_t, slope_t) = pair.output.memo(features), pair.reference.memo(features)
    weight = np.maximum(phase_o, phase_t)
    phase = (2 * phase_o * phase_t + T_PHASE) / (phase_o**2 + phase_t**2 + T_PHASE)
    slope = (2 * slope_o * slope_t + T_GRADIENT) / (slope_o**2 + slope_t**2 + T_GRADIENT)
    return phase * slope * weight, weight


def features(picture: Picture) -> tuple[Array, Array]:
    """Phase congruency and Scharr gradient magnitude of every axial slice, (X, Y, Z) float32 each."""
    frame = picture.frame
    slices = np.moveaxis(picture.filled, 2, 0).astype(np.float32) * np.float32(RANGE / frame.data_range)
    brain = np.moveaxis(frame.mask, 2, 0)
    phase, slope = np.zeros_like(slices), np.zeros_like(slices)
    for start in range(0, len(slices), BATCH):
        part = slice(start, start + BATCH)
        if brain[part].any():
            phase[part] = _congruency(slices[part], brain[part], *frame.memo(_filters))
    smooth = np.array([3, 10, 3], np.float32) / 16
    for axis in (1, 2):
        derivative = ndimage.correlate1d(slices, np.array([-1, 0, 1], np.float32), axis=axis, mode="nearest")
        slope += ndimage.correlate1d(derivative, smooth, axis=3 - axis, mode="nearest") ** 2
    return np.moveaxis(phase, 0, 2), np.moveaxis(np.sqrt(slope), 0, 2)


def _congruency(slices: Array, brain: Array, filters: Array, noise: Array) -> Array:
    """Phase congruency of slices (N, H, W): energy beyond the noise, summed over directions, per unit of amplitude."""
    height, width = slices.shape[1:]
    room = [(0, 0), (0, filters.shape[2] - height), (0, filters.shape[3] - width)]
    spectrum = fft.fft2(np.pad(slices, room, mode="edge"))
    energy, amplitude = np.zeros_like(slices), np.full_like(slices, np.finfo(np.float32).eps)
    for direction, gain in zip(filters, noise, strict=True):
        # Real part: even (symmetric) response; imaginary: odd.
        responses = [fft.ifft2(spectrum * band)[:, :height, :width] for band in direction]
        sizes = [np.abs(response) for response in responses]
        total = sum(responses[1:], start=responses[0])
        length = np.abs(total) + np.finfo(np.float32).eps
        # Sum over scales of A (cos - |sin|) of the phase's distance from the mean phase.
        across = sum(np.abs(response.real * total.imag - response.imag * total.real) for response in responses)
        # The noise is judged by the finest scale, where the brain is; a slice without brain has no say.
        typical = [np.sqrt(np.median(size[inside] ** 2)) if inside.any() else np.inf for size, inside in
                   zip(sizes[0], brain, strict=True)]  # fmt: skip
        threshold = np.asarray(typical, dtype=np.float32)[:, None, None] * gain
        energy += np.maximum(length - across / length - threshold, 0)
        amplitude += sum(sizes)
    return np.asarray(energy / amplitude)


def _filters(frame: Frame) -> tuple[Array, Array]:
    """Log-Gabor filters (directions, scales, H, W) for the frame's slices, frequency 0 first, and the noise factors.

    A noise factor, one per direction, is the threshold of the energy for a unit median response at the finest scale,
    if what is there is Rayleigh noise (Kovesi 1999, Image features from phase congruency, Videre 1:3).
    """
    size = [fft.next_fast_len(length) for length in frame.mask.shape[:2]]
    down, right = np.meshgrid(*(fft.fftfreq(length) for length in size), indexing="ij")
    radius, angle = np.hypot(down, right), np.arctan2(-down, right)
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    bands = []
    for scale in range(SCALES):
        band = np.exp(-(np.log(radius * WAVELENGTH * FACTOR**scale) ** 2) / (2 * np.log(BANDWIDTH) ** 2)) * low_pass
        band[0, 0] = 0
        bands.append(band)
    result, noise = [], []
    for direction in range(DIRECTIONS):
        turned = np.abs(np.angle(np.exp(1j * (angle - direction * np.pi / DIRECTIONS))))
        filters = np.stack(bands) * np.exp(-(turned**2) / (2 * SPREAD**2))
        kernels = fft.ifft2(filters).real * np.sqrt(np.prod(size))
        products = np.einsum("ahw,bhw->ab", kernels, kernels)
        # Median to mean of a squared Rayleigh variable: 1 / ln 2. Variance of the sum: 2 x (squares and cross terms).
        power = 1 / np.log(2) / (filters[0] ** 2).sum()
        tau = np.sqrt(power * products.sum())
        noise.append(tau * (np.sqrt(np.pi / 2) + NOISE_SD * np.sqrt(2 - np.pi / 2)) / NOISE_FACTOR)
        result.append(filters)
    return np.stack(result).astype(np.float32), np.asarray(noise, np.float32)


METRICS = (
    Metric(
        name="fsim",
        label="FSIM",
        better="higher",
        ideal=1,
        values="0 to 1",
        definition="similarity of phase congruency and gradient, axial slices, weighted by phase congruency",
        source="Zhang et al. 2011, https://doi.org/10.1109/TIP.2011.2109730",
        function=fsim,
    ),
)
