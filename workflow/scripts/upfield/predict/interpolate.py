"""Baselines without a network: one interpolation from the native source to the native target."""

from collections.abc import Sequence

from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.catalogue.weights import read_arrays
from upfield.image import histograms, nifti
from upfield.image.nifti import mask_on
from upfield.predict.native import ON_TARGET, save_prediction, save_unenhanced
from upfield.preprocess.derivatives import scaling_of, why_excluded
from upfield.step import step


@step(version=0, memory=(500, 30), minutes=(0.3, 0.02))
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
    """`identity`, `spline` or `histogram_match` of a pair.

    Native, bias-corrected images of the pair and the transform between them; the preprocessed pair gives the numbers
    of the normalization, and `models` the quantiles for histogram matching. An excluded pair, by the files that it is
    `judged_by`, has its source alone, see `save_unenhanced`.
    """
    if why_excluded(judged_by) is not None:
        save_unenhanced(source, target, transform, method, judged_by, prediction)
        return
    image, grid, moves = nifti.load(source), nifti.load(target).grid, nifti.read_transform(transform)
    moved = nifti.resample(image, grid, moves, order=INTERPOLATION_ORDER[method])
    data = scaling_of(source_preprocessed).apply(moved.data)
    if method == "histogram_match":
        quantiles = read_arrays(models[0])["quantiles"]
        mask = mask_on(nifti.load_mask(source_mask), grid, moves)
        data = histograms.match_histogram(data, mask, quantiles)
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
