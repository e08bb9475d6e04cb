"""The metrics by name: every family's `METRICS`, and what is measured beside them."""

from collections.abc import Sequence

import pandas as pd

from upfield.catalogue.metrics import HARMONIZATION_DIGITS, LEARNED, SEGMENTED, Metric
from upfield.evaluate.metrics import appearance, edges, fidelity, phase, structure

FAMILIES = (fidelity, structure, phase, edges, appearance)
# What tables and reports show first.
FIRST = ("psnr", "ssim")


def collected(*families: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics of several families by name, those of `FIRST` first."""
    found = {metric.name: metric for family in families for metric in family}
    return {name: found[name] for name in dict.fromkeys([*(name for name in FIRST if name in found), *found])}


# What `evaluate.metrics` may name.
METRICS = collected(*(family.METRICS for family in FAMILIES))
KNOWN = {**METRICS, **collected(LEARNED, SEGMENTED)}
LABELS = {name: metric.label for name, metric in KNOWN.items()}
HIGHER = {name for name, metric in KNOWN.items() if metric.better == "higher"}
LOWER = {name for name, metric in KNOWN.items() if metric.better == "lower"}
# What orders outputs as another metric does, and that metric.
TWINS = {name: metric.twin for name, metric in KNOWN.items() if metric.twin is not None}
# Properties of one image, to be compared with the target's.
ALONE = {name for name, metric in METRICS.items() if metric.alone}
# Decimals that a report writes; metrics without an entry have three significant digits.
DIGITS = {name: metric.digits for name, metric in KNOWN.items() if metric.digits is not None} | HARMONIZATION_DIGITS

DEFINITIONS = ["metric", "label", "unit", "better", "ideal", "values", "definition", "source"]


def definitions(names: Sequence[str] | None = None) -> pd.DataFrame:
    """The metrics (all, or those named, in this order) as a table of texts with the columns `DEFINITIONS`."""
    return defined([KNOWN[name] for name in (KNOWN if names is None else names)])


def defined(metrics: Sequence[Metric]) -> pd.DataFrame:
    """Metrics as a table of texts with the columns `DEFINITIONS`."""
    rows = []
    for metric in metrics:
        ideal = "the target's" if metric.ideal is None else f"{metric.ideal:g}".replace("inf", "∞")
        unit, values = metric.unit or "none", metric.values
        rows.append([metric.name, metric.label, unit, metric.better, ideal, values, metric.definition, metric.source])
    return pd.DataFrame(rows, columns=DEFINITIONS)
