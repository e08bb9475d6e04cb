"""How large a difference is in standard deviations, and what a study of this size could show of it."""

from typing import Final

import numpy as np
from scipy import special

from upfield.evaluate.statistics.interval import ALPHA

POWER: Final = 0.8
# Participants beyond which nobody needs to know how many.
MOST: Final = 10_000
# t beyond which only the spread of sd is left of a noncentral t.
FAR: Final = 300


def hedges(mean: float, sd: float, n: int) -> tuple[float, float, float]:
    """Hedges' g of n paired differences, g_z, and the ends of its 95 % interval.

    g is mean / sd (Cohen's d_z) times the factor that takes the bias of a small sample off (Hedges 1981,
    https://doi.org/10.3102/10769986006002107; paired: Lakens 2013, https://doi.org/10.3389/fpsyg.2013.00863). It is NaN
    for fewer than 3, of whom no such factor exists. The interval is that of the true mean / sd, exact for normal
    differences: sqrt(n) d_z is noncentral t (Cumming and Finch 2001, https://doi.org/10.1177/0013164401614002). It
    leaves 0 out exactly where the paired t test has p < 0.05.
    """
    root, free = np.sqrt(n), n - 1
    t = root * mean / sd
    factor = np.exp(special.gammaln(free / 2) - special.gammaln((free - 1) / 2)) / np.sqrt(free / 2)
    low, high = (_noncentrality(free, p, t) / root for p in (1 - ALPHA / 2, ALPHA / 2))
    return float(factor * mean / sd) if n > 2 else np.nan, low, high


def _noncentrality(free: int, p: float, t: float) -> float:
    """Noncentrality at which a noncentral t with `free` degrees of freedom is below t with probability p."""
    # For negative t the library is less exact.
    if t < 0:
        return -_noncentrality(free, 1 - p, -t)
    if t > FAR:
        # The normal part is nothing beside it; the library would search for minutes.
        return float(t * np.sqrt(special.chdtri(free, p) / free))
    return float(special.nctdtrinc(free, p, t))


def detectable(sd: float, n: int) -> float:
    """Smallest true mean difference that a paired t test of n >= 2 shows with 80 % power, if `sd` is the true one."""
    return _noncentrality(n - 1, 1 - POWER, float(special.stdtrit(n - 1, 1 - ALPHA / 2))) * sd / np.sqrt(n)


def needed(g: float) -> float:
    """Participants with whom a paired t test shows a true effect of `g` with 80 % power; `MOST` for that many or more.

    NaN of NaN. What was observed is a rough guess of what is true, and of few participants a very rough one.
    """
    if np.isnan(g):
        return np.nan
    low, high = 1, 2
    # Upwards from few: far beyond what is needed the library does not know the probability.
    while power(abs(g), high) < POWER:
        low, high = high, 2 * high
        if low >= MOST:
            return float(MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(abs(g), middle) >= POWER else (middle, high)
    return float(min(high, MOST))


def power(effect: float, n: int) -> float:
    """Probability that a two-sided paired t test of n shows a true mean / sd of `effect` > 0, on its side of 0."""
    # Beyond, the probability is 1 to the last digit that counts.
    shift = min(effect * np.sqrt(n), 60.0)
    return float(1 - special.nctdtr(n - 1, shift, special.stdtrit(n - 1, 1 - ALPHA / 2)))
