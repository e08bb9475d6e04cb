"""What an evaluation measures of the brain's structures (`catalogue.structures`), both sides together.

Names in tables, and the names of the structures without their sides. The accumbens and the ventral diencephalon, whose
borders hardly a contrast shows, are left out.
"""

from collections.abc import Mapping

PARTS: Mapping[str, tuple[str, ...]] = {
    "cortex": ("cortex",),
    "white_matter": ("white matter",),
    "ventricles": ("lateral ventricle", "third ventricle", "fourth ventricle"),
    "thalamus": ("thalamus",),
    "caudate": ("caudate",),
    "putamen": ("putamen",),
    "pallidum": ("pallidum",),
    "hippocampus": ("hippocampus",),
    "amygdala": ("amygdala",),
    "cerebellum": ("cerebellum",),
    "brainstem": ("brainstem",),
    "fluid": ("cerebrospinal fluid",),
}
