"""Two cohorts of scans, before and after: can a classifier still tell the scanner, and how far apart are they?

The unit is the participant: the slabs of a person are in one fold of the cross-validation, give one score, and are
drawn together by the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from upfield.evaluate.harmonization.features import scans
from upfield.evaluate.statistics import CONFIDENCE
from upfield.evaluate.statistics.decide import by_intervals
from upfield.image.nifti import Array

COLUMNS = ["method", "metric", "n_source", "n_target", "value", "ci_low", "ci_high", "decision"]
BEFORE = "identity"
# What two cohorts have that nothing tells apart; of the other distances it is 0.
CHANCE = {"scanner_auc": 0.5}
FOLDS, REPEATS = 5, 20
RESAMPLES = 2000
# Inverse strength of the classifier's ridge penalty: fixed, as there are too few participants to choose it.
RIDGE = 0.1


@dataclass(frozen=True)
class Cohorts:
    """Scans of both scanners: `people` of each, `features` (N, blocks, F) and `intensities` (N, Q) of each."""

    people: tuple[list[str], list[str]]
    features: tuple[Array, Array]
    intensities: tuple[Array, Array]


def cohort_table(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Distance of the two cohorts by every method; one row a method and metric.

    Parameters
    ----------
    values
        `participant_id, scanner, method, block, feature, value` of test participants: what `appearance` gives for the
        scans of both scanners (method `identity`), and for harmonised scans of the source. A method that moves
        the target as well (`combat`) has rows of both; otherwise a method is compared with the target as it is.
    seed
        Of the folds and of the bootstrap.

    Returns
    -------
    method, metric, n_source, n_target, value, ci_low, ci_high, decision
        `identity` (before) first, then the methods sorted. Intervals are 95 % percentile bootstraps over
        participants, 2,000 resamples; the classifiers are not trained again for them, so that of the AUC is narrower
        than it should be, and with few participants all of them are. `decision`: `better`, `worse` or `undecided`
        against before, see `decide.by_intervals`; NaN for `identity`.

        scanner_auc: see `scanner_auc`. mmd: see `mmd2`, features averaged over slabs and standardised by mean and
        standard deviation of both cohorts before harmonisation, and the kernel's width from before as well, so
        that values of different methods compare. wasserstein: of the intensities in the brain, normalised
        values, every participant with equal weight. NaN where there are too few scans (two of each; one of each
        for wasserstein) or, for wasserstein, no intensities.

    """
    before = _cohorts(values, BEFORE)
    reference = np.concatenate([part.mean(axis=1) for part in before.features if len(part)])
    mean, sd = reference.mean(axis=0), reference.std(axis=0)
    sd[sd == 0] = 1
    width = float(np.median(pdist((reference - mean) / sd))) if len(reference) > 1 else np.nan
    rows: list[tuple[object, ...]] = []
    first: dict[str, tuple[float, float, float]] = {}
    for method in sorted(values["method"].unique(), key=lambda name: (name != BEFORE, name)):
        now = _cohorts(values, method)
        vectors = [(part.mean(axis=1) - mean) / sd for part in now.features]
        numbers = {
            "scanner_auc": scanner_auc(now, seed),
            "mmd": mmd2(vectors[0], vectors[1], width, now.people, seed),
            "wasserstein": intensity_distance(now, seed),
        }
        first = first or numbers
        for metric, three in numbers.items():
            decision = np.nan if method == BEFORE else by_intervals(three, first[metric], CHANCE.get(metric, 0.0))
            rows.append((method, metric, *map(len, now.people), *three, decision))
    return pd.DataFrame(rows, columns=COLUMNS)


def scanner_auc(cohorts: Cohorts, seed: int) -> tuple[float, float, float]:
    """How well a classifier tells the scanners apart: area under the ROC curve and its interval; 0.5 is chance.

    Ridge logistic regression on standardised features of slabs, trained anew; the score of a scan is the mean over
    its slabs. Stratified cross-validation in up to 5 folds, repeated 20 times; all scans of a person are in one
    fold. The AUC is the share of pairs, one scan of each scanner, that are ordered rightly, and only scans that
    were left out *together* are compared: pooling scores of different classifiers pushes the AUC of
    indistinguishable cohorts below 0.5 (Airola et al. 2011, https://doi.org/10.1016/j.csda.2010.11.018). Below
    0.5 can still occur by chance.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sizes = [len(people) for people in cohorts.people]
    if min(sizes) < 2:
        return np.nan, np.nan, np.nan
    features = np.concatenate(cohorts.features)
    scanner = np.repeat([0, 1], sizes)
    people = np.concatenate(cohorts.people)
    blocks, size = features.shape[1:]
    right, compared = np.zeros(sizes), np.zeros(sizes)
    for repeat in range(REPEATS):
        folds = StratifiedGroupKFold(min(FOLDS, *sizes), shuffle=True, random_state=seed + repeat)
        for train, test in folds.split(features, scanner, people):
            source, target = test[scanner[test] == 0], test[scanner[test] == 1]
            if not len(source) or not len(target) or len(np.unique(scanner[train])) < 2:
                continue
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=RIDGE, class_weight="balanced"))
            classifier.fit(features[train].reshape(-1, size), np.repeat(scanner[train], blocks))
            score = np.full(len(features), np.nan)
            score[test] = (
                classifier.decision_function(features[test].reshape(-1, size)).reshape(-1, blocks).mean(axis=1)
            )
            gap = score[target][None, :] - score[source][:, None]
            place = np.ix_(source, target - sizes[0])
            right[place] += (gap > 0) + 0.5 * (gap == 0)
            compared[place] += 1
    met = compared > 0
    if not met.any():
        return np.nan, np.nan, np.nan
    share = np.divide(right, compared, out=np.zeros(sizes), where=met)

    def weighted(a: Array, b: Array) -> Array:
        pairs = ((a @ met) * b).sum(axis=1)
        return np.divide(((a @ share) * b).sum(axis=1), pairs, out=np.full(len(a), np.nan), where=pairs > 0)

    return float(share[met].mean()), *_interval(weighted(*_resamples(cohorts.people, seed)))


def mmd2(
    source: Array, target: Array, width: float, people: tuple[Sequence[str], Sequence[str]], seed: int
) -> tuple[float, float, float]:
    """Squared maximum mean discrepancy of features (N, F) and (M, F), unbiased, and its interval.

    Kernel exp(-d^2 / (2 width^2)), the median distance being the usual width (Gretton et al. 2012, JMLR 13:723-773,
    equation 3). About 0, often just below, for samples of one distribution; at most 2. NaN for fewer than two of
    either.
    """
    if min(len(source), len(target)) < 2 or not width > 0:
        return np.nan, np.nan, np.nan
    both = np.concatenate([source, target])
    kernel = np.exp(-cdist(both, both, "sqeuclidean") / (2 * width**2))
    n = len(source)
    # A scan drawn twice is not compared with itself.
    within = [part - np.diag(np.diag(part)) for part in (kernel[:n, :n], kernel[n:, n:])]
    across = kernel[:n, n:]

    def weighted(a: Array, b: Array) -> Array:
        with np.errstate(invalid="ignore"):
            same = [((w @ k) * w).sum(axis=1) / (w.sum(axis=1) ** 2 - (w**2).sum(axis=1))
                    for w, k in zip((a, b), within, strict=True)]  # fmt: skip
            return np.asarray(sum(same) - 2 * ((a @ across) * b).sum(axis=1) / (a.sum(axis=1) * b.sum(axis=1)))

    value = float(weighted(np.ones((1, n)), np.ones((1, len(target))))[0])
    return value, *_interval(weighted(*_resamples(people, seed)))


def intensity_distance(cohorts: Cohorts, seed: int) -> tuple[float, float, float]:
    """Wasserstein-1 distance of both cohorts' intensities in the brain, and its interval."""
    source, target = cohorts.intensities
    if not source.size or not target.size:
        return np.nan, np.nan, np.nan

    def weighted(a: Array, b: Array) -> float:
        weights = [np.repeat(w, part.shape[1]) for w, part in ((a, source), (b, target))]
        return float(wasserstein_distance(source.ravel(), target.ravel(), *weights))

    value = weighted(np.ones(len(source)), np.ones(len(target)))
    if min(len(source), len(target)) < 2:
        return value, np.nan, np.nan
    draws = zip(*_resamples(cohorts.people, seed), strict=True)
    return value, *_interval(np.array([weighted(a, b) for a, b in draws]))


def _cohorts(values: pd.DataFrame, method: str) -> Cohorts:
    """The scans of a method; the target as it is where the method does not move it."""
    moved = bool(((values["scanner"] == "target") & (values["method"] == method)).any())
    source, target = scans(values, "source", method), scans(values, "target", method if moved else BEFORE)
    return Cohorts((source[0], target[0]), (source[1], target[1]), (source[2], target[2]))


def _resamples(people: tuple[Sequence[str], Sequence[str]], seed: int) -> tuple[Array, Array]:
    """How often the bootstrap draws each scan of the source, (R, N), and of the target, (R, M), as floats.

    A person seen by both scanners is drawn with both scans. Sizes are kept: of people of the source alone, of the
    target alone, and of both.
    """
    random = np.random.default_rng(seed)
    names = sorted({*people[0], *people[1]})
    drawn = np.zeros((RESAMPLES, len(names)))
    sets = set(people[0]), set(people[1])
    seen = [(name in sets[0], name in sets[1]) for name in names]
    for kind in sorted(set(seen)):
        members = [number for number, found in enumerate(seen) if found == kind]
        share = np.full(len(members), 1 / len(members))
        drawn[:, members] = random.multinomial(len(members), share, size=RESAMPLES)
    place = {name: number for number, name in enumerate(names)}
    source, target = (drawn[:, [place[name] for name in part]] for part in people)
    return source, target


def _interval(drawn: Array) -> tuple[float, float]:
    """95 % percentile interval of bootstrap values, those that could not be computed left out."""
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.percentile(finite, CONFIDENCE)
    return float(low), float(high)
