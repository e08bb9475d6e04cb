"""Ranks of methods over metrics and participants: who wins, and where the winner loses."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from upfield.evaluate.statistics.board import subject_tables
from upfield.evaluate.statistics.compare import holm
from upfield.evaluate.statistics.interval import bounded_interval
from upfield.image.nifti import Array

RANKS = ["metric", "method", "n", "mean_rank", "ci_low", "ci_high", "wins", "p_friedman", "p_holm"]
# Of the permutation test.
PERMUTATIONS = 9999


def ranks(values: pd.DataFrame, higher: Collection[str], lower: Collection[str], seed: int) -> pd.DataFrame:
    """Mean rank of every method by metric, test split, whole brain; metrics that are neither have no row.

    Parameters
    ----------
    values
        As for `leaderboard`.
    higher, lower
        Metrics of which higher, or lower, values are better.
    seed
        Of the permutations.

    Returns
    -------
    metric, method
        Sorted by metric, then mean rank.
    n
        Participants with a value of every method; infinite ones of one sign tie.
    mean_rank, ci_low, ci_high
        1 is best, ties share; 95 % interval over participants, see `interval.bounded_interval`: on the safe side.
    wins
        Participants for whom the method is best, ties shared out.
    p_friedman
        Friedman's test that all methods rank alike (Demsar 2006, JMLR 7:1-30), by permutation of the ranks of each
        participant, 9,999 times, as the usual approximation is rough for few; NaN for fewer than three methods or
        participants.
    p_holm
        The same after Holm's correction for all metrics of the table.

    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    rows = []
    for metric, means in subject_tables(chosen).items():
        if metric not in higher and metric not in lower:
            continue
        table = means.dropna()
        if len(table) == 0 or len(table.columns) < 2:
            continue
        order = table.rank(axis=1, ascending=metric in lower)
        low, high = bounded_interval(order.to_numpy(), 1, order.shape[1])
        best = order.eq(order.min(axis=1), axis=0)
        p = np.nan
        if len(order.columns) > 2 and len(order) > 2 and (order.nunique(axis=1) > 1).any():
            p = friedman(order.to_numpy(), seed)
        summary = pd.DataFrame({"mean_rank": order.mean(), "ci_low": low, "ci_high": high}, index=order.columns)
        summary["wins"] = best.div(best.sum(axis=1), axis=0).sum()
        summary = summary.assign(metric=metric, n=len(order), p_friedman=p, p_holm=np.nan).reset_index()
        rows.append(summary.sort_values(["mean_rank", "method"])[RANKS])
    if not rows:
        return pd.DataFrame(columns=RANKS)
    table = pd.concat(rows, ignore_index=True)
    tests = table.drop_duplicates("metric").set_index("metric")["p_friedman"]
    return table.assign(p_holm=table["metric"].map(pd.Series(holm(tests.to_numpy()), tests.index)))


def friedman(ranks: Array, seed: int) -> float:
    """Share of permutations, (1 + as large) / (1 + all), in which mean ranks lie as far apart as in `ranks`.

    `ranks` is (participants, methods); those of each participant are permuted on their own. Within its rounding this
    orders permutations as Friedman's statistic does (Friedman 1937, https://doi.org/10.1080/01621459.1937.10503522).
    """
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.broadcast_to(ranks, (PERMUTATIONS, *ranks.shape)), axis=2)
    apart = drawn.sum(axis=1).var(axis=1)
    return float((1 + (apart >= ranks.sum(axis=0).var() - 1e-9).sum()) / (1 + PERMUTATIONS))
