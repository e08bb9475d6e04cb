"""From measurements to a QC decision: what a study's thresholds say of a pair, and who stands apart from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from upfield.files import read_json, write_tsv
from upfield.image.nifti import Array
from upfield.preprocess.derivatives import MARK
from upfield.step import step

SIDES, PAIR = ("source", "target"), "pair"
# What a reason to exclude begins with.
REASON = "quality: "
# Makes the median absolute deviation a standard deviation for normal values.
NORMAL = 1.4826
COLUMNS = ["participant_id", "role", "metric", "value", "z", "flag"]


@dataclass(frozen=True)
class Metric:
    """One measurement: of a scan or of a pair, its label, and which values are bad: `low`, `high` or both.

    What is less than `floor` from the median of the participants, as a share of it, does not stand apart from them,
    however little they differ.
    """

    name: str
    of: str
    label: str
    bad: str
    floor: float


# Brains of healthy adults differ by 10 % (one standard deviation) in volume: two of them are the floor.
METRICS = {
    metric.name: metric
    for metric in (
        Metric("volume_cm3", "scan", "Brain volume (cm³)", "both", 0.2),
        Metric("snr", "scan", "SNR", "low", 0.25),
        Metric("snr_air", "scan", "SNR against air", "low", 0.25),
        Metric("cnr", "scan", "CNR", "low", 0.25),
        Metric("cjv", "scan", "CJV", "high", 0.25),
        Metric("efc", "scan", "EFC", "high", 0.1),
        Metric("fber", "scan", "FBER", "low", 0.5),
        Metric("mutual_information", "pair", "Mutual information", "low", 0.05),
        Metric("ncc", "pair", "NCC", "low", 0.1),
        Metric("edge_overlap", "pair", "Edge overlap", "low", 0.2),
        Metric("mask_dice", "pair", "Mask overlap", "low", 0.03),
        Metric("mirror_gain", "pair", "Gain over mirror image", "low", 0.5),
        Metric("slab_gain", "pair", "Gain over mirror image (slab)", "low", 0.5),
        Metric("template_dice", "pair", "Overlap with the template", "low", 0.03),
    )
}


def judge(
    found: Mapping[str, Mapping[str, float]], thresholds: Mapping[str, Mapping[str, Any] | None]
) -> list[dict[str, Any]]:
    """What is beyond a threshold, as `role, metric, value, action, reason`, those that exclude first.

    `found` maps `source`, `target` and `pair` to metrics; `thresholds` maps a metric to `min` and `max` (null for
    none) and `action` (`exclude` or `warn`). What could not be measured (NaN) is beyond no threshold.
    """
    result = []
    for name, limit in thresholds.items():
        for role, values in found.items():
            value = values.get(name, np.nan)
            if limit is None or not np.isfinite(value):
                continue
            low, high = limit.get("min"), limit.get("max")
            if low is not None and value < low:
                bound = f"at least {low:g}"
            elif high is not None and value > high:
                bound = f"at most {high:g}"
            else:
                continue
            where = "" if role == PAIR else f" of the {role}"
            reason = f"{REASON}{METRICS[name].label}{where} is {value:.3g}; qc.thresholds.{name} expects {bound}"
            result.append({"role": role, "metric": name, "value": value, "action": limit["action"], "reason": reason})
    return sorted(result, key=lambda row: row["action"] != "exclude")


def verdict(findings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`Excluded`, the reason, and `Role`, whose it is, of what may not be used, by its findings; else empty."""
    fatal = next((row for row in findings if row["action"] == "exclude"), None)
    return {} if fatal is None else {MARK: fatal["reason"], "Role": fatal["role"]}


def stands(judged: Mapping[str, Any], thresholds: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether what was `judged`, a QC decision with its measurements, has the same verdict with other thresholds."""
    found = {
        role: {name: np.nan if value is None else value for name, value in judged.get(role, {}).items()}
        for role in (*SIDES, PAIR)
    }
    return verdict(judge(found, thresholds)) == {key: judged[key] for key in (MARK, "Role") if key in judged}


def robust_z(values: Array) -> Array:
    """Distance from the median in robust standard deviations, (x - median) / (1.4826 MAD); NaN where it has no meaning.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993). (N,) to (N,). Fewer than five finite values, or
    values that are mostly equal, have no outliers.
    """
    finite = values[np.isfinite(values)]
    if finite.size < 5:
        return np.full(values.shape, np.nan)
    middle = np.median(finite)
    spread = np.median(np.abs(finite - middle))
    if spread <= 1e-9 * max(abs(middle), 1e-30):
        return np.full(values.shape, np.nan)
    return np.asarray((values - middle) / (NORMAL * spread))


@step(version=1, memory=(150, 0.2), minutes=(0.1, 0.001))
def write_table(decisions: Sequence[str], quality_table: str, outlier: float | None) -> None:
    """Write all measurements of a study, from the QC decisions on its pairs and scans."""
    write_tsv(quality_table, table([read_json(path) for path in decisions], outlier))


def table(reports: Sequence[Mapping[str, Any]], outlier: float | None) -> pd.DataFrame:
    """All measurements of a study, long: `participant_id, role, metric, value, z, flag`.

    `reports` are what the stage writes for each participant. `z` is robust over the participants;
    `flag` is `exclude`, `warn`, `outlier` (|z| above `outlier` in the bad direction, and not nearer to the median than
    the metric's `floor`; None for never) or `ok`.
    """
    rows = [
        (report["participant_id"], role, name, value)
        for report in reports
        for role in (*SIDES, PAIR)
        for name, value in report.get(role, {}).items()
    ]
    result = pd.DataFrame(rows, columns=COLUMNS[:4]).astype({"value": float})
    alike = result.groupby(["role", "metric"])["value"]
    result["z"] = alike.transform(lambda column: robust_z(column.to_numpy()))
    share = (result["value"] / alike.transform("median") - 1).abs()
    found = {
        (report["participant_id"], row["role"], row["metric"]): row["action"]
        for report in reports
        for row in reversed(report["Findings"])
    }
    result["flag"] = [
        found.get((person, role, name)) or ("outlier" if _apart(name, z, away, outlier) else "ok")
        for person, role, name, z, away in result[["participant_id", "role", "metric", "z"]]
        .assign(share=share)
        .itertuples(index=False)
    ]
    return result[COLUMNS]


def _apart(name: str, z: float, share: float, limit: float | None) -> bool:
    """Whether a value is far from the others by its robust z, and by its distance as a share of their median."""
    if limit is None or name not in METRICS or not np.isfinite(z) or share < METRICS[name].floor:
        return False
    bad = METRICS[name].bad
    return (bad in ("low", "both") and z < -limit) or (bad in ("high", "both") and z > limit)
