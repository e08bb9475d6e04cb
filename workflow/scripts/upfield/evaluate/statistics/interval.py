"""The one interval of tables and pages: Student's t of a mean over participants, which keeps 95 % with few of them.

A percentile bootstrap of three participants holds the mean in 76 % of studies, not in 95; `benchmarks/statistics.py`
simulates how often these do.
"""

from typing import Final

import numpy as np
from scipy import special

from upfield.image.nifti import Array

# Two-sided level of every test; intervals are of 1 - ALPHA unless they say otherwise.
ALPHA: Final = 0.05


def t_interval(table: Array, alpha: float = ALPHA) -> tuple[Array, Array]:
    """Ends of the interval of each column's mean over rows, NaN left out: mean -+ t(n - 1) sd / sqrt(n).

    `table` is (participants, columns). With two values it has one degree of freedom and is very wide, and as right as
    the others. NaN for fewer than two values, and where one is infinite.

    Student 1908, https://doi.org/10.1093/biomet/6.1.1. Exact for normal values. Of a bounded metric it may reach beyond
    the bound: the sample is too small to say more.
    """
    n = np.isfinite(table).sum(axis=0)
    usable = (n > 1) & ~np.isinf(table).any(axis=0)
    low, high = (np.full(table.shape[1], np.nan) for _ in range(2))
    values = np.where(np.isnan(table), 0.0, table)[:, usable]
    known, count = np.isfinite(table)[:, usable], n[usable]
    mean = values.sum(axis=0) / count
    sd = np.sqrt((known * (values - mean) ** 2).sum(axis=0) / (count - 1))
    half = special.stdtrit(count - 1, 1 - alpha / 2) * sd / np.sqrt(count)
    low[usable], high[usable] = mean - half, mean + half
    return low, high


def bounded_interval(table: Array, least: float, most: float) -> tuple[Array, Array]:
    """As `t_interval`, of values that lie between `least` and `most` and may all be equal, such as ranks; no NaN.

    t fails there: three participants who agree would leave no doubt. Of all distributions in bounds, that on the two
    ends varies most, so that Clopper and Pearson's interval (1934, https://doi.org/10.1093/biomet/26.4.404) for
    the summed share of the way to `most` is on the safe side: it holds the mean in 95 % of studies or more.
    """
    n = len(table)
    if n < 2:
        return np.full(table.shape[1], np.nan), np.full(table.shape[1], np.nan)
    total = np.clip(((table - least) / (most - least)).sum(axis=0), 0, n)
    with np.errstate(invalid="ignore"):
        low = np.where(total > 0, special.betaincinv(total, n - total + 1, ALPHA / 2), 0.0)
        high = np.where(total < n, special.betaincinv(total + 1, n - total, 1 - ALPHA / 2), 1.0)
    return least + (most - least) * low, least + (most - least) * high


def percentile_interval(mean: float, sd: float, n: int, z: float) -> tuple[float, float]:
    """Interval of the true mean + z standard deviations of normal values, from mean and sd of n >= 2 of them.

    Exact: sqrt(n) (mean + z sigma - observed mean) / sd has a noncentral t distribution (Carkeet 2015,
    https://doi.org/10.1097/OPX.0000000000000513, for limits of agreement).
    """
    low, high = (float(special.nctdtrit(n - 1, z * np.sqrt(n), p)) for p in (ALPHA / 2, 1 - ALPHA / 2))
    return mean + low * sd / np.sqrt(n), mean + high * sd / np.sqrt(n)
