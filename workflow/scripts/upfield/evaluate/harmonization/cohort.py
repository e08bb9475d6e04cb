"""Two cohorts of scans, before and after: can a classifier still tell the scanner, and how far apart are they?

The unit is the participant: the slabs of a person are in one fold of the cross-validation, give one score, and are
left out and permuted together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from scipy.stats import t, wasserstein_distance

from upfield.evaluate.harmonization import classifier
from upfield.evaluate.harmonization.features import scans
from upfield.evaluate.statistics.decide import by_change
from upfield.evaluate.statistics.interval import ALPHA
from upfield.image.nifti import Array

COLUMNS = [
    "method", "metric", "n_source", "n_target", "value", "ci_low", "ci_high", "decision", "p_permutation", "change",
    "change_low", "change_high",
]  # fmt: skip
BEFORE = "identity"
# What two cohorts have that nothing tells apart; of the other distances it is 0.
CHANCE = {"scanner_auc": 0.5}
FOLDS, REPEATS = 5, 20
# Of the permutation test, and repeats of the cross-validation in each, and in the value that they are compared with.
PERMUTATIONS, PERMUTED_REPEATS = 199, 1
# Participants of each scanner below which distances have no interval: of fewer it holds too seldom.
SMALLEST = 5


@dataclass(frozen=True)
class Cohorts:
    """Scans of both scanners: `people` of each, `features` (N, blocks, F) and `intensities` (N, Q) of each."""

    people: tuple[list[str], list[str]]
    features: tuple[Array, Array]
    intensities: tuple[Array, Array]


@dataclass(frozen=True)
class Distance:
    """A distance of two cohorts as a function of the weights of their scans, (N,) and (M,).

    `inflation` is by how much its variance is larger than what leaving out participants shows.
    """

    people: tuple[list[str], list[str]]
    of: Callable[[Array, Array], float]
    inflation: float = 1.0

    @property
    def value(self) -> float:
        """Of all scans alike."""
        return self.of(*(np.ones(len(people)) for people in self.people))

    def minus(self, other: "Distance") -> "Distance":
        """The change from `other`, which is of the same participants."""
        return Distance(self.people, lambda a, b: self.of(a, b) - other.of(a, b), self.inflation)

    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval: a jackknife over participants, with t of Satterthwaite's degrees of freedom.

        A participant of both scanners is left out with both scans; participants of the source alone, of the target
        alone, and of both are three samples, whose variances add up (Efron and Stein 1981,
        https://doi.org/10.1214/aos/1176345462). NaN for fewer than `SMALLEST` participants of a scanner, and where
        leaving one out changes nothing, which is no proof that another study would find the same.
        """
        if min(map(len, self.people)) < SMALLEST:
            return np.nan, np.nan
        variances, free = [], []
        for members in strata(self.people):
            without = [self.of(*(np.array([name != left for name in people], float) for people in self.people))
                       for left in members]  # fmt: skip
            n = len(members)
            if n > 1:
                variances.append((n - 1) ** 2 / n * float(np.var(without, ddof=1)))
                free.append(n - 1)
        total = sum(variances)
        if not total > 1e-12:
            return np.nan, np.nan
        degrees = total**2 / sum(v**2 / f for v, f in zip(variances, free, strict=True))
        half = float(t.ppf(1 - ALPHA / 2, degrees)) * np.sqrt(self.inflation * total)
        return self.value - half, self.value + half


Measure = Callable[[Cohorts], Distance | None]


def strata(people: tuple[Sequence[str], Sequence[str]]) -> list[list[str]]:
    """Participants of the source alone, of the target alone, and of both; what is empty is left out."""
    one, two = map(set, people)
    return [part for part in (sorted(one - two), sorted(two - one), sorted(one & two)) if part]


def cohort_table(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Distance of the two cohorts by every method; one row a method and metric.

    Parameters
    ----------
    values
        `participant_id, scanner, method, block, feature, value` of test participants: what `appearance` gives for the
        scans of both scanners (method `identity`), and for harmonized scans of the source. A method that moves
        the target as well (`combat`) has rows of both; otherwise a method is compared with the target as it is.
    seed
        Of the folds and of the permutations.

    Returns
    -------
    method, metric, n_source, n_target, value, ci_low, ci_high, decision, p_permutation, change, change_low, change_high
        `identity` (before) first, then the methods sorted. `ci_low`, `ci_high`: see `Distance.interval`.
        `p_permutation`: one-sided, that the cohorts are no further apart than with scanners exchanged between
        participants, (1 + as far) / (1 + 199); of a person of both scanners the two scans are exchanged. `change`:
        value minus that of before, with its interval over the same participants (paired); NaN for `identity`, and
        intervals where the participants are not the same. `decision`: `better`, `worse` or `undecided` against before,
        see `decide.by_change`; NaN for `identity`. Nothing is corrected for the number of methods.

        scanner_auc: see `scanner_auc`. mmd: see `mmd2`, features averaged over slabs and standardised by mean and
        standard deviation of both cohorts before harmonization, and the kernel's width from before as well, so
        that values of different methods compare. wasserstein: of the intensities in the brain, normalized
        values, every participant with equal weight. NaN where there are too few scans (two of each; one of each
        for wasserstein) or, for wasserstein, no intensities.

    """
    before = _cohorts(values, BEFORE)
    reference = np.concatenate([part.mean(axis=1) for part in before.features if len(part)])
    mean, sd = reference.mean(axis=0), reference.std(axis=0)
    sd[sd == 0] = 1
    width = float(np.median(pdist((reference - mean) / sd))) if len(reference) > 1 else np.nan

    def mmd(cohorts: Cohorts) -> Distance | None:
        vectors = [(part.mean(axis=1) - mean) / sd for part in cohorts.features]
        return mmd2(vectors[0], vectors[1], width, cohorts.people)

    # What is measured, and what is permuted: the same where that is quick.
    measures: dict[str, tuple[Measure, Measure]] = {
        "scanner_auc": (lambda c: scanner_auc(c, seed), lambda c: scanner_auc(c, seed, PERMUTED_REPEATS)),
        "mmd": (mmd, mmd),
        "wasserstein": (intensity_distance, intensity_distance),
    }
    rows: list[tuple[object, ...]] = []
    first: dict[str, tuple[Distance | None, float]] = {}
    for method in sorted(values["method"].unique(), key=lambda name: (name != BEFORE, name)):
        now = _cohorts(values, method)
        for metric, (measure, quick) in measures.items():
            found, p = measure(now), permutation_p(now, quick, seed)
            goal = CHANCE.get(metric, 0.0)
            old, p_old = first.setdefault(metric, (found, p))
            value = np.nan if found is None else found.value
            low, high = (np.nan, np.nan) if found is None else _within(found.interval(), metric)
            change: tuple[object, ...] = (np.nan,) * 3
            decision: object = np.nan
            if method != BEFORE:
                span = (np.nan, np.nan)
                if found is not None and old is not None and found.people == old.people:
                    span = found.minus(old).interval()
                was = np.nan if old is None else old.value
                change = (value - was, *span)
                decision = by_change(span, was, value, p_old, goal)
            rows.append((method, metric, *map(len, now.people), value, low, high, decision, p, *change))
    return pd.DataFrame(rows, columns=COLUMNS)


def _within(interval: tuple[float, float], metric: str) -> tuple[float, float]:
    """An interval of an area under a curve ends at 0 and 1."""
    low, high = interval
    return (max(low, 0.0), min(high, 1.0)) if metric == "scanner_auc" and np.isfinite(low) else interval


def permutation_p(cohorts: Cohorts, measure: Measure, seed: int) -> float:
    """One-sided p that a distance is no larger than with scanners exchanged; NaN where there is no distance.

    Exact whatever the distance is: (1 + permutations as far apart) / (1 + permutations) (Phipson and Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585). With few participants the smallest p is that of few exchanges.
    """
    found = measure(cohorts)
    if found is None:
        return np.nan
    random = np.random.default_rng(seed)
    reached = found.value - 1e-12
    sizes = [len(people) for people in cohorts.people]
    names = np.concatenate(cohorts.people)
    features, intensities = (
        np.concatenate(parts) if all(part.size for part in parts) else None
        for parts in (cohorts.features, cohorts.intensities)
    )
    both = set(cohorts.people[0]) & set(cohorts.people[1])
    alone = np.flatnonzero([name not in both for name in names])
    far = 0
    for _ in range(PERMUTATIONS):
        order = np.arange(len(names))
        order[alone] = random.permutation(alone)
        for name in sorted(both):
            scans_of = np.flatnonzero(names == name)
            order[scans_of] = random.permutation(scans_of)
        moved = [order[: sizes[0]], order[sizes[0] :]]
        drawn = Cohorts(
            (list(names[moved[0]]), list(names[moved[1]])),
            cohorts.features if features is None else (features[moved[0]], features[moved[1]]),
            cohorts.intensities if intensities is None else (intensities[moved[0]], intensities[moved[1]]),
        )
        other = measure(drawn)
        far += other is None or other.value >= reached
    return (1 + far) / (1 + PERMUTATIONS)


def scanner_auc(cohorts: Cohorts, seed: int, repeats: int = 0) -> Distance | None:
    """How well a classifier tells the scanners apart: area under the ROC curve; 0.5 is chance. None for too few scans.

    Ridge logistic regression on standardised features of slabs, trained anew, see `classifier.fit`; the score of a scan
    is the mean over its slabs. Stratified cross-validation in up to 5 folds, repeated 20 times, or `repeats`; all scans
    of a person are in one fold. The AUC is the share of pairs, one scan of each scanner, that are ordered rightly, and
    only scans that were left out *together* are compared: pooling scores of different classifiers pushes the AUC of
    indistinguishable cohorts below 0.5 (Airola et al. 2011, https://doi.org/10.1016/j.csda.2010.11.018). Below
    0.5 can still occur by chance.

    Leaving out scans does not train the classifiers again. Their variance is added as Nadeau and Bengio do (2003,
    https://doi.org/10.1023/A:1024068626366): with k folds the variance over participants is taken 1 + k / (k - 1)
    times, since a classifier shares most of its training scans with the others.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    sizes = [len(people) for people in cohorts.people]
    if min(sizes) < 2:
        return None
    features = np.concatenate(cohorts.features)
    scanner = np.repeat([0, 1], sizes)
    people = np.concatenate(cohorts.people)
    blocks, size = features.shape[1:]
    parts = min(FOLDS, *sizes)
    right, compared = np.zeros(sizes), np.zeros(sizes)
    for repeat in range(repeats or REPEATS):
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed + repeat)
        for train, test in folds.split(features[:, 0], scanner, people):
            source, target = test[scanner[test] == 0], test[scanner[test] == 1]
            if not len(source) or not len(target) or len(np.unique(scanner[train])) < 2:
                continue
            score_of = classifier.fit(features[train].reshape(-1, size), np.repeat(scanner[train], blocks))
            score = np.full(len(features), np.nan)
            score[test] = score_of(features[test].reshape(-1, size)).reshape(-1, blocks).mean(axis=1)
            gap = score[target][None, :] - score[source][:, None]
            place = np.ix_(source, target - sizes[0])
            right[place] += (gap > 0) + 0.5 * (gap == 0)
            compared[place] += 1
    met = compared > 0
    if not met.any():
        return None
    share = np.divide(right, compared, out=np.zeros(sizes), where=met)

    def weighted(a: Array, b: Array) -> float:
        pairs = a @ met @ b
        return float(a @ share @ b / pairs) if pairs > 0 else np.nan

    return Distance(cohorts.people, weighted, 1 + parts / (parts - 1))


def mmd2(source: Array, target: Array, width: float, people: tuple[list[str], list[str]]) -> Distance | None:
    """Squared maximum mean discrepancy of features (N, F) and (M, F), unbiased.

    Kernel exp(-d^2 / (2 width^2)), the median distance being the usual width (Gretton et al. 2012, JMLR 13:723-773,
    equation 3). About 0, often just below, for samples of one distribution; at most 2. None for fewer than two of
    either.
    """
    if min(len(source), len(target)) < 2 or not width > 0:
        return None
    both = np.concatenate([source, target])
    kernel = np.exp(-cdist(both, both, "sqeuclidean") / (2 * width**2))
    n = len(source)
    within = [part - np.diag(np.diag(part)) for part in (kernel[:n, :n], kernel[n:, n:])]
    across = kernel[:n, n:]

    def weighted(a: Array, b: Array) -> float:
        same = [w @ k @ w / (w.sum() ** 2 - (w**2).sum()) for w, k in zip((a, b), within, strict=True)]
        return float(sum(same) - 2 * (a @ across @ b) / (a.sum() * b.sum()))

    return Distance(people, weighted)


def intensity_distance(cohorts: Cohorts) -> Distance | None:
    """Wasserstein-1 distance of both cohorts' intensities in the brain; None where one has none."""
    source, target = cohorts.intensities
    if not source.size or not target.size:
        return None

    def weighted(a: Array, b: Array) -> float:
        weights = [np.repeat(w, part.shape[1]) for w, part in ((a, source), (b, target))]
        return float(wasserstein_distance(source.ravel(), target.ravel(), *weights))

    return Distance(cohorts.people, weighted)


def _cohorts(values: pd.DataFrame, method: str) -> Cohorts:
    """The scans of a method; the target as it is where the method does not move it."""
    moved = bool(((values["scanner"] == "target") & (values["method"] == method)).any())
    source, target = scans(values, "source", method), scans(values, "target", method if moved else BEFORE)
    return Cohorts((source[0], target[0]), (source[1], target[1]), (source[2], target[2]))
