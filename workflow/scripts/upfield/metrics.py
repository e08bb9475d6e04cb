"""Image quality in 3-D inside the brain mask: one table of metrics, by region, on a scale fixed by the truth.

Nothing outside the mask counts: the window of SSIM, the one metric that looks at neighbours, stops at the mask. Each
metric is a function of a `Sample`; to add one, write the function and give it a row in `METRICS`.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import ndimage

from upfield import intensity, nifti
from upfield.errors import ScanError, UpfieldError
from upfield.nifti import Array, Volume

# The window of SSIM (Wang et al. 2004): a Gaussian of this sigma, cut off `RADIUS` voxels from its centre.
SIGMA = 1.5
RADIUS = 5
WINDOW = 2 * RADIUS + 1


@dataclass(frozen=True)
class Pair:
    """An output and its truth, cropped around the brain: (X, Y, Z) float64, 0 outside the brain."""

    output: Array
    truth: Array
    brain: Array
    data_range: float

    @cached_property
    def similarity(self) -> Array:
        """Local SSIM, shape (X, Y, Z): computed once, however many regions are averaged from it."""
        return _similarity(self.output, self.truth, self.brain, self.data_range)


@dataclass(frozen=True)
class Sample:
    """What a metric sees: an image pair and one region of it, a boolean mask (X, Y, Z) with at least one voxel."""

    pair: Pair
    region: Array

    @cached_property
    def output(self) -> Array:
        """Values of the output in the region, shape (N,), float64."""
        return np.asarray(self.pair.output[self.region])

    @cached_property
    def truth(self) -> Array:
        """Values of the truth in the region, shape (N,), float64."""
        return np.asarray(self.pair.truth[self.region])


def psnr(sample: Sample) -> float:
    """Peak signal-to-noise ratio, 10 log10(R^2 / MSE) in dB, R being the data range of the truth in the brain.

    Any real number; infinite for identical images. Huynh-Thu and Ghanbari 2008, https://doi.org/10.1049/el:20080522.
    """
    error = mse(sample)
    return float(10 * np.log10(sample.pair.data_range**2 / error)) if error > 0 else np.inf


def ssim(sample: Sample) -> float:
    """Structural similarity: the mean over the region of the local index, K1 = 0.01, K2 = 0.03, Gaussian window.

    -1 to 1; 1 for identical images. Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861. The window
    (sigma 1.5 voxels, 11 wide) is 3-D. An image with fewer than 11 slices along one axis has no room for it:
    the index is then computed in 2-D, slice by slice along that axis, and the two are not to be compared.

    The window stops at the edge of the mask (its weights are normalised over the voxels inside), so background
    can neither flatter nor spoil it. Away from the edge the value is scikit-image's.
    """
    return float(sample.pair.similarity[sample.region].mean())


def mae(sample: Sample) -> float:
    """Mean absolute error, mean |output - truth|, in units of intensity.

    0 or more; 0 for identical images. Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079.
    """
    return float(np.abs(sample.output - sample.truth).mean())


def mse(sample: Sample) -> float:
    """Mean squared error, mean (output - truth)^2, in squared units of intensity.

    0 or more; 0 for identical images. Wang and Bovik 2009, https://doi.org/10.1109/MSP.2008.930649.
    """
    return float(np.square(sample.output - sample.truth).mean())


def rmse(sample: Sample) -> float:
    """Root mean squared error, sqrt(MSE), in units of intensity.

    0 or more; 0 for identical images. Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079.
    """
    return float(np.sqrt(mse(sample)))


def nrmse_range(sample: Sample) -> float:
    """Root mean squared error by range, RMSE / (max - min of the truth in the region).

    0 or more; 0 for identical images; NaN if the truth is constant there. Named for its denominator since others
    are in use; this one is that of Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1.
    """
    width = float(np.ptp(sample.truth))
    return rmse(sample) / width if width > 0 else np.nan


def nmse_variance(sample: Sample) -> float:
    """Mean squared error by variance, MSE / variance of the truth in the region: the share left unexplained, 1 - R^2.

    0 or more; 0 for identical images, 1 for an output that is the truth's mean everywhere; NaN if the truth is
    constant there. As in Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1.
    """
    return mse(sample) / float(sample.truth.var()) if np.ptp(sample.truth) > 0 else np.nan


def pearson(sample: Sample) -> float:
    """Pearson's correlation of output and truth over the region's voxels: blind to a change of scale and offset.

    -1 to 1; 1 for identical images (and for any a * truth + b with a > 0); NaN if either is constant.
    Pearson 1895, https://doi.org/10.1098/rspl.1895.0041.
    """
    if np.ptp(sample.output) == 0 or np.ptp(sample.truth) == 0:
        return np.nan
    output, truth = (values - values.mean() for values in (sample.output, sample.truth))
    r = (output @ truth) / (np.linalg.norm(output) * np.linalg.norm(truth))
    return float(np.clip(r, -1, 1))


@dataclass(frozen=True)
class Metric:
    """One metric: its name in tables, its label in figures, which way is better, and how it is computed."""

    name: str
    label: str
    better: Literal["higher", "lower"]
    function: Callable[[Sample], float]
    definition: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR (dB)", "higher", psnr, "10 log10(R² / MSE), R: 0.5–99.5 percentile width of the truth"),
        Metric("ssim", "SSIM", "higher", ssim, "mean local structural similarity, Gaussian window, sigma 1.5 voxels"),
        Metric("mae", "MAE", "lower", mae, "mean |output − truth|"),
        Metric("mse", "MSE", "lower", mse, "mean (output − truth)²"),
        Metric("rmse", "RMSE", "lower", rmse, "√MSE"),
        Metric("nrmse_range", "NRMSE (range)", "lower", nrmse_range, "RMSE / (max − min of the truth)"),
        Metric("nmse_variance", "NMSE (variance)", "lower", nmse_variance, "MSE / variance of the truth"),
        Metric("pearson", "Pearson r", "higher", pearson, "correlation of output and truth over voxels"),
    )
}
LABELS = {name: metric.label for name, metric in METRICS.items()}
HIGHER = {name for name, metric in METRICS.items() if metric.better == "higher"}
LOWER = {name for name, metric in METRICS.items() if metric.better == "lower"}


def reference_range(truth: Array, mask: Array) -> float:
    """The data range of PSNR and SSIM: 99.5 minus 0.5 percentile of the truth in the mask, never of an output.

    Raises ScanError for an empty mask or a truth that is constant in it.
    """
    low, high = intensity.robust_range(truth, mask)
    return high - low


def compute(output: Array, truth: Array, mask: Array, data_range: float, names: Sequence[str]) -> dict[str, float]:
    """Metrics of one image inside one mask, by name.

    Parameters
    ----------
    output, truth
        (X, Y, Z), same grid, same unit of intensity. Values outside the mask have no influence.
    mask
        (X, Y, Z) boolean.
    data_range
        Of the truth: see `reference_range`. Above 0.
    names
        Keys of `METRICS`.

    Raises ScanError for an empty mask, for values in the mask that are not finite, and, if SSIM is asked for, for an
    image of fewer than 11 voxels along two axes; UpfieldError for an unknown name; ValueError if the shapes differ or
    the range is not positive.
    """
    rows = compute_regions(output, truth, {"brain": mask}, data_range, names)
    if names and not rows:
        raise ScanError("the brain mask is empty: there is nothing to measure")
    return {name: value for _, name, value in rows}


def compute_regions(
    output: Array, truth: Array, regions: Mapping[str, Array], data_range: float, names: Sequence[str]
) -> list[tuple[str, str, float]]:
    """Metrics by region, as rows of (region, metric, value); an empty region has no rows.

    `regions` are boolean masks (X, Y, Z), which may overlap. Local SSIM is computed once, with a window that stops
    at the edge of their union: give the whole brain as one of them, so that a tissue's SSIM sees the tissues around
    it. Otherwise as `compute`, errors included.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UpfieldError(f"metrics: found {', '.join(unknown)}; expected names among {', '.join(METRICS)}")
    shapes = {np.shape(array) for array in (output, truth, *regions.values())}
    if len(shapes) > 1:
        raise ValueError(f"output, truth and masks must have one shape; found {sorted(shapes)}")
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range is {data_range}; expected a positive number")
    filled = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items() if np.any(mask)}
    if not filled:
        return []
    brain = np.logical_or.reduce(list(filled.values()))
    for name, image in (("output", output), ("truth", truth)):
        broken = int(np.count_nonzero(~np.isfinite(image[brain])))
        if broken:
            raise ScanError(f"the {name} has {broken} NaN or infinite values inside the brain mask")
    box = _window_box(brain)
    inside = brain[box]
    images = [np.where(inside, image[box], 0).astype(np.float64) for image in (output, truth)]
    pair = Pair(images[0], images[1], inside, float(data_range))
    samples = {name: Sample(pair, mask[box]) for name, mask in filled.items()}
    return [(region, name, METRICS[name].function(sample)) for region, sample in samples.items() for name in names]


def tissue_regions(truth: Volume, mask: Array, suffix: str = "T1w") -> dict[str, Array]:
    """Three tissue classes of the truth in the brain, from dark to bright: boolean masks (X, Y, Z) that share it out.

    They are named csf, grey and white if `suffix` is T1w, otherwise class1, class2 and class3, since the order
    of the tissues depends on the contrast. Atropos (Avants et al. 2011, https://doi.org/10.1007/s12021-011-9109-y)
    with k-means initialisation, a Markov random field of weight 0.1 and a fixed seed: repeatable. The truth should
    be free of a bias field. Raises ScanError for an empty mask or if there are no three classes to find.
    """
    # Imported here: ANTs takes a second to load, and the rest of this module does without it.
    import ants

    from upfield.registration import to_ants

    intensity.robust_range(truth.data, mask)
    box = tuple(map(slice, *nifti.bounding_box(mask, margin=1)))
    crop = [to_ants(Volume(data[box], truth.affine)) for data in (truth.data, mask)]
    try:
        with _scratch():
            result = ants.atropos(*crop, i="kmeans[3]", m="[0.1,1x1x1]", c="[5,0]", r=0)
    except Exception as error:  # ANTs raises nothing more specific
        raise ScanError(f"tissue classes cannot be found ({' '.join(str(error).split())[:160]})") from None
    labels = np.zeros(mask.shape, np.uint8)
    labels[box] = np.rint(result["segmentation"].numpy())
    found = [labels == label for label in np.unique(labels[mask])]
    if len(found) != 3:
        raise ScanError(f"the truth has {len(found)} tissue classes in the brain mask; expected 3")
    names = ("csf", "grey", "white") if suffix == "T1w" else ("class1", "class2", "class3")
    ordered = sorted(found, key=lambda region: float(truth.data[region].mean(dtype=np.float64)))
    return dict(zip(names, ordered, strict=True))


def _window_box(mask: Array) -> tuple[slice, ...]:
    """The part of the array that decides the metrics in `mask`: its bounding box and the reach of SSIM's window.

    At least a window wide along every axis that is, so that cropping never turns 3-D SSIM into 2-D.
    """
    low, high = nifti.bounding_box(mask, margin=RADIUS)
    # Narrower than the window only if one end is the array's end: widening the other one is enough.
    wide_high = np.minimum(np.maximum(high, low + WINDOW), mask.shape)
    wide_low = np.maximum(np.minimum(low, wide_high - WINDOW), 0)
    return tuple(map(slice, wide_low, wide_high))


def _similarity(output: Array, truth: Array, mask: Array, data_range: float) -> Array:
    """Local SSIM, shape (X, Y, Z), valid in the mask: see `ssim`. Raises ScanError if two axes are too narrow."""
    thin = [axis for axis, length in enumerate(truth.shape) if length < WINDOW]
    if len(thin) > 1:
        raise ScanError(
            f"the image of shape {truth.shape} is too small for SSIM; expected {WINDOW} voxels along two axes"
        )
    # No smoothing along a thin axis: a stack of thick slices is judged slice by slice.
    sigma = [0.0 if axis in thin else SIGMA for axis in range(3)]

    def local(values: Array) -> Array:
        return ndimage.gaussian_filter(values, sigma, mode="constant", truncate=RADIUS / SIGMA)

    weight = np.where(mask, local(mask.astype(np.float64)), 1.0)
    mean_o, mean_t = local(output) / weight, local(truth) / weight
    variance_o = local(output**2) / weight - mean_o**2
    variance_t = local(truth**2) / weight - mean_t**2
    covariance = local(output * truth) / weight - mean_o * mean_t
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_o * mean_t + c1) / (mean_o**2 + mean_t**2 + c1)
    return np.asarray(luminance * (2 * covariance + c2) / (variance_o + variance_t + c2))


@contextmanager
def _scratch() -> Iterator[None]:
    """Send temporary files to a folder that is then removed: ANTs leaves its probability images behind."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
