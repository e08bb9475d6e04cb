"""Whether intervals hold what they promise, and tests err no more often than they say: simulated studies.

    PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 python benchmarks/statistics.py

Everything is what the report prints, by the functions that make its tables, for 3, 5, 10 and 20 participants. A table
goes to the screen; exit status 1 if something is outside what is asked of it. Two minutes on two cores.

`exact` is asked for coverage of 0.93 to 0.97 (an error of 0.03 to 0.07, power of 0.77 to 0.83); `safe` for no less
than 0.93 (no error above 0.07): ranks are few values, corrections and permutations allow for more than happens. `told`
is asked for nothing: what becomes of the intervals where values are skewed.
"""

import argparse
import importlib.util
import logging
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from upfield.evaluate import statistics
from upfield.evaluate.harmonization import cohort
from upfield.evaluate.statistics import Primary, decide, effect, interval
from upfield.image.nifti import Array

# Functions of these names stand before their modules.
agreement, ranks = (importlib.import_module(f"upfield.evaluate.statistics.{name}") for name in ("agreement", "ranks"))

if __name__ == "statistics":
    # Scripts beside this one, and what they import, mean the module of the standard library.
    standard = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib"), "statistics.py"))
    assert standard is not None and standard.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(standard)
    standard.loader.exec_module(sys.modules[__name__])

SIZES = (3, 5, 10, 20)
# Simulated studies. The standard error of a coverage of 0.95 is 0.0034 of 4000 values, and 0.006 of 300 tables with
# four independent metrics each: 0.93 is six, and three, of them away.
STUDIES = {"values": 4000, "tables": 300, "cohorts": 160}
COVERAGE, POWER = (0.93, 0.97), (0.77, 0.83)
METHODS = ("a", "b", "identity")
METRICS = {"psnr": "higher", "ssim": "higher", "mae": "lower", "rmse": "lower"}
# A permuted classifier is slow: one study of so many has it.
EVERY = 4
Random = np.random.Generator
# One study: names of what is counted, and whether (or in which share of independent tries) it happened.
Counts = dict[str, float]


@dataclass(frozen=True)
class Asked:
    """A row of the table: what is counted, and between which shares it must lie."""

    name: str
    kind: str
    low: float = 0.0
    high: float = 1.0


def covered(name: str, kind: str = "exact") -> Asked:
    """A share of intervals that hold what they are of."""
    return Asked(name, kind, *{"exact": COVERAGE, "safe": (COVERAGE[0], 1.0), "told": (0.0, 1.0)}[kind])


def wrong(name: str, kind: str = "exact", level: float = 0.05, studies: int = 4000) -> Asked:
    """A share of tests that find what is not there, with three standard errors of so many studies as room."""
    room = max(0.02, 3 * (level * (1 - level) / studies) ** 0.5)
    return Asked(name, kind, level - room if kind == "exact" else 0.0, round(level + room, 3))


ASKED = {
    "values": [
        covered("mean, normal"),
        covered("mean, skewed (skewness 1)", "told"),
        covered("mean, very skewed (skewness 2)", "told"),
        covered("standardized difference (Hedges' g)"),
        covered("lower limit of agreement"),
        covered("upper limit of agreement"),
        covered("difference of the next participant"),
        covered("bias"),
        wrong("difference grows with the value, p"),
        covered("ICC(1,1)"),
        covered("ICC(A,1)", "safe"),
        Asked("power at the difference that n could show", "exact", *POWER),
        Asked("power with as many as are needed", "exact", POWER[0], 1.0),
    ],
    "tables": [
        covered("mean difference"),
        wrong("paired t test, p"),
        Asked("interval and p disagree", "exact", 0.0, 0.0),
        Asked("adjusted interval and p disagree", "exact", 0.0, 0.0),
        Asked("interval of g and p disagree", "exact", 0.0, 0.0),
        wrong("primary comparison is decided", "safe", studies=300),
        wrong("any exploratory comparison is decided", "safe", studies=300),
        wrong("non-inferiority at the margin", level=0.025, kind="safe", studies=300),
        covered("mean rank", "safe"),
        wrong("ranks differ (Friedman), p after Holm", "safe", studies=300),
        Asked("power, a difference of one standard deviation", "told"),
    ],
    "cohorts": [
        wrong("scanners differ, p of AUC", "safe", studies=160 // EVERY),
        wrong("scanners differ, p of MMD", "safe", studies=160),
        wrong("scanners differ, p of Wasserstein", "safe", studies=160),
        covered("change of AUC, none", "safe"),
        covered("change of MMD, none", "safe"),
        covered("change of Wasserstein, none", "safe"),
        wrong("a change is decided where there is none (AUC)", "safe", studies=160),
    ],
}


def holds(low: float, high: float, value: float) -> bool:
    """Whether an interval holds a value."""
    return bool(low <= value <= high)


def one_sample(n: int, random: Random) -> Counts:
    """Means, effects, agreement and power of one study."""
    normal = random.normal(1.0, 2.0, n)
    found = {"mean, normal": of_mean(normal, 1.0)}
    # Gamma of shape k: mean k, skewness 2 / sqrt(k).
    found["mean, skewed (skewness 1)"] = of_mean(random.gamma(4, size=n), 4.0)
    found["mean, very skewed (skewness 2)"] = of_mean(random.gamma(1, size=n), 1.0)
    _, low, high = effect.hedges(float(normal.mean()), float(normal.std(ddof=1)), n)
    found["standardized difference (Hedges' g)"] = holds(low, high, 0.5)

    # Outputs are 1 above targets, with a standard deviation of sqrt(2) of the difference.
    person = random.normal(0, 2, n)
    output, target = person + 1 + random.normal(size=n), person + random.normal(size=n)
    row = agreement.bland_altman(np.column_stack([output, target]))
    spread = agreement.LIMITS * np.sqrt(2)
    for name, end, sign in (("lower", "limit_low", -1), ("upper", "limit_high", 1)):
        found[f"{name} limit of agreement"] = holds(row[f"{end}_low"], row[f"{end}_high"], 1 + sign * spread)
    following = random.normal(1, np.sqrt(2))
    found["difference of the next participant"] = holds(row["next_low"], row["next_high"], following)
    found["bias"] = holds(row["bias_low"], row["bias_high"], 1.0)
    found["difference grows with the value, p"] = row["p_slope"] < interval.ALPHA
    # The one-way model: no difference between raters. Two ways: raters differ as a random effect.
    alike = np.column_stack([person + random.normal(size=n), person + random.normal(size=n)])
    found["ICC(1,1)"] = holds(*agreement.intraclass(alike)["icc_1_1"][1:], 4 / 5)
    rated = alike + random.normal(0, 0.5, 2)
    found["ICC(A,1)"] = holds(*agreement.intraclass(rated)["icc_a_1"][1:], 4 / 5.25)

    shown = random.normal(effect.detectable(1.0, n), 1.0, n)
    found["power at the difference that n could show"] = tested(shown)
    true = 2.0 / np.sqrt(n)
    found["power with as many as are needed"] = tested(random.normal(true, 1.0, int(effect.needed(true))))
    return found


def of_mean(values: Array, true: float) -> bool:
    """Whether the interval of the leaderboard holds the mean."""
    (low,), (high,) = interval.t_interval(values[:, None])
    return holds(low, high, true)


def tested(difference: Array) -> bool:
    """Whether a difference is shown, upwards."""
    return bool(interval.t_interval(difference[:, None])[0][0] > 0)


def long_table(values: dict[str, Array], metric: str) -> pd.DataFrame:
    """Rows of per_subject.tsv."""
    n = len(next(iter(values.values())))
    return pd.DataFrame(
        {
            "participant_id": np.tile([f"sub-{i:02d}" for i in range(n)], len(values)),
            "method": np.repeat(list(values), n),
            "fold": "0",
            "seed": "1",
            "split": "test",
            "region": "brain",
            "metric": metric,
            "value": np.concatenate(list(values.values())),
        }
    )


def one_table(n: int, random: Random) -> Counts:
    """Comparisons and ranks of a study of two networks and a baseline by four metrics, without any difference."""
    person = random.normal(0, 2, (len(METRICS), n))
    values = pd.concat(
        long_table({name: row + random.normal(size=n) for name in METHODS}, metric)
        for metric, row in zip(METRICS, person, strict=True)
    )
    claim = Primary("psnr", "a", ["identity"], margin=1.0)
    sides = [{metric for metric, side in METRICS.items() if side == wanted} for wanted in ("higher", "lower")]
    compare = partial(statistics.comparisons, higher=sides[0], lower=sides[1], primary=claim)
    table = compare(values, METHODS[:-1], METHODS[-1:])
    primary = table[table["family"] == decide.PRIMARY].iloc[0]
    outside = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    adjusted = (table["adjusted_low"] > 0) | (table["adjusted_high"] < 0)
    large = (table["g_low"] > 0) | (table["g_high"] < 0)
    other = table[table["family"] == decide.EXPLORATORY]
    # One pair of each metric: these are independent.
    apart = table[(table["method"] == "a") & (table["baseline"] == "identity")]
    found = {
        "mean difference": float(((apart["ci_low"] <= 0) & (apart["ci_high"] >= 0)).mean()),
        "paired t test, p": float((apart["p_t"] < interval.ALPHA).mean()),
        "interval and p disagree": bool((outside != (table["p_t"] < interval.ALPHA)).any()),
        "adjusted interval and p disagree": bool((adjusted != (table["p_holm"] < interval.ALPHA)).any()),
        "interval of g and p disagree": bool((large != (table["p_t"] < interval.ALPHA)).any()),
        "primary comparison is decided": primary.decision != decide.UNDECIDED,
        "any exploratory comparison is decided": bool((other["decision"] != decide.UNDECIDED).any()),
    }
    # As much worse as the margin, and as much better as a standard deviation of the difference.
    for name, shift in (("worse", -1.0), ("power", np.sqrt(2))):
        moved = values.assign(value=values["value"] + shift * (values["method"] == "a") * (values["metric"] == "psnr"))
        part = compare(moved[moved["metric"] == "psnr"], ["a"], ["identity"]).iloc[0]
        if name == "worse":
            found["non-inferiority at the margin"] = part.non_inferior == "shown"
        else:
            found["power, a difference of one standard deviation"] = part.decision == decide.BETTER
    order = ranks.ranks(values, *sides, seed=int(random.integers(2**31)))
    middle, of_a = (len(METHODS) + 1) / 2, order[order["method"] == "a"]
    found["mean rank"] = float(((of_a["ci_low"] <= middle) & (of_a["ci_high"] >= middle)).mean())
    found["ranks differ (Friedman), p after Holm"] = bool((order["p_holm"] < interval.ALPHA).any())
    return found


def one_pair_of_cohorts(n: int, random: Random) -> Counts:
    """Scanners that do not differ; and scanners that do, as much after a useless harmonization as before."""
    found = {}
    same = cohorts(n, random, 0.0)
    for name, measure in measures():
        if name != "AUC" or random.integers(EVERY) == 0:
            # With 19 permutations the smallest p is 0.05.
            found[f"scanners differ, p of {name}"] = cohort.permutation_p(same, measure, 0) <= interval.ALPHA
    if n < cohort.SMALLEST:
        return found
    before = cohorts(n, random, 0.7)
    source = before.features[0] + 0.3 * random.normal(size=(n, 1, before.features[0].shape[2]))
    levels = before.intensities[0] + 0.3 * random.normal(size=(n, 1))
    again = before.features[0] + 0.3 * random.normal(size=(n, 1, source.shape[2]))
    levels_again = before.intensities[0] + 0.3 * random.normal(size=(n, 1))
    pairs = [
        cohort.Cohorts(before.people, (one, before.features[1]), (two, before.intensities[1]))
        for one, two in ((source, levels), (again, levels_again))
    ]
    for name, measure in measures():
        old, now = map(measure, pairs)
        low, high = now.minus(old).interval()
        # No interval is no claim.
        found[f"change of {name}, none"] = bool(np.isnan(low)) or holds(low, high, 0)
        if name == "AUC":
            said = decide.by_change((low, high), old.value, now.value, 0.0, 0.5)
            found["a change is decided where there is none (AUC)"] = said != decide.UNDECIDED
    return found


def measures() -> Iterator[tuple[str, cohort.Measure]]:
    """The distances of the report; the classifier with one repeat, as in its permutations."""
    yield "AUC", lambda c: cohort.scanner_auc(c, 0, cohort.PERMUTED_REPEATS)
    yield "MMD", lambda c: cohort.mmd2(*(part.mean(axis=1) for part in c.features), 3.0, c.people)
    yield "Wasserstein", cohort.intensity_distance


def cohorts(n: int, random: Random, shift: float) -> cohort.Cohorts:
    """Two cohorts of `n` with slabs that resemble each other within a person; `shift` between scanners."""
    features = []
    for side in (0, 1):
        person = random.normal(size=(n, 1, 6))
        person[..., :2] += side * shift
        features.append(person + 0.5 * random.normal(size=(n, 3, 6)))
    people = tuple([f"{side}{number}" for number in range(n)] for side in "ab")
    levels = tuple(part.mean(axis=(1, 2))[:, None] + np.linspace(-1, 1, 11) for part in features)
    return cohort.Cohorts(people, tuple(features), levels)


KINDS: dict[str, Callable[[int, Random], Counts]] = {
    "values": one_sample,
    "tables": one_table,
    "cohorts": one_pair_of_cohorts,
}


def simulate(kind: str, n: int, studies: int, seed: int) -> pd.DataFrame:
    """What happened in each of so many studies: studies x counts."""
    logging.disable(logging.WARNING)
    if kind == "cohorts":
        cohort.PERMUTATIONS = 19  # the fewest that can reach 0.05
    if kind == "tables":
        ranks.PERMUTATIONS = 99
    random = np.random.default_rng([seed, n, *map(ord, kind)])
    return pd.DataFrame([KINDS[kind](n, random) for _ in range(studies)]).astype(float)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of studies; wrong below 1")
    options = parser.parse_args()
    began = time.monotonic()
    parts = [(kind, n, part) for kind in reversed(KINDS) for n in reversed(SIZES) for part in range(4)]
    with ProcessPoolExecutor(options.cores) as pool:
        run = partial(pool.submit, simulate)
        jobs = [(kind, n, run(kind, n, max(int(options.scale * STUDIES[kind]) // 4, 1), 10 * options.seed + part))
                for kind, n, part in parts]  # fmt: skip
        done = [(kind, n, job.result()) for kind, n, job in jobs]
    shares = {
        (kind, n): pd.concat([table for k, size, table in done if (k, size) == (kind, n)]).mean()
        for kind in KINDS
        for n in SIZES
    }
    bad = 0
    print(f"{'n =':>52} " + " ".join(f"{n:>7}" for n in SIZES) + "   asked")
    for kind, asked in ASKED.items():
        for row in asked:
            found = [float(shares[kind, n].get(row.name, np.nan)) for n in SIZES]
            outside = [not np.isnan(x) and not row.low <= x <= row.high for x in found]
            bad += sum(outside)
            cells = [
                "     - " if np.isnan(x) else f"{x:6.3f}{'!' if out else ' '}"
                for x, out in zip(found, outside, strict=True)
            ]
            limits = row.kind if row.kind == "told" else f"{row.kind}, {row.low:g} to {row.high:g}"
            print(f"{row.name:>52} {' '.join(cells)}   {limits}")
    print(f"{bad} outside, {time.monotonic() - began:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
