"""Ranks of methods over metrics and participants: who wins, and where the winner loses."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy import stats

from upfield.evaluate.statistics.board import bootstrap, subject_table

RANKS = ["metric", "method", "n", "mean_rank", "ci_low", "ci_high", "wins", "p_friedman"]


def ranks(values: pd.DataFrame, higher: Collection[str], lower: Collection[str], seed: int) -> pd.DataFrame:
    """Mean rank of every method by metric, test split, whole brain; metrics that are neither have no row.

    Parameters
    ----------
    values, seed
        As for `leaderboard`.
    higher, lower
        Metrics of which higher, or lower, values are better.

    Returns
    -------
    metric, method
        Sorted by metric, then mean rank.
    n
        Participants with a value of every method; infinite ones of one sign tie.
    mean_rank, ci_low, ci_high
        1 is best, ties share; 95 % bootstrap interval over participants.
    wins
        Participants for whom the method is best, ties shared out.
    p_friedman
        Friedman's test that all methods rank alike (Demsar 2006, JMLR 7:1-30); NaN for fewer than three methods or
        participants.

    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    rows = []
    for metric, group in chosen.groupby("metric"):
        if metric not in higher and metric not in lower:
            continue
        table = subject_table(group).dropna()
        if len(table) == 0 or len(table.columns) < 2:
            continue
        order = table.rank(axis=1, ascending=metric in lower)
        low, high = bootstrap(order.to_numpy(), seed)
        best = order.eq(order.min(axis=1), axis=0)
        p = np.nan
        if len(order.columns) > 2 and len(order) > 2 and (order.nunique(axis=1) > 1).any():
            p = float(stats.friedmanchisquare(*order.to_numpy().T).pvalue)
        summary = pd.DataFrame({"mean_rank": order.mean(), "ci_low": low, "ci_high": high}, index=order.columns)
        summary["wins"] = best.div(best.sum(axis=1), axis=0).sum()
        summary = summary.assign(metric=metric, n=len(order), p_friedman=p).reset_index()
        rows.append(summary.sort_values(["mean_rank", "method"])[RANKS])
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=RANKS)
