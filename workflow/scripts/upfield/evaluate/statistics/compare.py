"""Paired tests of methods against baselines and against each other, honest about small samples.

One test decides, the paired t test, since its interval says the same: it leaves 0 out exactly where p < 0.05.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from scipy import special, stats

from upfield.evaluate.statistics import decide, effect
from upfield.evaluate.statistics.board import gap, subject_tables
from upfield.evaluate.statistics.interval import ALPHA, t_interval
from upfield.evaluate.statistics.plan import Primary
from upfield.image.nifti import Array

COMPARISONS = [
    "method", "baseline", "metric", "n", "mean_difference", "p_t", "p_wilcoxon", "p_holm", "effect_size", "ci_low",
    "ci_high", "note", "decision", "family", "adjusted_level", "adjusted_low", "adjusted_high", "hedges_g", "g_low",
    "g_high", "detectable", "needed", "non_inferior", "relevant",
]  # fmt: skip
# Below this many subjects a sample says nothing about whether differences are normal, and the rank test, which asks
# for less, cannot reach p < 0.05: with n the smallest p is 2 / 2^n.
SMALLEST = 6
NONE = Primary()
ANY: Final[Mapping[str, float | None]] = MappingProxyType({})


def comparisons(
    values: pd.DataFrame,
    methods: Sequence[str],
    baselines: Sequence[str],
    *,
    higher: Collection[str] = (),
    lower: Collection[str] = (),
    primary: Primary = NONE,
    relevant: Mapping[str, float | None] = ANY,
) -> pd.DataFrame:
    """Paired tests of every method against every baseline and every other method, per metric, test split, whole brain.

    `values` are as for `leaderboard`, `higher` and `lower` as for `ranks`; `relevant` is the smallest difference that
    matters, by metric, in its units: what is smaller for certain is called the same. Two methods are compared once,
    the one that comes first in `methods` as `method`, unless one of them is a baseline; a pair without common subjects
    has no row.

    Returns
    -------
    method, baseline, metric
        In the order given, metrics sorted; `baseline` is whatever the method is compared with. In rows of the primary
        comparison `method` is the one that is judged.
    n, mean_difference
        Common subjects with two values; mean of method minus baseline over them.
    p_t
        Two-sided paired t test. NaN if the differences do not vary or one is infinite.
    p_wilcoxon
        Two-sided Wilcoxon signed-rank test, zero differences dropped; exact up to 13 subjects, and up to 50 if no
        two differences are of equal size; 1 if all differences are zero. It decides only where there is no p_t.
    p_holm
        The p that decides, after Holm (1979): p_t, or p_wilcoxon where there is none. For the rows of the primary
        comparison among themselves; of all others, of all metrics, together.
    effect_size
        Paired Cohen's d_z: mean / standard deviation of the differences. NaN if they do not vary.
    ci_low, ci_high
        95 % t interval of the mean difference: leaves 0 out exactly where p_t < 0.05.
    note
        What a small sample cannot show, in words; NaN where there is nothing to say.
    decision
        `better`, `worse`, `same` or `undecided`, of the method: see `decide.by_test`.
    family
        `primary` or `exploratory`.
    adjusted_level, adjusted_low, adjusted_high
        t interval that leaves 0 out exactly where p_holm < 0.05, and its level: 1 - 0.05 / (m - r), with m tests in
        the family of which Holm rejects r (at most m - 1 count). Holm rejects p below 0.05 / (m - r + 1) and
        smaller, none above 0.05 / (m - r), so that one level does for all rows.
    hedges_g, g_low, g_high
        Standardized mean difference, see `effect.hedges`; its interval agrees with p_t.
    detectable
        See `effect.detectable`: the smallest difference that n subjects could show, at 0.05 without correction.
    needed
        See `effect.needed`, of Hedges' g.
    non_inferior
        `shown` or `not shown`, see `decide.non_inferior`, of the primary comparison where it has a margin; else NaN.
    relevant
        The smallest difference that matters; NaN where none was named.

    All but the mean difference, the note, the decision and the family are NaN for one subject. Where a difference is
    infinite, whatever comes of the t test is NaN; for the rank test it is the largest there is.
    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    rows = []
    for metric, means in subject_tables(chosen).items():
        table = means.reindex(columns=list(dict.fromkeys([*methods, *baselines])))
        direction = int(metric in higher) - int(metric in lower)
        for method, rival in _pairs(methods, baselines):
            pair = table[[method, rival]].to_numpy()
            pair = pair[~np.isnan(pair).any(axis=1)]
            if len(pair):
                claimed = primary.holds(method, rival, metric)
                first, second = (rival, method) if claimed and rival == primary.method else (method, rival)
                named = {"method": first, "baseline": second, "metric": metric}
                named |= {"family": decide.PRIMARY if claimed else decide.EXPLORATORY}
                paired = _paired(pair if first == method else pair[:, ::-1])
                rows.append({**named, "direction": direction, **paired})
    if not rows:
        return pd.DataFrame(columns=COMPARISONS)
    found = pd.DataFrame(rows)
    found = pd.concat([_adjusted(part) for _, part in found.groupby("family")]).sort_index()
    found["relevant"] = found["metric"].map(relevant).astype(float)
    judged = found[["direction", "sign", "p_holm", "mean_difference", "adjusted_low", "adjusted_high"]].to_numpy()
    found["decision"] = [
        decide.by_test(int(direction), sign, p, mean, low, high, limit)
        for (direction, sign, p, mean, low, high), limit in zip(judged, found["relevant"].fillna(0.0), strict=True)
    ]
    if primary.margin is not None:
        asked = found["family"] == decide.PRIMARY
        shown = [
            decide.non_inferior(int(direction), low, high, primary.margin)
            for direction, low, high in found.loc[asked, ["direction", "ci_low", "ci_high"]].to_numpy()
        ]
        found["non_inferior"] = pd.Series(shown, found.index[asked], dtype=object)
    return found.reindex(columns=COMPARISONS)


def _adjusted(family: pd.DataFrame) -> pd.DataFrame:
    """The rows of one family with `p_holm` and the interval that agrees with it."""
    p = family["p_t"].fillna(family["p_wilcoxon"]).to_numpy()
    after = holm(p)
    left = max(int(np.isfinite(p).sum()) - int((after < ALPHA).sum()), 1)
    half = special.stdtrit(np.maximum(family["n"] - 1, 1), 1 - ALPHA / left / 2) * family["sd"] / np.sqrt(family["n"])
    # Where there is no t test the differences have no spread to speak of, and their own interval is all there is.
    half = half.where(family["p_t"].notna(), family["ci_high"] - family["mean_difference"])
    return family.assign(
        p_holm=after,
        adjusted_level=np.where(half.notna(), 1 - ALPHA / left, np.nan),
        adjusted_low=family["mean_difference"] - half,
        adjusted_high=family["mean_difference"] + half,
    )


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


def _paired(pair: Array) -> dict[str, float | str]:
    """Statistics of one comparison; `pair` is (subjects, 2): method, baseline, at least one row, no NaN.

    Beside columns of the table `sd` of the differences and `sign`, 0 where mean and ranks, which then decide, differ.
    """
    difference = gap(pair[:, 0], pair[:, 1])
    with np.errstate(invalid="ignore"):
        n, mean = len(difference), float(difference.mean())
    result: dict[str, float | str] = dict.fromkeys(COMPARISONS[3:], np.nan)
    del result["family"]
    result |= {"n": n, "mean_difference": mean, "sign": np.sign(mean), "sd": np.nan}
    if n < SMALLEST:
        result["note"] = _too_few(n)
    if n < 2:
        return result
    result["p_wilcoxon"] = _wilcoxon(difference)
    sd = float(difference.std(ddof=1)) if np.isfinite(difference).all() else np.nan
    # Differences that are equal but for rounding would give an enormous t.
    if np.isinf(pair).any() or not sd > 1e-12 * np.abs(pair).max():
        # A few infinite values can outweigh most of the others in the mean, and do not among ranks.
        result["sign"] = np.sign(mean) if np.sign(mean) == np.sign(_rank_sum(difference)) else 0
        if not difference.any():
            result |= {"ci_low": 0.0, "ci_high": 0.0}
        return result
    (low,), (high,) = t_interval(difference[:, None])
    g, g_low, g_high = effect.hedges(mean, sd, n)
    return result | {
        "sd": sd,
        "p_t": float(2 * special.stdtr(n - 1, -abs(mean / sd) * np.sqrt(n))),
        "effect_size": mean / sd,
        "ci_low": low,
        "ci_high": high,
        "hedges_g": g,
        "g_low": g_low,
        "g_high": g_high,
        "detectable": effect.detectable(sd, n),
        "needed": effect.needed(g),
    }


def _too_few(n: int) -> str:
    """What so few subjects cannot show."""
    if n == 1:
        return "one participant: no test and no interval"
    return (
        f"{n} participants: too few to see whether differences are normal, as test and interval take them to be; a"
        f" rank test, which does not, cannot fall below p = {2 / 2**n:g}"
    )


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
