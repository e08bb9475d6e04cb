"""Image quality in 3-D inside the brain mask: one table of metrics, by region, on a scale fixed by the target.

Nothing outside the mask counts: windows stop at its edge. Each metric is a function of a `frame.Sample`; to add one,
write the function and give it a row in the `METRICS` of its file.
"""

from upfield.evaluate.metrics.frame import BRAIN
from upfield.evaluate.metrics.measure import Reference, compute, compute_regions, reference_range
from upfield.evaluate.metrics.regions import tissue_regions
from upfield.evaluate.metrics.registry import ALONE, HIGHER, LABELS, LOWER, METRICS, definitions

__all__ = [
    "ALONE",
    "BRAIN",
    "HIGHER",
    "LABELS",
    "LOWER",
    "METRICS",
    "Reference",
    "compute",
    "compute_regions",
    "definitions",
    "reference_range",
    "tissue_regions",
]
