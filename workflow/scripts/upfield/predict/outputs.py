"""Predictions as files: on the target's native grid, in real intensities, with a sidecar that says how.

The intensities of a prediction are put on the target's own scale (the two numbers of its normalisation), the same
for every method and baseline: MR intensities are arbitrary units, so this makes images comparable and favours none.

What needs torch is imported where it is used: a baseline would otherwise take longer to start than to run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from scipy import ndimage

from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.errors import ScanError
from upfield.files import digest, read_json
from upfield.image import histograms, nifti
from upfield.image.intensity import Curve, Scaling, robust_range
from upfield.image.nifti import SAME, Array, Grid, Scale, Volume, mask_on
from upfield.image.transforms import Transform
from upfield.predict import training_range as domain
from upfield.preprocess.derivatives import landmarks_of, save_image, scaling_of
from upfield.preprocess.grid import SOURCE_MARGIN

DESCRIPTION = "intensities on the scale of the target image"
SPREAD = "standard deviation over the trained models (seeds) and their samples with dropout"
# How often what was lost by interpolating a change to the native grid is added to it.
PASSES = 3


@dataclass(frozen=True)
class Inference:
    """How networks are run, as the config names it: see `inference.ensemble`."""

    overlap: float
    tta: bool
    device: str
    precision: str
    # Bytes that this process may hold in all; None for what the machine has.
    memory: int | None = None

    def options(self) -> dict[str, Any]:
        """What `inference` asks for."""
        from upfield.training import device

        where = device.choose(self.device)
        dtype = device.precision(self.precision, where)
        return {"device": where, "dtype": dtype, "overlap": self.overlap, "tta": self.tta, "memory": self.memory}


def interpolate(method: str, files: Any, output: str) -> None:
    """A baseline without a network: `identity`, `spline` or `histogram_match`.

    `files` names the native pair (`source`, `source_mask`, `target`), `transform`, the preprocessed pair, and for
    histogram matching `models`. The source is interpolated once, from its own grid to the target's.
    """
    source, target = nifti.load(files.source), nifti.load(files.target)
    moves = nifti.read_transform(files.transform)
    moved = nifti.resample(source, target.grid, moves, order=INTERPOLATION_ORDER[method])
    own, scale = _scales(files)
    data = own.apply(moved.data)
    if method == "histogram_match":
        quantiles = load_file(files.models[0])["quantiles"]
        mask = mask_on(nifti.load_mask(files.source_mask), target.grid, moves)
        data = histograms.match_histogram(data, mask, quantiles)
    _write(moved.with_data(scale.invert(data)), output, method, files, [])


def enhance(
    method: str,
    files: Any,
    output: str,
    run: Inference,
    *,
    samples: int = 0,
    std: str | None = None,
) -> None:
    """A trained model's output, the mean over the models (seeds) in `files.models` and `samples` of their dropout.

    `files.network_input` names the preprocessed source, a file for each contrast, on a coarser grid than
    `files.target_preproc` where the method enlarges; `files.from_template`, if it is there, leads from the space of a
    template to the target's. Where `std` names a file, the standard deviation over models and
    samples is written there, on the same grid and scale; there must be at least two of them.
    """
    from upfield.methods import model
    from upfield.predict import inference

    folders = _folders(files.models)
    networks, cards = zip(*(model.load(folder) for folder in folders), strict=True)
    source = np.stack([_network_input(path, cards[0]).data for path in files.network_input])
    data, spread = inference.ensemble(networks, source, samples=samples, **run.options())
    _, scale = _scales(files)
    native = nifti.load(files.target).grid
    # Interpolated as intensities: what lies beyond the working grid is then 0, as it is outside the brain.
    working = nifti.load(files.target_preproc).affine
    back = _back(getattr(files, "from_template", None))
    result = nifti.resample(Volume(scale.invert(data), working), native, back, order=3)
    sources = {"Sources": [files.source, files.target, files.transform, *list(files.network_input)[1:]]}
    _write(result, output, method, files, folders, sources)
    if std is not None and spread is not None:
        # Trilinear: a cubic interpolation of it could be negative.
        moved = nifti.resample(Volume(scale.scale * spread, working), native, back, order=1)
        members = {**sources, "Quantity": SPREAD, "Samples": samples, "SpreadOf": output}
        _write(moved, std, method, files, folders, members)


def apply(
    image: str,
    mask: str,
    preprocessed: str,
    output: str,
    folders: Sequence[str],
    run: Inference,
    *,
    from_template: str | None = None,
) -> None:
    """The mean output of trained models for a scan that has no target.

    It lies on the native grid of `image`, each voxel divided into as many as it takes to keep the resolution of the
    output: by the models' scale where they enlarge, else by the ratio of voxel sizes, rounded. Intensities are
    on the scale that the training targets had, the median of their normalisations: there is no target to ask.
    What is farther from the brain than what the networks were shown is 0. `from_template` leads back from the space of
    a template, where the models work in one. Models of unpaired scans change the scan as `harmonise` does.
    """
    from upfield.methods import model
    from upfield.predict import inference

    networks, cards = zip(*(model.load(folder) for folder in folders), strict=True)
    source = _network_input(preprocessed, cards[0])
    data = inference.enhance(networks, source.data, **run.options())
    brain = nifti.load_mask(mask)
    typical = domain.joined([card["domain"] for card in cards])["target"]
    scaling = Scaling(typical["offset"], typical["scale"])
    if cards[0]["pairing"] == "unpaired":
        change = source.with_data(data - source.data)
        moved = _changed(nifti.load(image), brain, change, preprocessed, cards[0], scaling)
        shown = brain.data
    else:
        fine = nifti.refine(source.grid, networks[0].scale)
        grid = _divided(brain.grid, fine, networks[0].scale)
        moved = nifti.resample(Volume(scaling.invert(data), fine.affine), grid, _back(from_template), order=3)
        shown = mask_on(brain.with_data(nifti.dilated(brain, SOURCE_MARGIN)), grid)
    metadata = {
        "Sources": [image, mask, preprocessed],
        "SkullStripped": True,
        "Method": cards[0]["method"],
        "Models": [_summary(folder, card) for folder, card in zip(folders, cards, strict=True)],
        "IntensityOffset": scaling.offset,
        "IntensityScale": scaling.scale,
        "Intensity": "intensities on the median scale of the targets that the model was trained on",
    }
    save_image(moved.with_data(np.where(shown, moved.data, 0).astype(np.float32)), output, metadata)


def _back(from_template: str | None) -> Transform | None:
    return None if from_template is None else nifti.read_transform(from_template)


def _divided(native: Grid, fine: Grid, scale: Scale) -> Grid:
    """A native grid with voxels divided, each axis by its own number, towards those of `fine` (RAS+ axes)."""
    axes = nifti.world_axes(native.affine)
    if scale != SAME:
        parts = [scale[axis] for axis in axes]
    else:
        parts = [max(round(float(own / fine.spacing[axis])), 1) for own, axis in zip(native.spacing, axes, strict=True)]
    return nifti.refine(native, (parts[0], parts[1], parts[2]))


def _summary(folder: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar says of a model: enough to find it again."""
    kept = ("preset", "fold", "seed", "best_epoch", "split_sha", "upfield", "git_commit")
    return {
        "Folder": folder,
        "Digest": digest(Path(folder) / "model.safetensors"),
        "TrainingParticipants": len(card["participants"]["train"]),
        **{"".join(part.capitalize() for part in key.split("_")): card[key] for key in kept if key in card},
    }


def harmonise(method: str, files: Any, output: str, run: Inference) -> None:
    """A source scan of an unpaired study on its own native grid, in intensities of the target's scanner.

    `files` names the native `image` and `mask`, the `preprocessed` scan, `models` (none for `identity`) and `targets`,
    the sidecars of the training participants of the target. `identity` is the scan itself, its robust range put on
    that of the target's scanner as every method's is, and not interpolated. Nor is the scan by networks: what they
    change on the working grid is added to it, so its own detail is kept (see `carried_back`). The sidecar of a
    network's output says how far the scan is from where the way back leads, `CycleError`: mean absolute difference in
    the brain, relative to the scan's robust range.
    """
    native, mask = nifti.load(files.image), nifti.load_mask(files.mask)
    metadata: dict[str, Any] = {
        "Sources": [files.image, files.mask, files.preprocessed],
        "SpatialReference": files.image,
        "Method": method,
    }
    try:
        own, scale = scaling_of(files.preprocessed), cohort_scaling(files.targets)
    except ScanError as error:
        save_image(native, output, metadata | {"Excluded": str(error), "SkullStripped": False})
        return
    folders = _folders(files.models)
    if method in INTERPOLATION_ORDER:
        data = own.apply(native.data)
        if method == "histogram_match":
            data = histograms.match_histogram(data, mask.data, load_file(files.models[0])["quantiles"])
        result = native.with_data(scale.invert(data))
    else:
        from upfield.methods import model
        from upfield.predict import inference

        options = run.options()
        networks, cards = zip(*(model.load(folder) for folder in folders), strict=True)
        source = _network_input(files.preprocessed, cards[0])
        outputs = [inference.enhance([network], source.data, **options) for network in networks]
        cycled = np.mean(
            [inference.enhance([n], o, reverse=True, **options) for n, o in zip(networks, outputs, strict=True)], axis=0
        )
        inside = mask_on(mask, source.grid)
        low, high = robust_range(source.data, inside)
        metadata["CycleError"] = float(np.abs(cycled - source.data)[inside].mean() / (high - low))
        change = source.with_data(np.mean(outputs, axis=0) - source.data)
        moved = _changed(native, mask, change, files.preprocessed, cards[0], scale)
        result = moved.with_data(np.where(mask.data, moved.data, 0))
    metadata |= {
        "SkullStripped": bool(folders) and method not in INTERPOLATION_ORDER,
        "Models": folders,
        "Intensity": "intensities on the median scale of the target's training participants",
        "IntensityOffset": scale.offset,
        "IntensityScale": scale.scale,
    }
    save_image(result.with_data(result.data.astype(np.float32)), output, metadata)


def _changed(
    native: Volume, mask: Volume, change: Volume, preprocessed: str, card: Mapping[str, Any], scale: Scaling
) -> Volume:
    """A native scan with the `change` that a network made to its `preprocessed` version, in its brain.

    In intensities of `scale`; `native` and `mask` share a grid, and `card` is the network's.
    """
    own, curve = scaling_of(preprocessed).apply(native.data), _curve(preprocessed, card)
    shown = own if curve is None else curve.apply(own)
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
    found = [metadata for metadata in map(read_json, sidecars) if "Excluded" not in metadata]
    if not found:
        raise ScanError("no usable target among the training participants")
    offset, scale = (float(np.median([m[key] for m in found])) for key in ("IntensityOffset", "IntensityScale"))
    return Scaling(offset, scale)


def _folders(models: Sequence[str]) -> list[str]:
    """Folders of the models that a rule's inputs are files of, each once."""
    return list(dict.fromkeys(str(Path(path).parent) for path in models))


def _network_input(preprocessed: str, card: Mapping[str, Any]) -> Volume:
    """A preprocessed source, on the standard scale of the model's training sources if it has one (Nyúl's method).

    The output stays on the standard scale of the targets: a target's own landmarks are not a model's to know.
    """
    source, curve = nifti.load(preprocessed), _curve(preprocessed, card)
    return source if curve is None else source.with_data(curve.apply(source.data))


def _curve(preprocessed: str, card: Mapping[str, Any]) -> Curve | None:
    """What leads from a source's normalised values to the standard scale of the model's training sources, if any."""
    standard, own = card.get("standard_scale", {}).get("source"), landmarks_of(preprocessed)
    return None if standard is None or own is None else Curve(own, standard)


def _scales(files: Any) -> tuple[Scaling, Scaling]:
    """Normalisation of source and target; of an excluded pair, which nobody will measure, no change at all."""
    try:
        return scaling_of(files.source_preproc), scaling_of(files.target_preproc)
    except ScanError:
        return Scaling(0.0, 1.0), Scaling(0.0, 1.0)


def _write(
    volume: Volume,
    output: str,
    method: str,
    files: Any,
    models: Sequence[str],
    more: Mapping[str, Any] | None = None,
) -> None:
    metadata: dict[str, Any] = {
        "Sources": [files.source, files.target, files.transform],
        "SpatialReference": files.target,
        "SkullStripped": bool(models),
        "Method": method,
        "Models": list(models),
        "Intensity": DESCRIPTION,
        **(more or {}),
    }
    save_image(volume.with_data(volume.data.astype(np.float32)), output, metadata)
