"""Metrics of the output alone: signal, noise and texture. They are as good as they are near to the reference's own."""

import numpy as np

from upfield.catalogue.metrics import Metric
from upfield.evaluate.metrics.frame import BRAIN, LEVELS, NEIGHBOURS, Picture, Sample
from upfield.image.nifti import Array

# Grey levels of the co-occurrence matrix: each is this many levels of `Picture.levels`.
GLCM_STEP = 4


def snr(sample: Sample) -> float:
    """Signal-to-noise ratio of the output: mean / standard deviation (n - 1) over the region.

    Any real number; NaN if the output is constant. As MRIQC has it, after Magnotta and Friedman 2006,
    https://doi.org/10.1007/s10278-006-0264-x. It means noise only in a region of one tissue: over the whole brain
    the standard deviation is anatomy.
    """
    if len(sample.output) < 2 or np.ptp(sample.output) == 0:
        return np.nan
    return float(sample.output.mean() / sample.output.std(ddof=1))


def cnr(sample: Sample) -> float:
    """Contrast-to-noise ratio of the output: |mean white - mean grey| / sqrt(variance white + variance grey).

    0 or more; NaN in other regions than the brain, without regions called grey and white, or if the output is constant
    in both. Magnotta and Friedman
    2006, https://doi.org/10.1007/s10278-006-0264-x; the noise of the air is left out, since there is none after
    skull stripping. The tissues are those of the reference.
    """
    if sample.region.name != BRAIN or not {"grey", "white"} <= set(sample.tissues):
        return np.nan
    grey, white = (sample.pair.output.data.ravel()[sample.tissues[name].where] for name in ("grey", "white"))
    if np.ptp(grey) == 0 and np.ptp(white) == 0:
        return np.nan
    return float(abs(white.mean() - grey.mean()) / np.sqrt(grey.var() + white.var()))


def entropy(sample: Sample) -> float:
    """Shannon entropy of the output's histogram in bits: 256 bins over the data range of the reference in the brain.

    0 (constant) to 8 (all bins alike). Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x.
    """
    counts = np.bincount(sample.pair.output.levels.ravel()[sample.region.where], minlength=LEVELS)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def glcm_contrast(sample: Sample) -> float:
    """Contrast of the grey-level co-occurrence matrix of the output: mean squared difference of neighbours.

    0 (constant) to 63^2, in squared levels of 64 over the data range of the reference; NaN for a region without
    neighbours. The 13 directions of a 3-D neighbourhood at distance 1, both voxels in the region. Haralick et al. 1973,
    https://doi.org/10.1109/TSMC.1973.4309314.
    """
    counts = _steps(sample)
    return float(counts @ np.arange(len(counts)) ** 2 / counts.sum()) if counts.any() else np.nan


def glcm_homogeneity(sample: Sample) -> float:
    """Homogeneity of the grey-level co-occurrence matrix of the output: mean of 1 / (1 + squared difference).

    Above 0, to 1 (constant); NaN for a region without neighbours. Levels, directions and source as `glcm_contrast`.
    """
    counts = _steps(sample)
    return float(counts @ (1 / (1 + np.arange(len(counts)) ** 2)) / counts.sum()) if counts.any() else np.nan


def _steps(sample: Sample) -> Array:
    """How often neighbours differ by so many levels, (64,): all that contrast and homogeneity need of the matrix."""
    return sample.memo(_histogram_of_steps)


def _histogram_of_steps(sample: Sample) -> Array:
    counts = np.zeros(LEVELS // GLCM_STEP, dtype=np.int64)
    for pairs, steps in zip(sample.region.pairs, sample.pair.output.memo(_differences), strict=True):
        counts += np.bincount(steps.ravel()[pairs], minlength=len(counts))
    return counts


def _differences(picture: Picture) -> list[Array]:
    """|difference| of the levels of neighbours, uint8, in each of the 13 directions."""
    levels = picture.levels // GLCM_STEP
    return [
        np.maximum(levels[first], levels[second]) - np.minimum(levels[first], levels[second])
        for first, second in NEIGHBOURS
    ]


METRICS = (
    Metric(
        name="snr",
        label="SNR",
        better="nearer",
        ideal=None,
        values="any",
        definition="mean / standard deviation of the output in the region",
        source="Magnotta and Friedman 2006, https://doi.org/10.1007/s10278-006-0264-x",
        function=snr,
    ),
    Metric(
        name="cnr",
        label="CNR",
        better="nearer",
        ideal=None,
        values="≥ 0",
        definition="|mean white − mean grey| / √(variance white + variance grey) of the output",
        source="Magnotta and Friedman 2006, https://doi.org/10.1007/s10278-006-0264-x",
        function=cnr,
    ),
    Metric(
        name="entropy",
        label="Entropy",
        better="nearer",
        ideal=None,
        values="0 to 8",
        definition="Shannon entropy of the output, 256 bins over R",
        source="Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x",
        unit="bits",
        function=entropy,
    ),
    Metric(
        name="glcm_contrast",
        label="GLCM contrast",
        better="nearer",
        ideal=None,
        values="0 to 3969",
        definition="mean squared difference of neighbours of the output, 64 grey levels over R, 13 directions",
        source="Haralick et al. 1973, https://doi.org/10.1109/TSMC.1973.4309314",
        function=glcm_contrast,
    ),
    Metric(
        name="glcm_homogeneity",
        label="GLCM homogeneity",
        better="nearer",
        ideal=None,
        values="0 to 1",
        definition="mean of 1 / (1 + squared difference of neighbours) of the output, 64 grey levels over R, 13"
        " directions",
        source="Haralick et al. 1973, https://doi.org/10.1109/TSMC.1973.4309314",
        function=glcm_homogeneity,
    ),
)
