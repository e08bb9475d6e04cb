"""How well a predicted standard deviation says how large the error is, in the brain of each participant."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from upfield.evaluate import metrics
from upfield.image import nifti
from upfield.image.nifti import Array
from upfield.preprocess.derivatives import excluded

BINS = 10
MEASURES = ["bin", "voxels", "predicted", "rmse", "spearman", "ence"]
COLUMNS = ["participant_id", "method", "fold", *MEASURES]


def reliability(error: Array, deviation: Array) -> pd.DataFrame:
    """Voxels in ten bins of equal size, from the smallest predicted standard deviation to the largest.

    Parameters
    ----------
    error, deviation
        Output minus truth and predicted standard deviation of the same voxels (N,), in one unit.

    Returns
    -------
    bin, voxels
        From 1; how many voxels it has.
    predicted, rmse
        Root mean square of the deviation and of the error. Equal in every bin if the deviation is right.
    spearman
        Rank correlation of deviation and absolute error over all voxels, the same in every row; NaN if either is
        constant.
    ence
        Expected normalised calibration error, the mean over bins of abs(predicted - rmse) / predicted (Levi et al.
        2022), the same in every row; NaN where a bin has no deviation at all.

    """
    order = np.argsort(deviation, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    predicted, rmse = (
        np.array([np.sqrt(np.mean(values[part].astype(float) ** 2)) for part in parts]) for values in (deviation, error)
    )
    varies = np.ptp(deviation) > 0 and np.ptp(np.abs(error)) > 0
    return pd.DataFrame(
        {
            "bin": range(1, len(parts) + 1),
            "voxels": [len(part) for part in parts],
            "predicted": predicted,
            "rmse": rmse,
            "spearman": float(stats.spearmanr(deviation, np.abs(error)).statistic) if varies else np.nan,
            "ence": float(np.mean(np.abs(predicted - rmse) / predicted)) if predicted.all() else np.nan,
        }
    )


def measure(
    predictions: Mapping[str, tuple[str, str]],
    truth: str,
    mask: str,
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
) -> pd.DataFrame:
    """`reliability` of each method for one test participant; no rows if the pair was excluded.

    `predictions` maps methods to their image and its standard deviation, on the grid of `truth`. Intensities are
    divided by the robust range of the truth in the brain, so that participants can be compared.
    """
    if any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=COLUMNS)
    target, brain = nifti.load(truth).data, nifti.load_mask(mask).data
    width = metrics.reference_range(target, brain)
    tables = []
    for method, paths in predictions.items():
        output, deviation = (nifti.load(path).data[brain] for path in paths)
        table = reliability((output - target[brain]) / width, deviation / width)
        tables.append(table.assign(participant_id=participant, method=method, fold=fold)[COLUMNS])
    return pd.concat(tables, ignore_index=True)
