"""Paired tests of methods against baselines and against each other, honest about small samples."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from upfield.evaluate.statistics import decide
from upfield.evaluate.statistics.board import bootstrap, gap, subject_table
from upfield.image.nifti import Array

COMPARISONS = [
    "method", "baseline", "metric", "n", "mean_difference", "p_t", "p_wilcoxon", "p_holm", "effect_size", "ci_low",
    "ci_high", "note", "decision",
]  # fmt: skip
# Below this many subjects the rank test cannot reach p < 0.05: with n the smallest p is 2 / 2^n.
SMALLEST = 6


def comparisons(
    values: pd.DataFrame,
    methods: Sequence[str],
    baselines: Sequence[str],
    seed: int = 0,
    *,
    higher: Collection[str] = (),
    lower: Collection[str] = (),
) -> pd.DataFrame:
    """Paired tests of every method against every baseline and every other method, per metric, test split, whole brain.

    `values` and `seed` are as for `leaderboard`, `higher` and `lower` as for `ranks`. Two methods are compared once,
    the one that comes first in `methods` as `method`, unless one of them is a baseline; a pair without common subjects
    has no row.

    Returns
    -------
    method, baseline, metric
        In the order given, metrics sorted; `baseline` is whatever the method is compared with.
    n, mean_difference
        Common subjects with two values; mean of method minus baseline over them.
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
    ci_low, ci_high
        95 % percentile bootstrap of the mean difference over subjects, as for `leaderboard`.
    note
        What a small sample cannot show, in words; NaN where there is nothing to say.
    decision
        `better`, `worse` or `undecided`, of the method: see `decide.by_test`.

    All but the mean difference, the note and the decision are NaN for one subject. Where a difference is infinite, the
    interval, p_t and effect_size are NaN; for the rank test it is the largest there is.
    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    families = []
    for metric, group in chosen.groupby("metric"):
        table = subject_table(group).reindex(columns=list(dict.fromkeys([*methods, *baselines])))
        rows = []
        for method, rival in _pairs(methods, baselines):
            pair = table[[method, rival]].dropna().to_numpy()
            if len(pair):
                rows.append({"method": method, "baseline": rival, "metric": metric, **_paired(pair, seed)})
        if rows:
            family = pd.DataFrame(rows)
            family["p_holm"] = holm(family["p_wilcoxon"].to_numpy())
            direction = int(metric in higher) - int(metric in lower)
            judged = family[["mean_difference", "rank_sum", "p_holm"]].to_numpy()
            families.append(family.assign(decision=[decide.by_test(direction, *row) for row in judged]))
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


def _pairs(methods: Sequence[str], baselines: Sequence[str]) -> list[tuple[str, str]]:
    """Every method with every baseline, then with every later method; no pair twice."""
    pairs = [(method, rival) for method in methods for rival in baselines if method != rival]
    pairs += [(method, rival) for place, method in enumerate(methods) for rival in methods[place + 1 :]]
    unique: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        unique.setdefault(frozenset(pair), pair)
    return list(unique.values())


def _paired(pair: Array, seed: int) -> dict[str, float | str]:
    """Statistics of one comparison; `pair` is (subjects, 2): method, baseline, at least one row, no NaN."""
    difference = gap(pair[:, 0], pair[:, 1])
    with np.errstate(invalid="ignore"):
        n, mean = len(difference), float(difference.mean())
    result: dict[str, float | str] = dict.fromkeys(COMPARISONS[3:], np.nan)
    result |= {"n": n, "mean_difference": mean, "rank_sum": _rank_sum(difference)}
    if n < SMALLEST:
        result["note"] = _too_few(n)
    if n < 2:
        return result
    (result["ci_low"],), (result["ci_high"],) = bootstrap(difference[:, None], seed)
    result["p_wilcoxon"] = _wilcoxon(difference)
    if np.isinf(pair).any():
        return result
    sd = float(difference.std(ddof=1))
    # Differences that are equal but for rounding would give an enormous t.
    if sd > 1e-12 * np.abs(pair).max():
        result["p_t"] = float(stats.ttest_rel(pair[:, 0], pair[:, 1]).pvalue)
        result["effect_size"] = mean / sd
    return result


def _too_few(n: int) -> str:
    """What so few subjects cannot show."""
    if n == 1:
        return "one participant: no test and no interval"
    return f"{n} participants: the rank test cannot fall below p = {2 / 2**n:g}, the interval is too narrow"


def _wilcoxon(difference: Array) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945), zero differences dropped; 1 if nothing is left."""
    moved = _moved(difference)
    return float(stats.wilcoxon(moved, method="auto").pvalue) if len(moved) else 1.0


def _moved(difference: Array) -> Array:
    """What is not 0; infinite differences as numbers beyond all others, which is what ranks see in them."""
    moved = difference[difference != 0]
    beyond = 1 + 2 * np.abs(moved[np.isfinite(moved)]).max(initial=0)
    return np.asarray(np.where(np.isfinite(moved), moved, np.sign(moved) * beyond))


def _rank_sum(difference: Array) -> float:
    """Sum of the signed ranks of what is not 0: which way the rank test points."""
    moved = _moved(difference)
    return float(np.sign(moved) @ stats.rankdata(np.abs(moved)))
