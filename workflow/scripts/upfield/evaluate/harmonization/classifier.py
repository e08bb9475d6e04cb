"""The classifier that is asked to tell two scanners: ridge logistic regression, quick enough to be permuted."""

from collections.abc import Callable

import numpy as np
from scipy import special

from upfield.image.nifti import Array

# Inverse strength of the ridge penalty: fixed, as there are too few participants to choose it.
RIDGE = 0.1
# Newton's steps are a handful; where more are needed the last one is as good.
STEPS = 50
TOLERANCE = 1e-10


def fit(features: Array, label: Array) -> Callable[[Array], Array]:
    """Train on `features` (N, F), standardised here, and their `label` (N,), 0 or 1, both present; returns the scores.

    The scores of features (M, F) are the log odds (M,) that their label is 1. The two labels weigh alike, and the
    intercept is not penalised: what scikit-learn's LogisticRegression(C=0.1, class_weight="balanced") minimises. It
    is minimised here by Newton's method, since a fit of so few numbers takes scikit-learn 20 times as long, nearly all
    of it spent on checking its arguments, and a table of two scanners fits thousands of them. Raises ValueError for
    features that are not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("a feature of a scan is no finite number")
    mean, sd = features.mean(axis=0), features.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    known = np.column_stack([(features - mean) / sd, np.ones(len(features))])
    weight = RIDGE * np.where(label == 1, 0.5 / (label == 1).mean(), 0.5 / (label == 0).mean())
    penalty = np.append(np.ones(features.shape[1]), 0.0)
    found = np.zeros(known.shape[1])
    loss = _loss(found, known, label, weight, penalty)
    for _ in range(STEPS):
        odds = special.expit(known @ found)
        slope = known.T @ (weight * (odds - label)) + penalty * found
        curve = (known.T * (weight * odds * (1 - odds))) @ known + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        while (tried := _loss(found - step, known, label, weight, penalty)) > loss and abs(step).max() > TOLERANCE:
            step = step / 2
        found, loss = found - step, tried
        if abs(step).max() <= TOLERANCE:
            break

    def scores(others: Array) -> Array:
        return np.asarray((others - mean) / sd @ found[:-1] + found[-1])

    return scores


def _loss(found: Array, known: Array, label: Array, weight: Array, penalty: Array) -> float:
    """What is minimised; log(1 + exp(x)) without overflow."""
    odds = known @ found
    return float(weight @ (np.logaddexp(0, odds) - label * odds) + (penalty * found**2).sum() / 2)
