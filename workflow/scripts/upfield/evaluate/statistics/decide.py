"""Which of two is better: decided here, once, and written into tables; whatever speaks of it reads it there."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

BETTER: Final = "better"
WORSE: Final = "worse"
UNDECIDED: Final = "undecided"
# Of the adjusted p.
LEVEL = 0.05
OPPOSITE = {BETTER: WORSE, WORSE: BETTER, UNDECIDED: UNDECIDED}


def by_test(direction: int, mean: float, rank_sum: float, p_holm: float) -> str:
    """Decision on one row of paired comparisons, from the point of view of its method.

    Parameters
    ----------
    direction
        1 if higher values of the metric are better, -1 if lower ones are, 0 if neither: nothing is better then.
    mean
        Mean of method minus rival.
    rank_sum
        Sum of the signed ranks of these differences. Where its sign is not that of the mean, a few participants
        outweigh most of the others, and nothing is decided.
    p_holm
        Of the signed-rank test, adjusted. NaN decides nothing.

    """
    if not p_holm < LEVEL or np.sign(mean) != np.sign(rank_sum):
        return UNDECIDED
    return {1: BETTER, -1: WORSE}.get(int(direction * np.sign(mean)), UNDECIDED)


def by_intervals(now: tuple[float, float, float], before: tuple[float, float, float], goal: float = 0.0) -> str:
    """Decision on a distance between cohorts, each a value and its interval (low, high): smaller is better.

    Decided if the intervals do not overlap, and `better` only if the value is nearer to its `goal` too. Undecided
    where the interval of before holds the goal: then there was nothing to be gained.
    """
    if not before[1] > goal:
        return UNDECIDED
    nearer = abs(now[0] - goal) < abs(before[0] - goal)
    return BETTER if now[2] < before[1] and nearer else WORSE if now[1] > before[2] else UNDECIDED


class Compared(NamedTuple):
    """What a table of comparisons says of a method against another: the decision, and the adjusted p behind it."""

    decision: str = UNDECIDED
    p_holm: float = np.nan


def between(comparisons: pd.DataFrame, method: str, rival: str, metric: str) -> Compared:
    """A row of `metrics/comparisons.tsv` as seen from `method`, whichever of the two stands first in it.

    Undecided where there is no such row, or no decision in it: tables of older versions have none.
    """
    rows = comparisons[comparisons["metric"] == metric]
    for first, second, turned in ((method, rival, False), (rival, method, True)):
        for row in rows[(rows["method"] == first) & (rows["baseline"] == second)].itertuples():
            decision = row.decision if row.decision in OPPOSITE else UNDECIDED
            return Compared(OPPOSITE[decision] if turned else decision, float(row.p_holm))
    return Compared()
