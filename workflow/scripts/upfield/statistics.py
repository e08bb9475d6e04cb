"""From per-subject values to a leaderboard with confidence intervals, and paired tests against the baselines.

The subject is the unit everywhere: values of several folds or seeds are averaged within a subject first. Values that
are not finite (an infinite PSNR, a correlation with a constant) are left out and show in `n`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from upfield.nifti import Array

RESAMPLES = 10_000
CONFIDENCE = (2.5, 97.5)  # percentiles of the bootstrap distribution: a 95 % interval

GROUP = ["split", "region", "metric"]
LEADERBOARD = ["method", *GROUP, "n", "mean", "sd", "ci_low", "ci_high"]
COMPARISONS = ["method", "baseline", "metric", "n", "mean_difference", "p_t", "p_wilcoxon", "p_holm", "effect_size"]


def subject_table(values: pd.DataFrame) -> pd.DataFrame:
    """Participants in rows, methods in columns, both sorted: means over folds and seeds of finite values, else NaN.

    `values` holds one split, region and metric: participant_id, method, fold, seed, value. The order of its rows
    does not matter, not even in the last digit.
    """
    ordered = values.sort_values(["participant_id", "method", "fold", "seed", "value"])
    finite = ordered.assign(value=ordered["value"].astype(float).replace([np.inf, -np.inf], np.nan))
    return finite.groupby(["participant_id", "method"])["value"].mean().unstack("method")


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
        Sorted by the first four. `n`: subjects with a finite value; `sd`: over subjects, n - 1 in the denominator;
        `ci_low`, `ci_high`: 95 % percentile bootstrap of the mean over subjects, 10,000 resamples (Efron and
        Tibshirani 1993), the same resampled subjects for all methods. With few subjects it is narrower than it
        should be. NaN where n is too small: the mean of none, the others of one.

    """
    rows = []
    for keys, group in values.groupby(GROUP):
        table = subject_table(group)
        low, high = _bootstrap(table.to_numpy(), seed)
        summary = pd.DataFrame({"n": table.count(), "mean": table.mean(), "sd": table.std()}, index=table.columns)
        summary = summary.assign(ci_low=low, ci_high=high, **dict(zip(GROUP, keys, strict=True)))
        rows.append(summary.reset_index())
    if not rows:
        return pd.DataFrame(columns=LEADERBOARD)
    return pd.concat(rows)[LEADERBOARD].sort_values(LEADERBOARD[:4], ignore_index=True)


def comparisons(values: pd.DataFrame, methods: Sequence[str], baselines: Sequence[str]) -> pd.DataFrame:
    """Paired tests of every method against every baseline, per metric, on the test split in the whole brain.

    `values` is as for `leaderboard`; a method is not compared with itself where it is a baseline too, and a pair
    without common subjects has no row.

    Returns
    -------
    method, baseline, metric
        In the order given, metrics sorted.
    n, mean_difference
        Common subjects with two finite values; mean of method minus baseline over them.
    p_t
        Two-sided paired t test. NaN if the differences do not vary.
    p_wilcoxon
        Two-sided Wilcoxon signed-rank test, zero differences dropped; exact up to 13 subjects, and up to 50 if no
        two differences are of equal size; 1 if all differences are zero.
    p_holm
        `p_wilcoxon` after Holm (1979), for all rows of one metric. The rank test is the one adjusted since it does not
        assume normal differences, which a handful of subjects cannot show. A family is a metric since metrics
        are views of one question, not separate claims. With n subjects p_wilcoxon cannot go below 2 / 2^n:
        0.25 for 3 subjects, 0.0625 for 5. A small study cannot reach 0.05 this way, and that is as it should be.
    effect_size
        Paired Cohen's d_z: mean / standard deviation of the differences. NaN if they do not vary.

    All but the mean difference are NaN for one subject.
    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    families = []
    for metric, group in chosen.groupby("metric"):
        table = subject_table(group).reindex(columns=list(dict.fromkeys([*methods, *baselines])))
        rows = []
        for method in methods:
            for baseline in baselines:
                pair = table[[method, baseline]].dropna().to_numpy()
                if method != baseline and len(pair):
                    rows.append({"method": method, "baseline": baseline, "metric": metric, **_paired(pair)})
        if rows:
            family = pd.DataFrame(rows)
            families.append(family.assign(p_holm=holm(family["p_wilcoxon"].to_numpy())))
    if not families:
        return pd.DataFrame(columns=COMPARISONS)
    return pd.concat(families, ignore_index=True)[COMPARISONS]


def holm(p: Array) -> Array:
    """Holm's step-down adjustment of p values, shape (N,); NaN stays NaN and does not count as a test.

    Holm 1979, A simple sequentially rejective multiple test procedure, Scand J Stat 6:65-70.
    """
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested])]
    adjusted = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _bootstrap(table: Array, seed: int) -> tuple[Array, Array]:
    """95 % percentile interval of each column's mean over rows, NaN left out; NaN for fewer than two values."""
    finite = np.isfinite(table)
    subjects = len(table)
    # How often each subject is drawn says all about a resample, and makes the means a matrix product.
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
    counts = drawn @ finite.astype(float)
    means = np.full(counts.shape, np.nan)
    np.divide(drawn @ np.where(finite, table, 0), counts, out=means, where=counts > 0)
    low, high = (np.full(table.shape[1], np.nan) for _ in range(2))
    for column in np.flatnonzero(finite.sum(axis=0) > 1):
        low[column], high[column] = np.nanpercentile(means[:, column], CONFIDENCE)
    return low, high


def _paired(pair: Array) -> dict[str, float]:
    """Statistics of one comparison; `pair` is (subjects, 2): method, baseline, at least one row, all finite."""
    difference = pair[:, 0] - pair[:, 1]
    n, mean = len(difference), float(difference.mean())
    result = {"n": n, "mean_difference": mean, "p_t": np.nan, "p_wilcoxon": np.nan, "effect_size": np.nan}
    if n < 2:
        return result
    result["p_wilcoxon"] = _wilcoxon(difference)
    sd = float(difference.std(ddof=1))
    # Differences that are equal but for rounding would give an enormous t.
    if sd > 1e-12 * np.abs(pair).max():
        result["p_t"] = float(stats.ttest_rel(pair[:, 0], pair[:, 1]).pvalue)
        result["effect_size"] = mean / sd
    return result


def _wilcoxon(difference: Array) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945), zero differences dropped; 1 if nothing is left."""
    moved = difference[difference != 0]
    return float(stats.wilcoxon(moved, method="auto").pvalue) if len(moved) else 1.0
