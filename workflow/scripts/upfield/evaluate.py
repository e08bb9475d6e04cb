"""Metrics of one participant: every method against the native target, in the brain and in each tissue."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from upfield import metrics as quality
from upfield import nifti
from upfield.errors import ScanError, UpfieldError
from upfield.preprocess import excluded

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]


def measure(
    predictions: Mapping[str, str],
    truth: str,
    mask: str,
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
    suffix: str,
    metrics: Sequence[str],
    regions: bool,
) -> pd.DataFrame:
    """Long table of one test participant; no rows if the pair was excluded.

    The truth is the bias-corrected target on its native grid, the data range its robust range in the brain.
    `seed` names the seeds whose models were averaged (`42+43`), n/a for an interpolation.
    Raises UpfieldError if a prediction is not on the target's grid.
    """
    if any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=COLUMNS)
    target, brain = nifti.load(truth), nifti.load_mask(mask).data
    areas = {"brain": brain}
    if regions:
        try:
            areas |= quality.tissue_regions(target, brain, suffix)
        except ScanError as error:
            logging.warning("%s: only the whole brain is measured: %s", participant, error)
    data_range = quality.reference_range(target.data, brain)
    rows = []
    for method, path in predictions.items():
        seed = "+".join(map(str, seeds.get(method, []))) or "n/a"
        try:
            output = nifti.load(path)
        except ScanError as error:
            raise UpfieldError(f"{path}: {error}; rerun the prediction") from None
        if not output.grid.matches(target.grid):
            raise UpfieldError(f"{path} is not on the grid of {truth}; rerun the prediction")
        for region, metric, value in quality.compute_regions(output.data, target.data, areas, data_range, metrics):
            rows.append((participant, method, fold, seed, "test", region, metric, value))
    return pd.DataFrame(rows, columns=COLUMNS)
