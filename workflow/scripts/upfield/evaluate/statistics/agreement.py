"""Agreement of a quantity measured in outputs with the same quantity measured in truths."""

import logging
import warnings

import numpy as np
import pandas as pd
from scipy import stats

from upfield.image.nifti import Array

QUANTITIES = ["participant_id", "method", "region", "quantity", "output", "truth"]
AGREEMENT = [
    "method", "region", "quantity", "n", "bias", "bias_low", "bias_high", "sd", "limit_low", "limit_high", "p_slope",
    "icc_1_1", "icc_1_1_low", "icc_1_1_high", "icc_a_1", "icc_a_1_low", "icc_a_1_high", "note",
]  # fmt: skip
# Participants below which an ICC says nothing (pingouin wants five ratings).
SMALLEST_ICC = 3
# Below this many, limits of agreement are rough: their 95 % interval is as wide as the limits themselves.
FEW = 10


def agreement(quantities: pd.DataFrame) -> pd.DataFrame:
    """Bland-Altman and ICC of every quantity by method and region.

    Parameters
    ----------
    quantities
        participant_id, method, region, quantity, output, truth: one row a participant.

    Returns
    -------
    method, region, quantity, n
        `n`: participants with two finite values.
    bias, bias_low, bias_high
        Mean of output minus truth, with its 95 % t interval.
    sd, limit_low, limit_high
        Standard deviation of the differences; limits of agreement, bias -+ 1.96 sd (Bland and Altman 1986,
        https://doi.org/10.1016/S0140-6736(86)90837-8).
    p_slope
        Whether the difference grows with the mean of the two: p of Pearson's correlation between them.
    icc_1_1, icc_a_1
        Intraclass correlations, one-way and two-way absolute agreement, single measurements, with 95 % intervals
        (Shrout and Fleiss 1979; McGraw and Wong 1996, https://doi.org/10.1037/1082-989X.1.1.30), by pingouin.
    note
        What a small sample cannot show; NaN where there is nothing to say.

    What needs more participants, or values that vary, is NaN.

    """
    rows = []
    for (method, region, quantity), group in quantities.groupby(["method", "region", "quantity"], sort=True):
        pair = group.sort_values("participant_id")[["output", "truth"]].astype(float).to_numpy()
        pair = pair[np.isfinite(pair).all(axis=1)]
        if len(pair):
            rows.append({"method": method, "region": region, "quantity": quantity, **bland_altman(pair), **icc(pair)})
    return pd.DataFrame(rows, columns=AGREEMENT)


def bland_altman(pair: Array) -> dict[str, float | str]:
    """Bias and limits of agreement; `pair` is (participants, 2): output, truth, all finite, at least one row."""
    difference = pair[:, 0] - pair[:, 1]
    n, bias = len(pair), float(difference.mean())
    result: dict[str, float | str] = {"n": n, "bias": bias}
    if n < FEW:
        result["note"] = f"{n} participant{'s' * (n > 1)}: too few for limits of agreement to be trusted"
    if n < 2:
        return result
    sd = float(difference.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    result |= {"bias_low": bias - half, "bias_high": bias + half, "sd": sd}
    result |= {"limit_low": bias - 1.96 * sd, "limit_high": bias + 1.96 * sd}
    middle = pair.mean(axis=1)
    if n > 2 and np.ptp(difference) > 0 and np.ptp(middle) > 0:
        result["p_slope"] = float(stats.pearsonr(middle, difference).pvalue)
    return result


def icc(pair: Array) -> dict[str, float]:
    """ICC(1,1) and ICC(A,1) with 95 % intervals; empty for too few participants or truths that do not vary."""
    if len(pair) < SMALLEST_ICC or np.ptp(pair[:, 1]) == 0:
        return {}
    # Imported here: it takes seconds to load, and says so.
    import pingouin

    long = pd.DataFrame(
        {
            "participant": np.repeat(np.arange(len(pair)), 2),
            "rater": np.tile(["output", "truth"], len(pair)),
            "value": pair.ravel(),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = pingouin.intraclass_corr(long, "participant", "rater", "value").set_index("Type")
        except (ValueError, AssertionError, np.linalg.LinAlgError) as error:
            logging.warning("no intraclass correlation: %s", error)
            return {}
    result: dict[str, float] = {}
    for kind, name in (("ICC(1,1)", "icc_1_1"), ("ICC(A,1)", "icc_a_1")):
        low, high = table.loc[kind, "CI95"]
        result |= {name: float(table.loc[kind, "ICC"]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return result
