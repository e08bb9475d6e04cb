"""Predictions on native grids, in real intensities, with a sidecar that says how.

The intensities of a prediction are put on the target's own scale (the two numbers of its normalization), the same
for every method and baseline: MR intensities are arbitrary units, so this makes images comparable and favours none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import Array, Grid, Volume, mask_on
from upfield.image.transforms import Transform
from upfield.predict.models import Card, to_standard_scale
from upfield.preprocess.derivatives import MARK, excluded, save_image, scaling_of

ON_TARGET = "intensities on the scale of the target image"
# How often what was lost by interpolating a change to the native grid is added to it.
PASSES = 3


def save_prediction(volume: Volume, path: str, metadata: Mapping[str, Any], judged_by: Iterable[str] = ()) -> None:
    """Write an output as float32, with its sidecar; see `save_image`."""
    save_image(volume.with_data(volume.data.astype(np.float32)), path, metadata, judged_by=judged_by)


def save_unenhanced(
    source: str,
    target: str,
    transform: str,
    method: str,
    judged_by: Sequence[str],
    prediction: str,
    std: str | None = None,
    reason: str | None = None,
    sample: str | None = None,
) -> None:
    """What stands in place of the output of an excluded pair, which nobody measures: its source as it is.

    On the target's grid, so that every file of a study is an image; its standard deviation is 0, its sample the same.
    Since the pair is `judged_by` files of which one is excluded, sidecars carry the reason, or that why one method has
    no output. They say nothing of models or intensities.
    """
    volume = nifti.resample(nifti.load(source), nifti.load(target).grid, nifti.read_transform(transform))
    metadata = {
        "Sources": [source, target, transform],
        "SpatialReference": target,
        "SkullStripped": False,
        "Method": method,
        **({} if reason is None else {MARK: reason}),
    }
    save_prediction(volume, prediction, metadata, judged_by)
    if std is not None:
        save_prediction(volume.with_data(np.zeros_like(volume.data)), std, metadata, judged_by)
    if sample is not None:
        save_prediction(volume, sample, metadata, judged_by)


def template_to_target(from_template: str | None) -> Transform | None:
    """The transform back from the space of a template, where a model works in one."""
    return None if from_template is None else nifti.read_transform(from_template)


def changed(native: Volume, mask: Volume, change: Volume, preprocessed: str, card: Card, scale: Scaling) -> Volume:
    """A native scan with the `change` that a network made to its `preprocessed` version, in its brain.

    In intensities of `scale`; `native` and `mask` share a grid, and `card` is the network's.
    """
    normalized = scaling_of(preprocessed).apply(native.data)
    curve = to_standard_scale(preprocessed, card)
    shown = normalized if curve is None else curve.apply(normalized)
    return native.with_data(scale.invert(shown + carried_back(change, mask)))


def carried_back(change: Volume, mask: Volume) -> Array:
    """A change of a preprocessed scan on the grid of its native `mask`, 0 outside the mask.

    Such that the native scan with the change, brought to the working grid as the scan was, shows the change again:
    interpolation to a finer grid and back smooths, so what is missing is added `PASSES` times (iterative
    back-projection: Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L). Outside the brain a change
    means nothing; the nearest of the brain stands there, or the edge would get half of it.
    """
    outside = ~mask_on(mask, change.grid)
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    wanted = change.with_data(change.data[tuple(nearest)])

    def moved(values: Volume, grid: Grid) -> Volume:
        return nifti.resample(values, grid, order=3, background=None)

    estimate = wanted
    for _ in range(PASSES):
        seen = moved(moved(estimate, mask.grid), wanted.grid)
        estimate = estimate.with_data(estimate.data + wanted.data - seen.data)
    return np.where(mask.data, moved(estimate, mask.grid).data, 0)


def cohort_scaling(sidecars: Sequence[str]) -> Scaling:
    """The median of the scalings of several scans, from their sidecars, excluded ones left out.

    Raises ScanError if none is left.
    """
    found = [read_json(path) for path in sidecars if excluded(path) is None]
    if not found:
        raise ScanError("no usable target among the training participants")
    offset, scale = (float(np.median([m[key] for m in found])) for key in ("IntensityOffset", "IntensityScale"))
    return Scaling(offset, scale)
