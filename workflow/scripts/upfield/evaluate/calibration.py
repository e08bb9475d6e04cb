"""How well a predicted standard deviation says how large the error is, in the brain of each participant."""

import numpy as np
import pandas as pd
from scipy import stats

from upfield.evaluate import metrics
from upfield.evaluate.case import Case, Said
from upfield.files import write_tsv
from upfield.image.nifti import Array
from upfield.step import step

BINS = 10
MEASURES = ["bin", "voxels", "predicted", "rmse", "spearman", "ence"]
COLUMNS = ["participant_id", "method", "fold", *MEASURES]


def reliability(error: Array, std: Array) -> pd.DataFrame:
    """Voxels in ten bins of equal size, from the smallest predicted standard deviation to the largest.

    Parameters
    ----------
    error, std
        Output minus target and predicted standard deviation of the same voxels (N,), in one unit.

    Returns
    -------
    bin, voxels
        From 1; how many voxels it has.
    predicted, rmse
        Root mean square of the standard deviation and of the error. Equal in every bin if the former is right.
    spearman
        Rank correlation of standard deviation and absolute error over all voxels, the same in every row; NaN if
        either is constant.
    ence
        Expected normalized calibration error, the mean over bins of abs(predicted - rmse) / predicted (Levi et al.
        2022), the same in every row; NaN where a bin has none at all.

    """
    order = np.argsort(std, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    predicted, rmse = (
        np.array([np.sqrt(np.mean(values[part].astype(float) ** 2)) for part in parts]) for values in (std, error)
    )
    varies = np.ptp(std) > 0 and np.ptp(np.abs(error)) > 0
    return pd.DataFrame(
        {
            "bin": range(1, len(parts) + 1),
            "voxels": [len(part) for part in parts],
            "predicted": predicted,
            "rmse": rmse,
            "spearman": float(stats.spearmanr(std, np.abs(error)).statistic) if varies else np.nan,
            "ence": float(np.mean(np.abs(predicted - rmse) / predicted)) if predicted.all() else np.nan,
        }
    )


@step(version=0, memory=(400, 250), minutes=(0.1, 0.1))
def calibrate(case: Said, calibration: str) -> None:
    """Write what `calibrated` gives of a test participant."""
    write_tsv(calibration, calibrated(Case.of(case)))


def calibrated(case: Case) -> pd.DataFrame:
    """`reliability` of each method whose predictions have a standard deviation; no rows if the pair was excluded.

    Intensities are divided by the robust range of the target in the brain, so that participants can be compared.
    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS)
    target, brain = case.reference_image.data, case.brain
    width = metrics.reference_range(target, brain)
    tables = []
    for method in case.uncertainties:
        output, expected = case.output(method)[brain], case.uncertainty(method)[brain]
        table = reliability((output - target[brain]) / width, expected / width)
        tables.append(table.assign(participant_id=case.participant, method=method, fold=case.fold)[COLUMNS])
    return pd.concat(tables, ignore_index=True)
