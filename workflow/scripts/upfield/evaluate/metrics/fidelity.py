"""Metrics of single voxels: how far the output's intensities are from the reference's."""

import numpy as np

from upfield.catalogue.metrics import Metric
from upfield.evaluate.metrics.frame import Sample


def psnr(sample: Sample) -> float:
    """Peak signal-to-noise ratio, 10 log10(R^2 / MSE) in dB, R being the data range of the reference in the brain.

    Any real number; infinite for identical images. Huynh-Thu and Ghanbari 2008, https://doi.org/10.1049/el:20080522.
    """
    error = mse(sample)
    return float(10 * np.log10(sample.pair.frame.data_range**2 / error)) if error > 0 else np.inf


def mae(sample: Sample) -> float:
    """Mean absolute error, mean |output - reference|, in units of intensity.

    0 or more; 0 for identical images. Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079.
    """
    return float(np.abs(sample.error).mean())


def mse(sample: Sample) -> float:
    """Mean squared error, mean (output - reference)^2, in squared units of intensity.

    0 or more; 0 for identical images. Wang and Bovik 2009, https://doi.org/10.1109/MSP.2008.930649.
    """
    return sample.squared / len(sample.reference)


def rmse(sample: Sample) -> float:
    """Root mean squared error, sqrt(MSE), in units of intensity.

    0 or more; 0 for identical images. Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079.
    """
    return float(np.sqrt(mse(sample)))


def nrmse_range(sample: Sample) -> float:
    """Root mean squared error by range, RMSE / (max - min of the reference in the region).

    0 or more; 0 for identical images; NaN if the reference is constant there. Named for its denominator since others
    are in use; this one is that of Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1.
    """
    width = float(np.ptp(sample.reference))
    return rmse(sample) / width if width > 0 else np.nan


def nrmse_euclidean(sample: Sample) -> float:
    """Root mean squared error by the reference's norm, |output - reference|_2 / |reference|_2 over the region.

    0 or more; 0 for identical images; NaN if the reference is 0 there. The default of scikit-image; Fienup 1997,
    https://doi.org/10.1364/AO.36.008352. Unlike `nrmse_range` it changes with an offset of the intensities.
    """
    return float(np.sqrt(nmse_energy(sample)))


def nmse_variance(sample: Sample) -> float:
    """Mean squared error by variance, MSE / variance of the reference there: the share left unexplained, 1 - R^2.

    0 or more; 0 for identical images, 1 for an output that is the reference's mean everywhere; NaN if the reference is
    constant there. As in Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1.
    """
    return mse(sample) / float(sample.reference.var()) if np.ptp(sample.reference) > 0 else np.nan


def nmse_energy(sample: Sample) -> float:
    """Mean squared error by energy, |output - reference|^2 / |reference|^2 over the region: what fastMRI calls NMSE.

    0 or more; 0 for identical images, 1 for an output of zeros; NaN if the reference is 0 there.
    Zbontar et al. 2018, https://arxiv.org/abs/1811.08839.
    """
    energy = float(sample.reference @ sample.reference)
    return sample.squared / energy if energy > 0 else np.nan


def pearson(sample: Sample) -> float:
    """Pearson's correlation of output and reference over the region's voxels: blind to a change of scale and offset.

    -1 to 1; 1 for identical images (and for any a * reference + b with a > 0); NaN if either is constant.
    Pearson 1895, https://doi.org/10.1098/rspl.1895.0041.
    """
    return correlation(sample.output, sample.reference)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r of two sets of values, shape (N,); NaN if either is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    first, second = one - one.mean(), other - other.mean()
    r = (first @ second) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(r, -1, 1))


METRICS = (
    Metric(
        name="psnr",
        label="PSNR (dB)",
        better="higher",
        ideal=float("inf"),
        values="any",
        definition="10 log10(R² / MSE), R: 0.5–99.5 percentile width of the target",
        source="Huynh-Thu and Ghanbari 2008, https://doi.org/10.1049/el:20080522",
        unit="dB",
        digits=2,
        function=psnr,
    ),
    Metric(
        name="mae",
        label="MAE",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="mean |output − target|",
        source="Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079",
        unit="units of the target",
        function=mae,
    ),
    Metric(
        name="mse",
        label="MSE",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="mean (output − target)²",
        source="Wang and Bovik 2009, https://doi.org/10.1109/MSP.2008.930649",
        unit="squared units",
        function=mse,
        twin="rmse",
    ),
    Metric(
        name="rmse",
        label="RMSE",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="√MSE",
        source="Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079",
        unit="units of the target",
        function=rmse,
    ),
    Metric(
        name="nrmse_range",
        label="NRMSE (range)",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="RMSE / (max − min of the target)",
        source="Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1",
        function=nrmse_range,
        twin="rmse",
    ),
    Metric(
        name="nrmse_euclidean",
        label="NRMSE (Euclidean)",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="‖output − target‖ / ‖target‖",
        source="Fienup 1997, https://doi.org/10.1364/AO.36.008352",
        function=nrmse_euclidean,
        twin="rmse",
    ),
    Metric(
        name="nmse_variance",
        label="NMSE (variance)",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="MSE / variance of the target",
        source="Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1",
        function=nmse_variance,
        twin="rmse",
    ),
    Metric(
        name="nmse_energy",
        label="NMSE (energy)",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="‖output − target‖² / ‖target‖²",
        source="Zbontar et al. 2018, https://arxiv.org/abs/1811.08839",
        function=nmse_energy,
        twin="rmse",
    ),
    Metric(
        name="pearson",
        label="Pearson r",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="correlation of output and target over voxels",
        source="Pearson 1895, https://doi.org/10.1098/rspl.1895.0041",
        digits=4,
        function=pearson,
    ),
)
