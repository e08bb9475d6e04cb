"""What a job asks a scheduler for: memory and time of a rule, from the size of what it reads.

The figures of MEASURED are peaks of the benchmark files (`max_rss`, `s`) of two runs on one core: the demo (1.2 million
voxels a scan) and three adults of OpenfMRI ds000011 (5.9 million voxels, 1 mm), with networks of published size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from upfield.errors import UpfieldError

# Snakemake runs twice in a job, outside and inside its Slurm step: 130 MB each, more with a thousand participants.
SNAKEMAKE = 500
# Other machines and other heads than those measured.
MEMORY_MARGIN = 1.5
TIME_MARGIN = 10
# Field of view of a scan whose geometry is not known yet, mm.
HEAD = (192, 240, 210)


@dataclass(frozen=True)
class Cost:
    """Peak memory (MB) and run time (minutes) of a rule's script: a fixed part, and what each unit of its size adds.

    A unit is a million voxels of the participant's largest image, or a participant where a rule reads all of them.
    """

    memory: float
    memory_per_unit: float
    time: float
    time_per_unit: float


MEASURED: Mapping[str, Cost] = {
    # Per million voxels.
    "phantom_subject": Cost(600, 100, 0.2, 0.02),
    "average": Cost(400, 60, 0.5, 0.1),
    "simulate": Cost(300, 45, 0.1, 0.02),
    "brain": Cost(1300, 20, 0.4, 0.02),
    "bias": Cost(300, 25, 0.4, 0.05),
    "register": Cost(330, 15, 0.4, 0.02),
    "standardise": Cost(290, 30, 0.2, 0.03),
    "quality": Cost(350, 60, 0.3, 0.03),
    "quality_figures": Cost(400, 60, 0.3, 0.02),
    "patch_store": Cost(310, 30, 0.2, 0.02),
    "interpolate": Cost(500, 30, 0.3, 0.02),
    "enhance": Cost(2000, 500, 0.5, 0.5),
    "tissues": Cost(350, 60, 0.1, 0.1),
    # Two methods at once; every metric, of six methods.
    "measure": Cost(400, 250, 0.1, 0.1),
    # A VGG16 on every axial slice of six methods and the truth.
    "perceptual": Cost(1500, 150, 0.5, 0.8),
    "segment": Cost(350, 60, 0.1, 0.6),
    "audit": Cost(350, 60, 0.1, 0.1),
    # Every network once more.
    "lesions": Cost(2000, 500, 1, 3),
    # Per participant.
    "phantom_dataset": Cost(150, 0, 0.1, 0),
    "dicom": Cost(300, 0.2, 0.5, 0.001),
    "validate": Cost(400, 0.5, 0.5, 0.01),
    "inventory": Cost(300, 0.2, 0.2, 0.02),
    "cohort": Cost(300, 0.2, 0.2, 0.001),
    "contact_sheet": Cost(250, 0, 0.2, 0),
    "quality_table": Cost(150, 0.2, 0.1, 0.001),
    "splits": Cost(100, 0.1, 0.1, 0.001),
    "fit_histogram": Cost(800, 1, 0.1, 0.02),
    # On a GPU the driver and the processes that read patches come on top of the 2,700 MB measured on a CPU.
    "train_model": Cost(5000, 1, 0, 0),
    "summarise": Cost(300, 1, 0.1, 0.01),
    "html_report": Cost(600, 1, 0.3, 0.01),
    "reading_set": Cost(600, 0, 0.2, 0.2),
}


def memory(rule: str, size: float, attempt: int = 1) -> int:
    """MB to ask for, whole hundreds; a job that failed asks for more when it is tried again."""
    cost = MEASURED[rule]
    needed = SNAKEMAKE + MEMORY_MARGIN * (cost.memory + cost.memory_per_unit * size)
    return 100 * math.ceil(attempt * needed / 100)


def own(mem_mb: int) -> int:
    """Bytes that are left to a job's script, of the MB it asked for: Snakemake around it takes its share."""
    return 2**20 * (mem_mb - SNAKEMAKE)


def minutes(rule: str, size: float, attempt: int = 1) -> int:
    """Run time to ask for, at least five minutes; a job that failed asks for more when it is tried again."""
    cost = MEASURED[rule]
    return max(5, math.ceil(TIME_MARGIN * (cost.time + cost.time_per_unit * size))) * attempt


def megavoxels(shape: Sequence[int], voxel: Sequence[float], spacing: float | Literal["native"]) -> float:
    """Millions of voxels of a scan of `shape` and `voxel` (mm), on its own grid or on one of `spacing` (mm) if larger.

    An unknown geometry (both empty) is that of a head on an isotropic grid of `spacing`, 1 mm if that is `native`.
    """
    if len(shape) != len(voxel):
        raise UpfieldError(f"resources: {len(shape)} axes but {len(voxel)} voxel sizes; expected as many")
    extent = [count * size for count, size in zip(shape, voxel, strict=True)] or HEAD
    resampled = math.prod(extent) / (1.0 if spacing == "native" else spacing) ** 3
    own = math.prod(shape) if shape else 0
    return max(own, resampled if spacing != "native" or not shape else 0) / 1e6
