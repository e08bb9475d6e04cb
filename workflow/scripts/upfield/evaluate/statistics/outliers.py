"""Participants that stand out among the others."""

import numpy as np
import pandas as pd

from upfield.evaluate.statistics.board import pair_table
from upfield.quality.judging import robust_z

OUTLIERS = ["participant_id", "method", "metric", "n", "value", "median", "robust_z", "outlier"]
# Iglewicz and Hoaglin 1993, How to detect and handle outliers: modified z scores beyond this are outliers.
THRESHOLD = 3.5


def outliers(values: pd.DataFrame) -> pd.DataFrame:
    """Robust z of every participant, or pair of one, by method and metric, test split, whole brain.

    `values` is as for `leaderboard`.

    Returns
    -------
    participant_id, method, metric, n, value
        `n`: participants with a value.
    median, robust_z
        (value - median) / (1.4826 x median absolute deviation); NaN for fewer than 5 participants or no deviation.
    outlier
        `yes` if |robust_z| > 3.5, `no`, or `unknown` where there is no z.

    """
    chosen = values[(values["split"] == "test") & (values["region"] == "brain")]
    rows = []
    for metric, group in chosen.groupby("metric"):
        for method, column in pair_table(group).items():
            found = column.dropna()
            for (participant, value), z in zip(found.items(), robust_z(found.to_numpy()), strict=True):
                verdict = "unknown" if np.isnan(z) else "yes" if abs(z) > THRESHOLD else "no"
                rows.append([participant, method, metric, len(found), value, found.median(), z, verdict])
    return pd.DataFrame(rows, columns=OUTLIERS)
