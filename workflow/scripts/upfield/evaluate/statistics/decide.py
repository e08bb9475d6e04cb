"""Which of two is better: decided here, once, and written into tables; whatever speaks of it reads it there."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from upfield.evaluate.statistics.interval import ALPHA

BETTER: Final = "better"
WORSE: Final = "worse"
UNDECIDED: Final = "undecided"
# Whatever difference there is is too small to matter.
SAME: Final = "same"
# Families of comparisons: what was named before the run, and all else.
PRIMARY: Final = "primary"
EXPLORATORY: Final = "exploratory"
OPPOSITE = {BETTER: WORSE, WORSE: BETTER, UNDECIDED: UNDECIDED, SAME: SAME}


def by_test(
    direction: int,
    sign: float,
    p: float,
    mean: float = np.inf,
    low: float = np.nan,
    high: float = np.nan,
    relevant: float = 0.0,
) -> str:
    """Decision on one row of paired comparisons, from the point of view of its method.

    Better or worse takes both: that the difference is more than chance, and that it is not smaller than what matters.

    Parameters
    ----------
    direction
        1 if higher values of the metric are better, -1 if lower ones are, 0 if neither: nothing is better then.
    sign
        Of method minus rival; 0 if it cannot be told.
    p
        Of the test of this difference, adjusted for the comparisons that it stands among. NaN decides nothing.
    mean, low, high
        The difference and its interval, adjusted as `p` is.
    relevant
        The smallest difference that matters. An interval that lies wholly within it says that the two are the same
        (equivalence by two one-sided tests: Schuirmann 1987, https://doi.org/10.1007/BF01068419). 0: any matters.

    """
    if max(-low, high) < relevant:
        return SAME
    if not p < ALPHA or abs(mean) < relevant:
        return UNDECIDED
    return {1: BETTER, -1: WORSE}.get(int(direction * sign), UNDECIDED)


def non_inferior(direction: int, low: float, high: float, margin: float) -> str:
    """Whether the 95 % interval (low, high) of method minus rival shows that the method is worse by less than `margin`.

    `shown` or `not shown`; the latter too for a metric without direction and for a difference without interval.
    One-sided, that is a test at 2.5 % (Piaggio et al. 2012, https://doi.org/10.1001/jama.2012.87802).
    """
    return "shown" if (low if direction > 0 else -high) > -margin and direction else "not shown"


def by_change(change: tuple[float, float], before: float, now: float, p_before: float, goal: float = 0.0) -> str:
    """Decision on a distance between cohorts, whose value was `before` and is `now`: smaller is better.

    Decided if the interval (low, high) of the `change` leaves 0 out, and `better` only if the value is nearer to
    its `goal` too. Undecided where nothing told the cohorts apart before: then there was nothing to be gained.
    """
    low, high = change
    if not p_before < ALPHA or not (low > 0 or high < 0):
        return UNDECIDED
    nearer = abs(now - goal) < abs(before - goal)
    return BETTER if high < 0 and nearer else WORSE if low > 0 else UNDECIDED


class Compared(NamedTuple):
    """What a table of comparisons says of a method against another.

    Attributes
    ----------
    decision, p
        The decision, and the adjusted p behind it.
    n, mean, low, high
        Common participants, mean difference, and the interval that leaves 0 out exactly where p is below 0.05; NaN
        where there is none.
    primary, alone
        Whether the study named this comparison before it ran, and only this one, so that nothing is adjusted.
    detectable, needed
        The smallest difference that these participants could show, and how many would show the observed one.
    non_inferior
        What `non_inferior` said of it; empty where nobody asked.
    relevant
        The smallest difference that matters; 0 where the study named none.

    """

    decision: str = UNDECIDED
    p: float = np.nan
    n: int = 0
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    primary: bool = False
    alone: bool = False
    detectable: float = np.nan
    needed: float = np.nan
    non_inferior: str = ""
    relevant: float = 0.0

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low))

    @property
    def small(self) -> bool:
        """Whether it is more than chance, and may yet be too small to matter."""
        return self.decision == UNDECIDED and self.p < ALPHA and abs(self.mean) < self.relevant

    @property
    def turned(self) -> "Compared":
        """The same, seen from the other side; non-inferiority cannot be."""
        return self._replace(
            decision=OPPOSITE[self.decision], mean=-self.mean, low=-self.high, high=-self.low, non_inferior=""
        )


def between(comparisons: pd.DataFrame, method: str, rival: str, metric: str) -> Compared:
    """A row of `metrics/comparisons.tsv` as seen from `method`, whichever of the two stands first in it.

    Undecided where there is no such row.
    """
    rows = comparisons[comparisons["metric"] == metric]
    for first, second, turned in ((method, rival, False), (rival, method, True)):
        for row in rows[(rows["method"] == first) & (rows["baseline"] == second)].itertuples():
            found = Compared(
                row.decision,
                float(row.p_holm),
                int(row.n),
                float(row.mean_difference),
                float(row.adjusted_low),
                float(row.adjusted_high),
                row.family == PRIMARY,
                bool((comparisons["family"] == row.family).sum() == 1),
                float(row.detectable),
                float(row.needed),
                row.non_inferior if isinstance(row.non_inferior, str) else "",
                0.0 if np.isnan(row.relevant) else float(row.relevant),
            )
            return found.turned if turned else found
    return Compared()


def primary_metric(comparisons: pd.DataFrame, default: str) -> str:
    """The metric that was named to decide, or `default` where none was or it was not measured."""
    rows = comparisons[comparisons["family"] == PRIMARY]
    return default if rows.empty else str(rows["metric"].iloc[0])


def named(comparisons: pd.DataFrame, metric: str) -> tuple[str, list[str]]:
    """The method of the primary comparison by `metric`, and what it is compared with; empty where there is none."""
    rows = comparisons[(comparisons["family"] == PRIMARY) & (comparisons["metric"] == metric)]
    return ("", []) if rows.empty else (str(rows["method"].iloc[0]), [str(name) for name in rows["baseline"]])
