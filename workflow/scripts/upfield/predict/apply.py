"""Trained models on scans that have no target, and what baselines make of such a scan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upfield.bids import sidecar
from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.catalogue.weights import keeps_contrast
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import SAME, Grid, Scale, Volume, mask_on
from upfield.predict import models as trained
from upfield.predict import training_range
from upfield.predict.harmonize import rescaled
from upfield.predict.models import Inference
from upfield.predict.native import ON_TARGET, changed, save_prediction, save_unenhanced, template_to_target
from upfield.preprocess.derivatives import scaling_of, why_excluded
from upfield.preprocess.grid import SOURCE_MARGIN
from upfield.preprocess.standardize import prepare
from upfield.step import step

# The scale of an output's intensities.
OF_TARGETS = "intensities on the median scale of the targets that the model was trained on"
OF_THE_SCAN = "intensities on the scale of the scan itself, whose contrast the model keeps"


@step(version=0, memory=(2000, 500), minutes=(0.5, 0.5), threads=2)
def enhance_alone(
    image: str,
    mask: str,
    preprocessed: Sequence[str],
    models: Sequence[str],
    enhanced: str,
    inference: Mapping[str, Any],
    adds_change: bool,
    memory: int | None = None,
    from_template: str | None = None,
    judged_by: Sequence[str] = (),
    region: str | None = None,
) -> None:
    """The mean output of trained models for a scan that has no target.

    It lies on the native grid of `image`, each voxel divided into as many as it takes to keep the resolution of the
    output: by the models' scale where they enlarge, else by the ratio of voxel sizes, rounded. Intensities are on the
    scale that the training targets had, the median of their normalizations: there is no target to ask; those of a model
    that keeps the contrast are on the scan's own. What is farther
    from the brain (or `region`, the head) than what the networks were shown is 0. `preprocessed` is the scan and its
    further contrasts as networks see them, on one grid, `models` are files of weights; `from_template` leads back from
    the space of a template, where they work in one. With `adds_change` the output is the scan with what the networks
    change of it, as for `harmonize`. A scan that files it is `judged_by` exclude is written as it is.
    """
    if why_excluded(judged_by) is not None:
        method = read_json(Path(models[0]).with_name("model.json"))["method"]
        _save_excluded(image, judged_by, enhanced, method)
        return
    from upfield.predict.inference import enhance

    networks, cards = trained.load(models)
    contrasts = [trained.network_input(path, cards[0]) for path in preprocessed]
    kept = nifti.load_mask(region or mask)
    typical = training_range.joined([card["domain"] for card in cards])["target"]
    kept_contrast = keeps_contrast(cards[0])
    if kept_contrast:
        contrasts = [_as_drawn(contrast, kept) for contrast in contrasts]
    source = contrasts[0]
    shown = np.stack([contrast.data for contrast in contrasts])
    data = enhance(networks, shown, **Inference(**inference, memory=memory).options())
    scaling = scaling_of(preprocessed[0]) if kept_contrast else Scaling(typical["offset"], typical["scale"])
    if adds_change:
        change = source.with_data(data - source.data)
        moved = changed(nifti.load(image), kept, change, preprocessed[0], cards[0], scaling)
        inside = kept.data
    else:
        fine = nifti.refine(source.grid, networks[0].scale)
        grid = _divided(kept.grid, fine, networks[0].scale)
        back = template_to_target(from_template)
        moved = nifti.resample(Volume(scaling.invert(data), fine.affine), grid, back, order=3)
        inside = mask_on(kept.with_data(nifti.dilated(kept, SOURCE_MARGIN)), grid)
    metadata = {
        "Sources": [image, mask, *preprocessed],
        "SkullStripped": region is None,
        "Method": cards[0]["method"],
        "Models": [trained.summary(weights, card) for weights, card in zip(models, cards, strict=True)],
        "IntensityOffset": scaling.offset,
        "IntensityScale": scaling.scale,
        "Intensity": OF_THE_SCAN if kept_contrast else OF_TARGETS,
    }
    save_prediction(moved.with_data(np.where(inside, moved.data, 0)), enhanced, metadata)


def _as_drawn(source: Volume, kept: Volume) -> Volume:
    """A source that ends as those do that are drawn while training: beyond the margin interpolation leaves ripples."""
    near = nifti.dilated(source.with_data(mask_on(kept, source.grid)), SOURCE_MARGIN)
    # The corner is background on the working grid.
    return source.with_data(np.where(near, source.data, source.data[0, 0, 0]))


@step(version=0, memory=(290, 30), minutes=(0.2, 0.03))
def prepare_tested(typical: str, **arguments: Any) -> None:
    """The source of a test participant as `prepare` writes it, for a model that has `typical` targets.

    `typical` is a file of `typical_targets`, `arguments` are the others of `prepare`.
    """
    prepare(typical=read_json(typical)["voxel"], **arguments)


@step(version=0, memory=(500, 30), minutes=(0.3, 0.02))
def rescale(
    image: str,
    mask: str,
    preprocessed: str,
    typical: str,
    enhanced: str,
    method: str,
    models: Sequence[str] = (),
    judged_by: Sequence[str] = (),
) -> None:
    """A baseline without a network for a scan that has no target: not interpolated, on the training targets' scale.

    `typical` is a file of `typical_targets`; the rest as for `enhance_alone`.
    """
    if why_excluded(judged_by) is not None:
        _save_excluded(image, judged_by, enhanced, method)
        return
    targets = read_json(typical)
    scale = Scaling(targets["offset"], targets["scale"])
    result = rescaled(nifti.load(image), nifti.load_mask(mask), preprocessed, scale, method, models)
    metadata = {
        "Sources": [image, mask, preprocessed],
        "SpatialReference": image,
        "SkullStripped": False,
        "Method": method,
        "Models": trained.folders(models),
        "IntensityOffset": scale.offset,
        "IntensityScale": scale.scale,
        "Intensity": "intensities on the median scale of the training targets",
    }
    save_prediction(result, enhanced, metadata)


@step(version=0, memory=(500, 60), minutes=(0.3, 0.1))
def move(
    enhanced: str,
    source: str,
    target: str,
    transform: str,
    target_preprocessed: str,
    prediction: str,
    method: str,
    judged_by: Sequence[str] = (),
) -> None:
    """An output as applied on its target's grid and intensity scale, moved there with one interpolation.

    `enhanced` is what `enhance_alone` or `rescale` wrote of the bias-corrected `source`, `transform` leads from there
    to `target`. MR intensities are arbitrary units: what is 0 and 1 of the training targets becomes 0 and 1 of this
    target, whose normalization `target_preprocessed` holds, so that no output is judged by the units of a scanner. An
    excluded pair, by the files that it is `judged_by`, has its source alone, see `save_unenhanced`.
    """
    if why_excluded(judged_by) is not None:
        save_unenhanced(source, target, transform, method, judged_by, prediction)
        return
    grid, moves = nifti.load(target).grid, nifti.read_transform(transform)
    output = nifti.load(enhanced)
    data = scaling_of(target_preprocessed).invert(scaling_of(enhanced).apply(output.data))
    # As intensities, so that what lies beyond the source is 0.
    moved = nifti.resample(output.with_data(data), grid, moves, order=INTERPOLATION_ORDER.get(method, 3))
    made = read_json(sidecar(enhanced))
    metadata = {
        "Sources": [enhanced, target, transform],
        "SpatialReference": target,
        "SkullStripped": made["SkullStripped"],
        "Method": method,
        "Models": made["Models"],
        "Intensity": ON_TARGET,
    }
    save_prediction(moved, prediction, metadata, judged_by)


def _save_excluded(image: str, judged_by: Sequence[str], enhanced: str, method: str) -> None:
    """What stands in place of the output of an excluded scan, which nobody measures: the scan as it is."""
    metadata = {"Sources": [image], "SpatialReference": image, "SkullStripped": False, "Method": method}
    save_prediction(nifti.load(image), enhanced, metadata, judged_by)


def _divided(native: Grid, fine: Grid, scale: Scale) -> Grid:
    """A native grid with voxels divided, each axis by its number, towards those of `fine` (RAS+ axes)."""
    axes = nifti.world_axes(native.affine)
    if scale != SAME:
        parts = [scale[axis] for axis in axes]
    else:
        parts = [max(round(float(own / fine.spacing[axis])), 1) for own, axis in zip(native.spacing, axes, strict=True)]
    return nifti.refine(native, (parts[0], parts[1], parts[2]))
