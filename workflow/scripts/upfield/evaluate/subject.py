"""Metrics of one participant: every method against the native target, in the brain and in its regions."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from upfield.errors import ScanError, UpfieldError
from upfield.evaluate import metrics as quality
from upfield.evaluate.metrics.regions import regions_of
from upfield.evaluate.metrics.volume import WholeVolume
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.preprocess.stage import excluded

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
OWN = ["participant_id", "region", "metric", "value"]
# What the whole volume is computed from.
BASIS = ["mse", "mae"]


def measure(
    predictions: Mapping[str, str],
    truth: str,
    mask: str,
    labels: Mapping[str, Mapping[int, str]],
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
    metrics: Sequence[str],
    threads: int = 1,
    from_template: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Long table of one test participant, and the truth's own values; no rows if the pair was excluded.

    Parameters
    ----------
    predictions
        File by method, on the grid of `truth`: the bias-corrected target on its native grid.
    labels
        Label images in that world: the name of each label by file. On another grid they are resampled, nearest
        neighbour. A label that does not occur is left out, and so is an image that cannot be read.
    from_template
        For label images in the space of a template: the transform that leads from it to the target's, by file.
    seeds
        Of each trained method; see `seed_label`.
    metrics
        Names; regions are brain, those of the label images, and volume (see `metrics.volume`).
    threads
        Methods measured at once.

    Raises UpfieldError if a prediction is missing, broken or not on the target's grid.

    """
    if any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=OWN)
    target, brain = nifti.load(truth), nifti.load_mask(mask).data
    regions = {"brain": brain} | _regions(labels, target, brain, from_template or {})
    data_range = quality.reference_range(target.data, brain)
    reference = quality.Reference(target.data, regions, data_range)
    whole = WholeVolume(target.data, brain, data_range)

    def rows(method: str) -> list[tuple[Any, ...]]:
        output = load_prediction(predictions[method], target, truth)
        found = reference.measure(output, [*metrics, *(name for name in BASIS if name not in metrics)])
        in_brain = {metric: value for region, metric, value in found if region == quality.BRAIN}
        found += whole.measure(output, in_brain, metrics)
        seed = seed_label(seeds.get(method, []))
        return [
            (participant, method, fold, seed, "test", region, metric, value)
            for region, metric, value in found
            if metric in metrics
        ]

    with ThreadPoolExecutor(threads) as pool:
        values = [row for part in pool.map(rows, predictions) for row in part]
    own = [(participant, *row) for row in reference.own(metrics)]
    return pd.DataFrame(values, columns=COLUMNS), pd.DataFrame(own, columns=OWN)


def seed_label(seeds: Sequence[int]) -> str:
    """The `seed` of a row: those whose models were averaged (`42+43`), n/a where nothing was trained."""
    return "+".join(map(str, seeds)) or "n/a"


def load_prediction(path: str, target: Volume, truth: str) -> Array:
    """Values of a prediction. Raises UpfieldError if it cannot be read or is not on the grid of `target`."""
    try:
        output = nifti.load(path)
    except ScanError as error:
        raise UpfieldError(f"{path}: {error}; rerun the prediction") from None
    if not output.grid.matches(target.grid):
        raise UpfieldError(f"{path} is not on the grid of {truth}; rerun the prediction")
    return output.data


def _regions(
    labels: Mapping[str, Mapping[int, str]], target: Volume, brain: Array, from_template: Mapping[str, str]
) -> dict[str, Array]:
    """The parts of label images that lie in the brain."""
    result: dict[str, Array] = {}
    for path, names in labels.items():
        try:
            image = nifti.load_labels(path)
        except ScanError as error:
            logging.warning("%s: %s; it is left out", path, error)
            continue
        moves = nifti.read_transform(from_template[path]) if path in from_template else None
        if moves is not None or not image.grid.matches(target.grid):
            image = nifti.resample(image, target.grid, moves, order=0)
        found = regions_of(image.data * brain, names)
        if not found:
            logging.warning("%s: no region in %s; it is left out", path, ", ".join(names.values()))
        result |= found
    return result


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How outputs were compared with target images, as a clause with citations; empty if by no metric."""
    settings = config.get("evaluate", {})
    if not settings.get("metrics"):
        return ""
    cited = {"ssim": " [wang2004]", "lpips": " (VGG, axial slices) [zhang2018]"}
    measured = [*settings["metrics"], *(["lpips"] if settings.get("lpips_weights") else [])]
    shown = ", ".join(name + cited.get(name, "") for name in measured)
    where = " and in tissue classes from Atropos [avants2011atropos]" if settings.get("regions") else ""
    if settings.get("atlas", {}).get("images"):
        where += " and in regions of a label image"
    return f"outputs were compared with the target in 3-D inside its brain mask{where}, on its native grid: {shown}"
