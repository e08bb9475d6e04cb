"""Source scans as the target's scanner would have given them, on their own grids."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.intensity import Scaling, robust_range
from upfield.image.nifti import Volume, mask_on
from upfield.predict import models as trained
from upfield.predict.interpolate import fitted
from upfield.predict.models import Inference
from upfield.predict.native import changed, cohort_scaling, save_prediction
from upfield.preprocess.derivatives import MARK, require_usable, save_image, scaling_of
from upfield.step import step


@step(version=0, memory=(2000, 500), minutes=(0.5, 0.5), threads=2)
def harmonize(
    image: str,
    mask: str,
    preprocessed: str,
    models: Sequence[str],
    targets: Sequence[str],
    enhanced: str,
    method: str,
    inference: Mapping[str, Any],
    memory: int | None = None,
    region: str | None = None,
) -> None:
    """A source scan of another cohort on its own native grid, in intensities of the target's scanner.

    `models` are files of weights (none for `identity`), `targets` the sidecars of the preprocessed training
    participants of the target. `identity` is the scan itself, its robust range put on that of the target's scanner as
    every method's is, and not interpolated. Nor is the scan by networks: what they change on the working grid is added
    to it, so its detail is kept (see `carried_back`), in the brain or in `region`, the head. The sidecar of a network's
    output says how far the scan is from where the way back leads, `CycleError`: mean absolute difference in the brain,
    relative to the scan's robust range.
    """
    native = nifti.load(image)
    metadata: dict[str, Any] = {
        "Sources": [image, mask, preprocessed],
        "SpatialReference": image,
        "Method": method,
    }
    try:
        require_usable(preprocessed)
        scale = cohort_scaling(targets)
    except ScanError as error:
        save_image(native, enhanced, metadata | {MARK: str(error), "SkullStripped": False})
        return
    brain, by_network = nifti.load_mask(mask), method not in INTERPOLATION_ORDER
    if by_network:
        how = Inference(**inference, memory=memory)
        kept = nifti.load_mask(region or mask)
        result, metadata["CycleError"] = _by_network(native, brain, kept, preprocessed, models, scale, how)
    else:
        result = rescaled(native, brain, preprocessed, scale, method, models)
    metadata |= {
        "SkullStripped": by_network and region is None,
        "Models": trained.folders(models),
        "Intensity": "intensities on the median scale of the target's training participants",
        "IntensityOffset": scale.offset,
        "IntensityScale": scale.scale,
    }
    save_prediction(result, enhanced, metadata)


def rescaled(
    native: Volume, brain: Volume, preprocessed: str, scale: Scaling, method: str, models: Sequence[str]
) -> Volume:
    """A native scan, not interpolated, by a baseline without a network, in intensities of `scale`.

    The sidecar of the `preprocessed` scan holds its own scale; `models` holds what was fitted.
    """
    normalized = native.with_data(scaling_of(preprocessed).apply(native.data))
    return native.with_data(scale.invert(fitted(normalized, brain, None, preprocessed, method, models)))


def _by_network(
    native: Volume,
    brain: Volume,
    kept: Volume,
    preprocessed: str,
    weights: Sequence[str],
    scale: Scaling,
    how: Inference,
) -> tuple[Volume, float]:
    """The native scan with the mean change of several networks, 0 outside what is `kept`, and their cycle error."""
    from upfield.predict.inference import enhance

    options = how.options()
    networks, cards = trained.load(weights)
    source = trained.network_input(preprocessed, cards[0])
    outputs = [enhance([network], source.data, **options) for network in networks]
    cycled = np.mean([enhance([n], o, reverse=True, **options) for n, o in zip(networks, outputs, strict=True)], axis=0)
    inside = mask_on(brain, source.grid)
    low, high = robust_range(source.data, inside)
    error = float(np.abs(cycled - source.data)[inside].mean() / (high - low))
    change = source.with_data(np.mean(outputs, axis=0) - source.data)
    moved = changed(native, kept, change, preprocessed, cards[0], scale)
    return moved.with_data(np.where(kept.data, moved.data, 0)), error
