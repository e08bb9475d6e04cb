"""Structures of the brain that a segmentation names, and the numbers of label maps that stand for them.

Numbers are FreeSurfer's (https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/AnatomicalROI/FreeSurferColorLUT) and
those that maps for simulation add to them (Billot et al. 2023, https://doi.org/10.1016/j.media.2023.102789): 136, 137,
163 and 164 lie on the floor of the lateral ventricle and along its temporal horn, where FreeSurfer's own choroid plexus
(31, 63) is absent from such maps. Vessels (30, 62), which lie below the putamen, and the optic chiasm (85) are no
structure here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from upfield.catalogue.parts import PARTS


@dataclass(frozen=True)
class Structure:
    """A structure: its `name`, the `number` that stands for it in an output, and all that stand for it in maps."""

    name: str
    number: int
    numbers: tuple[int, ...]


SIDES = ("left", "right")
# Of each structure with a side, the numbers on the left and on the right.
SIDED: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "cortex": ((3,), (42,)),
    "white matter": ((2, 25), (41, 57)),
    "lateral ventricle": ((4, 5, 31, 136, 137), (43, 44, 63, 163, 164)),
    "thalamus": ((10, 9), (49, 48)),
    "caudate": ((11,), (50,)),
    "putamen": ((12,), (51,)),
    "pallidum": ((13,), (52,)),
    "accumbens": ((26,), (58,)),
    "hippocampus": ((17,), (53,)),
    "amygdala": ((18,), (54,)),
    "ventral diencephalon": ((28,), (60,)),
    "cerebellum": ((8, 7), (47, 46)),
}
# The fifth ventricle (72), which few brains have, is counted with the third.
MIDDLE: Mapping[str, tuple[int, ...]] = {
    "third ventricle": (14, 72),
    "fourth ventricle": (15,),
    "brainstem": (16,),
    "cerebrospinal fluid": (24,),
}
# White matter that is altered, of either side: it has the side of what white matter is nearest.
UNSIDED, SIDED_BY = 77, (2, 41)

STRUCTURES: tuple[Structure, ...] = (
    *(
        Structure(f"{side} {name}", numbers[which][0], numbers[which])
        for which, side in enumerate(SIDES)
        for name, numbers in SIDED.items()
    ),
    *(Structure(name, numbers[0], numbers) for name, numbers in MIDDLE.items()),
)
NAMES = tuple(structure.name for structure in STRUCTURES)
# Index 0 is what is none of them; the others are those of `STRUCTURES` from 1 on.
COUNT = len(STRUCTURES) + 1
# The number of each index.
NUMBERS: NDArray[np.int16] = np.array([0, *(structure.number for structure in STRUCTURES)], dtype=np.int16)
# The index of each index in a mirror.
MIRRORED: NDArray[np.uint8] = np.array(
    [
        0,
        *(range(1 + len(SIDED), 1 + 2 * len(SIDED))),
        *(range(1, 1 + len(SIDED))),
        *range(1 + 2 * len(SIDED), COUNT),
    ],
    dtype=np.uint8,
)
FLUID = COUNT - 1

# The numbers of what an evaluation measures.
MEASURED: Mapping[str, tuple[int, ...]] = {
    part: tuple(one.number for one in STRUCTURES if one.name.removeprefix("left ").removeprefix("right ") in names)
    for part, names in PARTS.items()
}


def numbered() -> dict[str, int]:
    """The number of every structure by its name."""
    return {structure.name: structure.number for structure in STRUCTURES}


def indices(labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Numbers of a label map (X, Y, Z) as indices, uint8 from 0 to `COUNT` - 1; unknown numbers are 0."""
    numbers = np.rint(labels).astype(np.int64)
    altered = numbers == UNSIDED
    if altered.any():
        white = np.isin(numbers, SIDED_BY)
        if white.any():
            nearest = ndimage.distance_transform_edt(~white, return_distances=False, return_indices=True)
            numbers = np.where(altered, numbers[tuple(nearest)], numbers)
    table = np.zeros(max(int(numbers.max()), 255) + 1, dtype=np.uint8)
    for index, structure in enumerate(STRUCTURES, start=1):
        table[list(structure.numbers)] = index
    return np.asarray(table[np.clip(numbers, 0, None)])
