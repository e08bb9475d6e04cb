"""How good a single scan is: the no-reference metrics of MRIQC (Esteban et al. 2017), from one image and its mask.

Esteban et al., PLoS ONE 2017, 12(9):e0184661, https://doi.org/10.1371/journal.pone.0184661. Each function names the
paper its definition is from. A metric that an image cannot have (no air around a skull-stripped brain, no contrast)
is NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu

from upfield.image.nifti import Array, Volume

# Voxels of air below which nothing is said of its noise.
ENOUGH_AIR = 1000
# mm around the head that may hold ghosts, blur and hair: not counted as air.
HEAD_RIM = 6.0


def metrics(image: Volume, mask: Array, suffix: str) -> dict[str, float]:
    """Every metric of a scan by name: `volume_cm3, snr, snr_air, cnr, cjv, efc, fber`.

    Parameters
    ----------
    image
        The bias-corrected scan on its own grid, full head if it has one, intensities in any unit.
    mask
        (X, Y, Z) boolean brain mask with at least one voxel.
    suffix
        The contrast as BIDS names it; in `T2w` and `PDw` fluid is bright, else dark.

    """
    data = image.data
    brain = data[mask]
    noise = air(image)
    grey, white = tissues(brain, bright_fluid=suffix in ("T2w", "PDw"))
    return {
        "volume_cm3": float(mask.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000),
        "snr": snr(white),
        "snr_air": snr_air(white, data[noise]),
        "cnr": cnr(grey, white, data[noise]),
        "cjv": cjv(grey, white),
        "efc": efc(data),
        "fber": fber(brain, data[noise]),
    }


def air(image: Volume) -> Array:
    """Air around the head, (X, Y, Z) boolean: outside what Otsu's threshold finds, filled and widened by 6 mm.

    Voxels of exactly 0 are what defacing, masking or zero-filling left behind, not air.
    """
    data = image.data
    positive = data[data > 0]
    if positive.size == 0:
        return np.zeros(data.shape, dtype=bool)
    # Half of Otsu's threshold: skin and muscle are darker than fat, and air is much darker than both.
    head = ndimage.binary_fill_holes(data > threshold_otsu(positive) / 2)
    distance = ndimage.distance_transform_edt(~head, sampling=image.grid.spacing)
    return np.asarray((distance > HEAD_RIM) & (data != 0))


def tissues(brain: Array, bright_fluid: bool) -> tuple[Array, Array]:
    """Intensities (N,) of grey and of white matter, from the intensities in the brain mask.

    Three classes by Otsu's thresholds (Otsu, IEEE Trans SMC 1979, 9:62-66); the darkest is fluid, or the brightest
    with `bright_fluid`. Of the other two white matter is the one farther from fluid. Both are empty where three
    classes cannot be told apart.
    """
    inside = np.clip(brain, *np.percentile(brain, (0.5, 99.5)))
    try:
        low, high = threshold_multiotsu(inside, classes=3)
    except ValueError:
        return brain[:0], brain[:0]
    dark, middle, bright = brain[brain <= low], brain[(brain > low) & (brain <= high)], brain[brain > high]
    return (middle, dark) if bright_fluid else (middle, bright)


def snr(values: Array) -> float:
    """Signal-to-noise ratio in one tissue: mean / (standard deviation sqrt(n / (n - 1))).

    Magnotta and Friedman, J Digit Imaging 2006, 19:140-147, https://doi.org/10.1007/s10278-006-0264-x. 0 or more.
    """
    if values.size < 2 or values.std() == 0:
        return np.nan
    return float(values.mean() / values.std(ddof=1))


def snr_air(values: Array, noise: Array) -> float:
    """Signal-to-noise ratio against air: mean / (sqrt(2 / (4 - pi)) standard deviation of the air).

    Dietrich et al., J Magn Reson Imaging 2007, 26:375-385, https://doi.org/10.1002/jmri.20969, equation A.12: noise
    of a magnitude image is Rayleigh distributed in air. 0 or more.
    """
    if noise.size < ENOUGH_AIR or noise.std() == 0 or values.size == 0:
        return np.nan
    return float(values.mean() / (np.sqrt(2 / (4 - np.pi)) * noise.std()))


def cnr(grey: Array, white: Array, noise: Array) -> float:
    """Contrast-to-noise ratio: |mean(white) - mean(grey)| / sqrt(var(air) + var(white) + var(grey)).

    Magnotta and Friedman 2006 (see `snr`), with the denominator of MRIQC. Without air its variance is 0. 0 or more.
    """
    if min(grey.size, white.size) < 2:
        return np.nan
    spread = grey.var() + white.var() + (noise.var() if noise.size >= ENOUGH_AIR else 0.0)
    return float(abs(white.mean() - grey.mean()) / np.sqrt(spread)) if spread > 0 else np.nan


def cjv(grey: Array, white: Array) -> float:
    """Coefficient of joint variation: (sd(white) + sd(grey)) / |mean(white) - mean(grey)|; lower is better.

    Ganzetti et al., Front Neuroinform 2016, 10:10, https://doi.org/10.3389/fninf.2016.00010. Above 0.
    """
    if min(grey.size, white.size) < 2 or white.mean() == grey.mean():
        return np.nan
    return float((white.std() + grey.std()) / abs(white.mean() - grey.mean()))


def efc(data: Array) -> float:
    """Entropy focus criterion: Shannon entropy of all voxels over its maximum; ghosts and blur raise it.

    Atkinson et al., IEEE Trans Med Imaging 1997, 16:903-910, https://doi.org/10.1109/42.650886, divided by the
    entropy of a constant image, so that sizes can be compared. 0 (one bright voxel) to 1 (constant); negative
    voxels count as 0.
    """
    values = np.clip(data, 0, None).astype(np.float64).ravel()
    energy = np.sqrt((values**2).sum())
    if energy == 0 or values.size < 2:
        return np.nan
    share = values[values > 0] / energy
    largest = np.sqrt(values.size) * np.log(np.sqrt(values.size))
    return float(-(share * np.log(share)).sum() / largest)


def fber(brain: Array, noise: Array) -> float:
    """Foreground-background energy ratio: median square in the brain / median square in air; higher is better.

    Shehzad et al., Front Neurosci 2015, https://doi.org/10.3389/conf.fnins.2015.91.00047; medians as in MRIQC. The
    foreground is the brain, since the head of a defaced or stripped scan is not whole. 0 or more.
    """
    if noise.size < ENOUGH_AIR:
        return np.nan
    background = float(np.median(noise) ** 2)
    return float(np.median(brain) ** 2) / background if background > 0 else np.nan


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What was measured, as a clause with citations; empty without quality control."""
    return "scan quality was measured with metrics of MRIQC [esteban2017]" if config.get("qc") else ""
