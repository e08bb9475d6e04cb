"""Metrics of one participant: every method against the native target, in the brain and in its regions."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from upfield.errors import ScanError
from upfield.evaluate import metrics as quality
from upfield.evaluate.atlas import region_names
from upfield.evaluate.case import Case, Said
from upfield.evaluate.metrics.regions import regions_of
from upfield.evaluate.metrics.volume import WholeVolume
from upfield.evaluate.tissues import label_names
from upfield.files import write_tsv
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.step import step

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
REFERENCE_COLUMNS = ["participant_id", "region", "metric", "value"]
# What the whole volume is computed from.
BASIS = ["mse", "mae"]


# Two methods at once; every metric, of six methods.
@step(version=2, memory=(400, 250), minutes=(0.1, 0.1), threads=2)
def measure(
    case: Said,
    values: str,
    metrics: Sequence[str],
    reference_values: str | None = None,
    tissues: str | None = None,
    atlas: str | None = None,
    names: str | None = None,
    from_template: str | None = None,
    threads: int = 1,
) -> None:
    """Write what `measured` gives: the table of a test participant, and that of its reference image if wanted.

    `tissues` is the label image of `segment_reference`, `atlas` one of the user's with its table of `names`, in the
    space of a template if `from_template` leads from there to the target.
    """
    labels = {} if tissues is None else {tissues: label_names(tissues)}
    if atlas is not None and names is not None:
        labels[atlas] = region_names(names)
    moves = {} if atlas is None or from_template is None else {atlas: from_template}
    tables = measured(Case.of(case), labels, metrics, threads, moves)
    for path, table in zip((values, reference_values), tables, strict=True):
        if path is not None:
            write_tsv(path, table)


def measured(
    case: Case,
    labels: Mapping[str, Mapping[int, str]],
    metrics: Sequence[str],
    threads: int = 1,
    from_template: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Long table of one test participant, and the reference image's values; no rows if the pair was excluded.

    Parameters
    ----------
    labels
        Label images in that world: the name of each label by file. On another grid they are resampled, nearest
        neighbour. A label that does not occur is left out, and so is an image that cannot be read.
    from_template
        For label images in the space of a template: the transform that leads from it to the target's, by file.
    metrics
        Names; regions are brain, those of the label images, and volume (see `metrics.volume`).
    threads
        Methods measured at once.

    Raises UpfieldError if a prediction is missing, broken or not on the target's grid.

    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=REFERENCE_COLUMNS)
    target, brain = case.reference_image, case.brain
    regions = {"brain": brain} | _regions(labels, target, brain, from_template or {})
    data_range = quality.reference_range(target.data, brain)
    reference = quality.Reference(target.data, regions, data_range)
    whole = WholeVolume(target.data, brain, data_range)

    def rows(method: str) -> list[tuple[Any, ...]]:
        output = case.output(method)
        found = reference.measure(output, [*metrics, *(name for name in BASIS if name not in metrics)])
        in_brain = {metric: value for region, metric, value in found if region == quality.BRAIN}
        found += whole.measure(output, in_brain, metrics)
        return [
            (*case.row(method), "test", region, metric, value) for region, metric, value in found if metric in metrics
        ]

    with ThreadPoolExecutor(threads) as pool:
        values = [row for part in pool.map(rows, case.outputs) for row in part]
    own = [(case.participant, *row) for row in reference.own(metrics)]
    return pd.DataFrame(values, columns=COLUMNS), pd.DataFrame(own, columns=REFERENCE_COLUMNS)


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
    where = ""
    if settings.get("regions"):
        by_network = isinstance(settings.get("segmentation"), str)
        found = "structures that a segmentation network finds, trained on images drawn from label maps [billot2023]"
        where = f" and in {found if by_network else 'tissue classes from Atropos [avants2011atropos]'}"
    if settings.get("atlas", {}).get("images"):
        where += " and in regions of a label image"
    return f"outputs were compared with the target in 3-D inside its brain mask{where}, on its native grid: {shown}"
