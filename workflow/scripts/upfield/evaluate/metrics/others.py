"""Scores as others count them: whole volumes, and the challenges ULF-EnC 2025 and MRIxFields 2026.

For comparing with published numbers, and for nothing else: nothing is tested, ranked or won by them. In every image,
reference and output, it is 0 outside the brain, since networks here say nothing of what lies there.
"""

import numpy as np
from skimage.metrics import structural_similarity

from upfield.evaluate.metrics.frame import BRAIN, window_box
from upfield.evaluate.metrics.measure import Row, check_finite
from upfield.evaluate.metrics.volume import VOLUME, WholeVolume
from upfield.image.nifti import Array

# The window of scikit-image's SSIM, which both challenges leave as it is: uniform, this wide.
UNIFORM = 7
# ULF-EnC: the PSNR that counts as 1, what keeps the logarithm of no error finite, and the weights of the parts.
PSNR_OF_ONE = 32.0
NO_ERROR = 1e-8
WEIGHTS = {"ssim": 0.7, "psnr": 0.1, "mae": 0.1, "nmse": 0.1}
# MRIxFields: the percentile of the reference's whole volume that becomes 1.
BRIGHT = 99.5


def measure(output: Array, reference: Array, brain: Array, axial: int) -> list[Row]:
    """Rows of (region, metric, value) of every score that is `catalogue.metrics.OTHERS`.

    `output` and `reference` (X, Y, Z) on one grid and scale, `brain` boolean, `axial` the axis across axial slices.
    A value that does not exist is NaN. Raises ScanError for an empty mask, and for values in it that are not finite.
    """
    for name, image in (("reference", reference), ("output", output)):
        check_finite(name, image, brain)
    image, target = (np.where(brain, data, 0).astype(np.float64) for data in (output, reference))
    found = {
        ("", VOLUME): whole_volume(image, target, brain),
        ("ulf_enc_", BRAIN): ulf_enc(image, target, brain),
        ("mrixfields_", VOLUME): mrixfields(image, target, axial),
    }
    return [(region, prefix + name, value) for (prefix, region), part in found.items() for name, value in part.items()]


def whole_volume(output: Array, reference: Array, brain: Array) -> dict[str, float]:
    """`psnr_volume` and `ssim_volume`, over every voxel of the field of view, with the reference's maximum as range.

    So papers without a mask count. Both read higher than in the brain: the background is 0 in both images and has no
    error, and the maximum is larger than a robust range. PSNR is 10 log10(max^2 / MSE) in dB, SSIM the mean of the
    local index (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861: Gaussian window, sigma 1.5 voxels, 11 wide,
    in 3-D). Arrays as for `measure`, 0 outside the brain. NaN if the reference has no positive value, or for an SSIM of
    fewer than 11 voxels along two axes.
    """
    peak = float(reference.max())
    if peak <= 0:
        return {"psnr_volume": np.nan, "ssim_volume": np.nan}
    error = output[brain] - reference[brain]
    whole = WholeVolume(reference, brain, peak)
    names = ("psnr", "ssim") if len(whole.frame.thin) < 2 else ("psnr",)
    rows = whole.measure(output, {"mse": float(np.mean(error**2)), "mae": float(np.abs(error).mean())}, names)
    found = {metric: value for _, metric, value in rows}
    return {"psnr_volume": found["psnr"], "ssim_volume": found.get("ssim", np.nan)}


def ulf_enc(output: Array, reference: Array, brain: Array) -> dict[str, float]:
    """`ssim`, `psnr`, `mae`, `nmse` and `score` of the Ultra-Low-Field MRI Image Enhancement Challenge 2025.

    As its organizers' program has them (https://github.com/khtohidulislam/ULF-EnC-Challenge, final_evaluation_script):
    every image is scaled by the minimum and maximum of its own whole volume to 0 and 1, then set to 0 outside the
    brain. SSIM: scikit-image's map (uniform window of 7 voxels, range 1). PSNR: 10 log10(1 / (error^2 + 1e-8)) of each
    voxel, not of the mean squared error. MAE: the absolute error. NMSE: squared error by the mean square of the
    reference in the brain, at most 1. Of each map the mean over the brain; score = 0.7 SSIM + 0.1 PSNR / 32
    + 0.1 (1 - MAE) + 0.1 (1 - NMSE).

    Confirmed are these formulas, in that program. Unconfirmed is agreement with the published ranking: it has masks of
    its own (one of the T1w for all contrasts) and scales images that may not be skull-stripped, and these have 0
    outside the brain before they are scaled. Arrays as for `measure`, 0 outside the brain. NaN if an image is constant,
    and for SSIM and score if an axis has fewer than 7 voxels.
    """
    if min(np.ptp(output), np.ptp(reference)) <= 0:
        return dict.fromkeys([*WEIGHTS, "score"], np.nan)
    box = window_box(brain)
    inside = brain[box]
    image, target = (np.where(inside, (one[box] - one.min()) / np.ptp(one), 0) for one in (output, reference))
    error = (image - target)[inside]
    energy = float(np.mean(target[inside] ** 2))
    found = {
        "ssim": np.nan,
        "psnr": float(np.mean(10 * np.log10(1 / (error**2 + NO_ERROR)))),
        "mae": float(np.abs(error).mean()),
        "nmse": min(float(np.mean(error**2)) / energy, 1.0) if energy > 0 else 1.0,
    }
    if min(inside.shape) >= UNIFORM:
        _, similarity = structural_similarity(image, target, win_size=UNIFORM, data_range=1.0, full=True)
        found["ssim"] = float(similarity[inside].mean())
    parts = {
        "ssim": found["ssim"],
        "psnr": found["psnr"] / PSNR_OF_ONE,
        "mae": 1 - found["mae"],
        "nmse": 1 - found["nmse"],
    }
    return {**found, "score": sum(WEIGHTS[name] * part for name, part in parts.items())}


def mrixfields(output: Array, reference: Array, axial: int) -> dict[str, float]:
    """`nrmse` and `ssim` of MRIxFields 2026, over the whole volume.

    As its organizers' program has them (https://github.com/MRIxFields/MRIxFields2026, Evaluation/evaluate.py): the
    reference is cut off at 0 and at the 99.5 percentile of its whole volume, and divided by that. Outputs are expected
    between 0 and 1 on that scale, so they are cut off and divided alike. nRMSE: |output - reference|_2 / |reference|_2.
    SSIM: scikit-image's (uniform window of 7 pixels, range of the whole reference) in axial slices, whose mean is taken
    over all slices in which the reference is not constant. Its LPIPS (AlexNet), Dice and volume consistency of 14 deep
    grey structures (SynthSeg on both images) are not computed: they need networks that are not at hand here.

    Arrays as for `measure`, 0 outside the brain; `axial` is the axis across the slices. NaN if nothing of the reference
    is left, and for SSIM if a slice has fewer than 7 pixels along an axis.
    """
    bright = float(np.percentile(reference, BRIGHT))
    if bright <= 0:
        return {"nrmse": np.nan, "ssim": np.nan}
    image, target = (np.moveaxis(np.clip(one, 0, bright) / bright, axial, 0) for one in (output, reference))
    values = []
    if min(target.shape[1:]) >= UNIFORM:
        values = [
            structural_similarity(*pair, win_size=UNIFORM, data_range=float(np.ptp(target)))
            for pair in zip(image, target, strict=True)
            if np.ptp(pair[1]) > 0
        ]
    return {
        "nrmse": float(np.linalg.norm(image - target) / np.linalg.norm(target)),
        "ssim": float(np.mean(values)) if values else np.nan,
    }
