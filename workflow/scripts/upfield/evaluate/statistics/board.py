"""From per-subject values to a leaderboard with confidence intervals.

The subject is the unit everywhere: values of several folds, seeds or pairs are averaged within a subject first. A value
that is none (NaN: a correlation with a constant) is left out and shows in `n`. An infinite one (the PSNR of an output
that equals its target) is a value like any other, the best there is or the worst: means over it are infinite and have
no interval, and two infinite values are equal. Ranks, comparisons, headline and charts take it so as well.
"""

import numpy as np
import pandas as pd

from upfield.bids import person
from upfield.evaluate.statistics.interval import t_interval
from upfield.image.nifti import Array

GROUP = ["split", "region", "metric"]
LEADERBOARD = ["method", *GROUP, "n", "mean", "sd", "ci_low", "ci_high"]


def subject_table(values: pd.DataFrame) -> pd.DataFrame:
    """Participants in rows, methods in columns, both sorted: means over pairs, folds and seeds, NaN left out.

    `values` holds one split, region and metric: participant_id, method, fold, seed, value. The order of its rows
    does not matter, not even in the last digit.
    """
    return _means(of_people(values), ["participant_id", "method"])


def pair_table(values: pd.DataFrame) -> pd.DataFrame:
    """The same with a row for each pair of those who have several, under its own label."""
    return _means(values, ["participant_id", "method"])


def of_people(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the label of the person in the place of that of a pair."""
    return table.assign(participant_id=table["participant_id"].map(person))


def subject_tables(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`subject_table` of each metric, in their order."""
    means = _means(of_people(values), ["metric", "participant_id", "method"])
    measured = values.groupby("metric")["method"].unique()
    return {str(metric): table.droplevel(0)[sorted(measured[metric])] for metric, table in means.groupby("metric")}


def _means(values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means by `keys`, the last of them in columns."""
    known = values[keys].assign(value=values["value"].astype(float)).sort_values("value")
    return known.groupby(keys)["value"].mean().unstack(keys[-1])


def gap(first: Array, second: Array) -> Array:
    """`first` minus `second`, of any shape; two infinite values of one sign are 0 apart, what NaN leaves out is NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(first == second, 0.0, first - second))


def leaderboard(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over subjects of every method, split, region and metric, with its t interval.

    Parameters
    ----------
    values
        participant_id, method, fold, seed, split, region, metric, value: one row a measurement.

    Returns
    -------
    method, split, region, metric, n, mean, sd, ci_low, ci_high
        Sorted by the first four. `n`: subjects with a value; `sd`: over subjects, n - 1 in the denominator;
        `ci_low`, `ci_high`: 95 % t interval of the mean over subjects, see `interval.t_interval`. NaN where n is too
        small, the mean of none, the others of one, and all but n and mean where a value is infinite.

    """
    rows = []
    for keys, group in values.groupby(GROUP):
        table = subject_table(group)
        low, high = t_interval(table.to_numpy())
        with np.errstate(invalid="ignore"):
            summary = pd.DataFrame({"n": table.count(), "mean": table.mean(), "sd": table.std()}, index=table.columns)
        summary = summary.assign(ci_low=low, ci_high=high, **dict(zip(GROUP, keys, strict=True)))
        rows.append(summary.reset_index())
    if not rows:
        return pd.DataFrame(columns=LEADERBOARD)
    return pd.concat(rows)[LEADERBOARD].sort_values(LEADERBOARD[:4], ignore_index=True)
