"""Baselines without a network: one interpolation from the native source to the native target."""

from collections.abc import Sequence
from pathlib import Path

from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.catalogue.weights import read_arrays
from upfield.foreign import read_object
from upfield.image import denoising, histograms, nifti
from upfield.image.nifti import Array, Volume, mask_on
from upfield.image.transforms import Transform
from upfield.predict.native import ON_TARGET, save_prediction, save_unenhanced
from upfield.preprocess.derivatives import robust_width, scaling_of, why_excluded
from upfield.step import step


@step(version=0, memory=(800, 60), minutes=(0.3, 0.1))
def interpolate(
    source: str,
    source_mask: str,
    target: str,
    transform: str,
    source_preprocessed: str,
    target_preprocessed: str,
    prediction: str,
    method: str,
    models: Sequence[str] = (),
    judged_by: Sequence[str] = (),
) -> None:
    """`identity`, `spline`, `histogram_match` or `denoise` of a pair.

    Native, bias-corrected images of the pair and the transform between them; the preprocessed pair gives the numbers
    of the normalization, and `models` the quantiles for histogram matching, or denoiser and curve. An excluded pair, by
    the files that it is `judged_by`, has its source alone, see `save_unenhanced`.
    """
    if why_excluded(judged_by) is not None:
        save_unenhanced(source, target, transform, method, judged_by, prediction)
        return
    image, grid, moves = nifti.load(source), nifti.load(target).grid, nifti.read_transform(transform)
    moved = nifti.resample(image, grid, moves, order=INTERPOLATION_ORDER[method])
    normalized = moved.with_data(scaling_of(source_preprocessed).apply(moved.data))
    mask = nifti.load_mask(source_mask)
    data = fitted(normalized, mask, moves, source_preprocessed, method, models)
    metadata = {
        "Sources": [source, target, transform],
        "SpatialReference": target,
        "SkullStripped": False,
        "Method": method,
        "Models": [],
        "Intensity": ON_TARGET,
    }
    result = moved.with_data(scaling_of(target_preprocessed).invert(data))
    save_prediction(result, prediction, metadata, judged_by)


def fitted(
    normalized: Volume,
    mask: Volume,
    transform: Transform | None,
    preprocessed: str,
    method: str,
    models: Sequence[str],
) -> Array:
    """Normalized values of a source as a baseline with something fitted changes them; for others as they are.

    The native `mask` is moved to the image by `transform`; the sidecar of the `preprocessed` source says how wide
    intensities are, and `models` holds what was fitted.
    """
    data, grid = normalized.data, normalized.grid
    if method == "histogram_match":
        data = histograms.match_histogram(data, mask_on(mask, grid, transform), read_arrays(models[0])["quantiles"])
    if method == "denoise":
        tuned, knots = read_object(Path(models[0]).with_name("model.json"))["settings"], read_arrays(models[0])
        data = denoising.denoise(data, grid.spacing, robust_width(preprocessed), tuned["kind"], tuned["strength"])
        data = denoising.curved(data, knots["before"], knots["after"])
    return data
