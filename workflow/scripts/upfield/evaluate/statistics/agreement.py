"""Agreement of a quantity measured in outputs with the same quantity measured in reference images."""

import numpy as np
import pandas as pd
from scipy import stats

from upfield.evaluate.statistics.board import of_people
from upfield.evaluate.statistics.interval import percentile_interval, t_interval
from upfield.image.nifti import Array

QUANTITIES = ["participant_id", "method", "region", "quantity", "output", "truth"]
AGREEMENT = [
    "method", "region", "quantity", "n", "bias", "bias_low", "bias_high", "sd", "limit_low", "limit_high", "p_slope",
    "icc_1_1", "icc_1_1_low", "icc_1_1_high", "icc_a_1", "icc_a_1_low", "icc_a_1_high", "note",
    "limit_low_low", "limit_low_high", "limit_high_low", "limit_high_high", "next_low", "next_high",
]  # fmt: skip
# Participants below which an ICC says nothing.
SMALLEST_ICC = 3
# Below this many, each limit of agreement has an interval that is wider than the distance between the two.
FEW = 10
# Limits of agreement are so many standard deviations from the bias.
LIMITS = 1.96


def agreement(quantities: pd.DataFrame) -> pd.DataFrame:
    """Bland-Altman and ICC of every quantity by method and region.

    Parameters
    ----------
    quantities
        participant_id, method, region, quantity, output, truth: one row a pair; those of a participant are averaged.

    Returns
    -------
    method, region, quantity, n
        `n`: participants with two finite values.
    bias, bias_low, bias_high
        Mean of output minus reference, with its 95 % t interval.
    sd, limit_low, limit_high
        Standard deviation of the differences; limits of agreement, bias -+ 1.96 sd (Bland and Altman 1986,
        https://doi.org/10.1016/S0140-6736(86)90837-8).
    p_slope
        Whether the difference grows with the mean of the two: p of Pearson's correlation between them.
    icc_1_1, icc_a_1
        Intraclass correlations, one-way and two-way absolute agreement, single measurements, with 95 % intervals
        (`intraclass`).
    note
        What a small sample cannot show; NaN where there is nothing to say.
    limit_low_low, limit_low_high, limit_high_low, limit_high_high
        95 % interval of the lower and of the upper limit, exact for normal differences, see
        `interval.percentile_interval`.
    next_low, next_high
        Where the difference of one more participant lies with 95 %: bias -+ t(n - 1) sd sqrt(1 + 1 / n). Limits
        of agreement, estimated from few, hold fewer than 95 % of them.

    What needs more participants, or values that vary, is NaN.

    """
    rows = []
    for (method, region, quantity), group in quantities.groupby(["method", "region", "quantity"], sort=True):
        known = group[["participant_id", "output", "truth"]].astype({"output": float, "truth": float})
        known = known[np.isfinite(known[["output", "truth"]]).all(axis=1)]
        pair = of_people(known).groupby("participant_id")[["output", "truth"]].mean().to_numpy()
        if len(pair):
            rows.append({"method": method, "region": region, "quantity": quantity, **bland_altman(pair), **icc(pair)})
    return pd.DataFrame(rows, columns=AGREEMENT)


def bland_altman(pair: Array) -> dict[str, float | str]:
    """Bias and limits of agreement; `pair` is (participants, 2): output, reference, all finite, at least one row."""
    difference = pair[:, 0] - pair[:, 1]
    n, bias = len(pair), float(difference.mean())
    result: dict[str, float | str] = {"n": n, "bias": bias}
    if n < FEW:
        result["note"] = f"{n} participant{'s' * (n > 1)}: the limits of agreement are rough, see their intervals"
    if n < 2:
        return result
    sd = float(difference.std(ddof=1))
    (low,), (high,) = t_interval(difference[:, None])
    result |= {"bias_low": low, "bias_high": high, "sd": sd}
    for name, sign in (("limit_low", -1), ("limit_high", 1)):
        result[name] = bias + sign * LIMITS * sd
        result[f"{name}_low"], result[f"{name}_high"] = percentile_interval(bias, sd, n, sign * LIMITS)
    reach = (high - low) / 2 * np.sqrt(n + 1)
    result |= {"next_low": bias - reach, "next_high": bias + reach}
    middle = pair.mean(axis=1)
    if n > 2 and np.ptp(difference) > 0 and np.ptp(middle) > 0:
        result["p_slope"] = float(stats.pearsonr(middle, difference).pvalue)
    return result


def icc(pair: Array) -> dict[str, float]:
    """ICC(1,1) and ICC(A,1) with 95 % intervals; empty for too few participants or targets that do not vary."""
    if len(pair) < SMALLEST_ICC or np.ptp(pair[:, 1]) == 0:
        return {}
    return {
        f"{name}{end}": value
        for name, values in intraclass(pair).items()
        for end, value in zip(("", "_low", "_high"), values, strict=True)
    }


def intraclass(ratings: Array) -> dict[str, tuple[float, float, float]]:
    """Intraclass correlations of single measurements: each with the ends of its 95 % interval.

    Parameters
    ----------
    ratings
        (n, k): n >= 2 participants, each measured by the same k >= 2 raters; all finite.

    Returns
    -------
    icc_1_1
        One-way random effects, ICC(1,1). Its interval is exact.
    icc_a_1
        Two-way random effects, absolute agreement, ICC(A,1), which is ICC(2,1) of Shrout and Fleiss. Its interval takes
        Satterthwaite's degrees of freedom.

    From the mean squares of an analysis of variance (Shrout and Fleiss 1979, https://doi.org/10.1037/0033-2909.86.2.420)
    and quantiles of F (McGraw and Wong 1996, https://doi.org/10.1037/1082-989X.1.1.30, tables 4 and 7). Raters that
    agree exactly have 1 throughout.

    """
    n, k = ratings.shape
    mean, rows, columns = ratings.mean(), ratings.mean(axis=1), ratings.mean(axis=0)
    between = k * ((rows - mean) ** 2).sum() / (n - 1)
    raters = n * ((columns - mean) ** 2).sum() / (k - 1)
    residual = ((ratings - rows[:, None] - columns + mean) ** 2).sum() / ((n - 1) * (k - 1))
    within = ((ratings - rows[:, None]) ** 2).sum() / (n * (k - 1))
    if within == 0:
        return dict.fromkeys(("icc_1_1", "icc_a_1"), (1.0, 1.0, 1.0))

    def one_way(ratio: float) -> float:
        return float((ratio - 1) / (ratio + k - 1))

    observed, free = between / within, n * (k - 1)
    one = (
        one_way(observed),
        one_way(observed / stats.f.ppf(0.975, n - 1, free)),
        one_way(observed * stats.f.ppf(0.975, free, n - 1)),
    )
    two = float((between - residual) / (between + (k - 1) * residual + k * (raters - residual) / n))
    # As in the paper, multiplied out so that no residual, raters that differ by a constant, needs no division by it.
    weight = n * (1 + (k - 1) * two) - k * two
    numerator = (k * two * raters + weight * residual) ** 2
    free = numerator * (n - 1) * (k - 1) / ((n - 1) * (k * two * raters) ** 2 + (weight * residual) ** 2)
    low, high = stats.f.ppf(0.975, n - 1, free), stats.f.ppf(0.975, free, n - 1)
    error = k * raters + (k * n - k - n) * residual
    with np.errstate(invalid="ignore"):
        two_low = n * (between - low * residual) / (low * error + n * between)
        two_high = n * (high * between - residual) / (error + n * high * between)
    return {"icc_1_1": one, "icc_a_1": (two, float(two_low), float(two_high))}
