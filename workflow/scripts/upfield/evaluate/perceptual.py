"""LPIPS of one participant, where the user gives its weights."""

from collections.abc import Mapping, Sequence

import pandas as pd

from upfield.evaluate.metrics import BRAIN
from upfield.evaluate.metrics.lpips import lpips
from upfield.evaluate.subject import COLUMNS, load_prediction, seed_label
from upfield.image import nifti
from upfield.preprocess.derivatives import excluded
from upfield.training import device


def measure(
    predictions: Mapping[str, str],
    truth: str,
    mask: str,
    weights: str,
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
    run_on: str,
) -> pd.DataFrame:
    """Rows of the metric `lpips`, in the brain; none if the pair was excluded.

    Arguments and errors as for `evaluate.measure`; `weights` is a file that `weights.lpips` accepts, `run_on` auto, cpu
    or cuda.
    """
    if any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=COLUMNS)
    target, brain = nifti.load(truth), nifti.load_mask(mask).data
    outputs = {method: load_prediction(path, target, truth) for method, path in predictions.items()}
    found = lpips(outputs, target.data, brain, weights, device.choose(run_on))
    rows = [
        [participant, method, fold, seed_label(seeds.get(method, [])), "test", BRAIN, "lpips", value]
        for method, value in found.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
