"""From per-subject values to a leaderboard with confidence intervals.

The subject is the unit everywhere: values of several folds or seeds are averaged within a subject first. A value that
is none (NaN: a correlation with a constant) is left out and shows in `n`. An infinite one (the PSNR of an output that
equals its target) is a value like any other, the best there is or the worst: means over it are infinite and have no
interval, and two infinite values are equal. Ranks, comparisons, headline and charts take it so as well.
"""

import numpy as np
import pandas as pd

from upfield.image.nifti import Array

RESAMPLES = 10_000
CONFIDENCE = (2.5, 97.5)  # percentiles of the bootstrap distribution: a 95 % interval

GROUP = ["split", "region", "metric"]
LEADERBOARD = ["method", *GROUP, "n", "mean", "sd", "ci_low", "ci_high"]


def subject_table(values: pd.DataFrame) -> pd.DataFrame:
    """Participants in rows, methods in columns, both sorted: means over folds and seeds, NaN left out.

    `values` holds one split, region and metric: participant_id, method, fold, seed, value. The order of its rows
    does not matter, not even in the last digit.
    """
    ordered = values.sort_values(["participant_id", "method", "fold", "seed", "value"])
    known = ordered.assign(value=ordered["value"].astype(float))
    return known.groupby(["participant_id", "method"])["value"].mean().unstack("method")


def gap(first: Array, second: Array) -> Array:
    """`first` minus `second`, of any shape; two infinite values of one sign are 0 apart, what NaN leaves out is NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(first == second, 0.0, first - second))


def leaderboard(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean over subjects of every method, split, region and metric, with a bootstrap interval.

    Parameters
    ----------
    values
        participant_id, method, fold, seed, split, region, metric, value: one row a measurement.
    seed
        Of the bootstrap.

    Returns
    -------
    method, split, region, metric, n, mean, sd, ci_low, ci_high
        Sorted by the first four. `n`: subjects with a value; `sd`: over subjects, n - 1 in the denominator;
        `ci_low`, `ci_high`: 95 % percentile bootstrap of the mean over subjects, 10,000 resamples (Efron and
        Tibshirani 1993), the same resampled subjects for all methods. With few subjects it is narrower than it
        should be. NaN where n is too small, the mean of none, the others of one, and all but n and mean where a
        value is infinite.

    """
    rows = []
    for keys, group in values.groupby(GROUP):
        table = subject_table(group)
        low, high = bootstrap(table.to_numpy(), seed)
        with np.errstate(invalid="ignore"):
            summary = pd.DataFrame({"n": table.count(), "mean": table.mean(), "sd": table.std()}, index=table.columns)
        summary = summary.assign(ci_low=low, ci_high=high, **dict(zip(GROUP, keys, strict=True)))
        rows.append(summary.reset_index())
    if not rows:
        return pd.DataFrame(columns=LEADERBOARD)
    return pd.concat(rows)[LEADERBOARD].sort_values(LEADERBOARD[:4], ignore_index=True)


def bootstrap(table: Array, seed: int) -> tuple[Array, Array]:
    """95 % percentile interval of each column's mean over rows, NaN left out.

    NaN for fewer than two values, and where one is infinite.
    """
    finite = np.isfinite(table)
    subjects = len(table)
    # How often each subject is drawn says all about a resample, and makes the means a matrix product.
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
    counts = drawn @ finite.astype(float)
    means = np.full(counts.shape, np.nan)
    np.divide(drawn @ np.where(finite, table, 0), counts, out=means, where=counts > 0)
    low, high = (np.full(table.shape[1], np.nan) for _ in range(2))
    for column in np.flatnonzero((finite.sum(axis=0) > 1) & ~np.isinf(table).any(axis=0)):
        low[column], high[column] = np.nanpercentile(means[:, column], CONFIDENCE)
    return low, high
