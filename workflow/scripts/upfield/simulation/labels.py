"""Images drawn from label maps: every tissue a random intensity, as no scanner need ever have shown it.

After Billot et al. 2023 (SynthSeg, https://doi.org/10.1016/j.media.2023.102789): what has learned from every contrast
depends on none.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.simulation.fields import blurred, randn, smooth

# Tissues by what they look like, and the numbers of FreeSurfer's lookup table (from 500 on, of what is around the brain
# in maps for simulation) that stand for them: both halves of the brain alike.
TISSUES: Mapping[str, tuple[int, ...]] = {
    "air": (0,),
    "white matter": (2, 41),
    "cortex": (3, 42),
    "ventricles": (4, 5, 14, 15, 43, 44, 72),
    "cerebellar white matter": (7, 46),
    "cerebellar cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "brainstem": (16,),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "cerebrospinal fluid": (24,),
    "lesion": (25, 57),
    "accumbens": (26, 58),
    "ventral diencephalon": (28, 60),
    "choroid plexus": (29, 30, 31, 62, 63),
    "optic chiasm": (85,),
    "white matter, altered": (77, 136, 163),
    "deep grey, altered": (137, 164),
    "vessels": (502,),
    "eyes": (506,),
    "soft tissue": (507,),
    "muscle of the eyes": (508,),
    "mucosa": (509,),
    "skin": (511,),
    "spinal cord": (512,),
    "fluid of the head": (514,),
    "cortical bone": (515,),
    "marrow": (516,),
    "optic nerve": (530,),
}
NAMES = tuple(TISSUES)
# What is no part of the brain.
OUTSIDE = frozenset({"air", *NAMES[NAMES.index("vessels") :]})
CONTRASTS = ("T1w", "T2w", "FLAIR")
# Intensities in scans of these contrasts, by tissue.
COMMON: Mapping[str, tuple[float, float, float]] = {
    "cortex": (0.55, 0.55, 0.65), "white matter": (0.85, 0.38, 0.5), "ventricles": (0.15, 1.0, 0.12),
    "cerebrospinal fluid": (0.18, 0.95, 0.15), "thalamus": (0.68, 0.45, 0.58), "caudate": (0.58, 0.5, 0.62),
    "putamen": (0.62, 0.45, 0.6), "pallidum": (0.76, 0.3, 0.48), "brainstem": (0.78, 0.42, 0.55),
    "cerebellar white matter": (0.82, 0.38, 0.5), "cerebellar cortex": (0.55, 0.52, 0.62),
    "lesion": (0.5, 0.75, 0.95), "hippocampus": (0.56, 0.55, 0.7), "amygdala": (0.56, 0.55, 0.7),
    "accumbens": (0.58, 0.5, 0.62), "ventral diencephalon": (0.72, 0.42, 0.55), "choroid plexus": (0.4, 0.7, 0.6),
    "optic chiasm": (0.7, 0.45, 0.5), "white matter, altered": (0.7, 0.5, 0.7), "deep grey, altered": (0.6, 0.5, 0.6),
    "vessels": (0.5, 0.2, 0.3), "eyes": (0.2, 0.95, 0.25), "soft tissue": (0.5, 0.35, 0.4),
    "muscle of the eyes": (0.45, 0.3, 0.4), "mucosa": (0.5, 0.8, 0.7), "skin": (0.75, 0.5, 0.5),
    "spinal cord": (0.75, 0.42, 0.55), "fluid of the head": (0.3, 0.6, 0.3), "cortical bone": (0.05, 0.05, 0.05),
    "marrow": (0.7, 0.45, 0.4), "optic nerve": (0.7, 0.45, 0.5), "air": (0.0, 0.0, 0.0),
}  # fmt: skip


# Tissues whose intensities the others are near to where nuclei look like what they are made of.
MAIN = ("white matter", "cortex", "ventricles", "soft tissue", "cortical bone")
# How much intensities differ from common ones, or from those of the tissue they are near to; all of them from 0 to 1.
CHANGED, NEAR = 0.08, 0.05
# Standard deviation of a tissue's texture at most, its size (sigma, mm), and how far tissues vary slowly.
TEXTURE, GRAIN, SLOW = 0.06, (0.5, 2.0), 0.08
# Sigma of the blur that borders have, mm: part of a voxel is one tissue, part another.
BORDER = (0.35, 0.8)
# Knots along each axis of what varies slowly.
KNOTS = 6


def indices(labels: Array) -> Array:
    """Numbers of a label map as indices of `NAMES`, uint8; a number that is not known is soft tissue."""
    numbers = np.rint(labels).astype(np.int64)
    table = np.full(max(int(numbers.max()), 600) + 1, NAMES.index("soft tissue"), dtype=np.uint8)
    for index, known in enumerate(TISSUES.values()):
        table[list(known)] = index
    return np.asarray(table[np.clip(numbers, 0, None)])


def brain(tissues: Array) -> Array:
    """Where a map of indices is brain, its fluid included."""
    return np.isin(tissues, [index for index, name in enumerate(NAMES) if name not in OUTSIDE])


def cut(volume: Volume, margin: float) -> tuple[Volume, Array]:
    """A label map as indices of `NAMES`, cut to what is within a box `margin` mm around its brain; and the brain.

    Raises ScanError if there is none.
    """
    inside = brain(indices(volume.data))
    grid = nifti.crop(volume.grid, *nifti.bounding_box(inside, np.ceil(margin / volume.grid.spacing).astype(int)))
    tissues = indices(nifti.resample(volume, grid, order=0).data)
    return Volume(tissues, grid.affine), brain(tissues)


def drawn(tissues: Tensor, spacing: float, generator: np.random.Generator, like: str | None = None) -> Tensor:
    """An image (X, Y, Z) from 0 to about 1 of a map of indices with voxels of `spacing` mm, without a scanner's noise.

    Half of them look like a common contrast, in the others tissues are anything; all are `like` one if it is given, of
    `CONTRASTS`. Tissues have a texture and vary
    slowly, and their borders are blurred.
    """
    device = tissues.device
    spread = generator.uniform(0, TEXTURE, len(NAMES))
    spread[0] = 0
    index = tissues.long()
    image, texture = (
        torch.from_numpy(table).float().to(device)[index] for table in (_intensities(generator, like), spread)
    )
    grain = blurred(randn(tissues.shape, generator, device), float(generator.uniform(*GRAIN)) / spacing)
    image = image + texture * grain / grain.std().clamp(min=1e-6)
    slow = smooth(tissues.shape, KNOTS, generator, device)
    image = image * (1 + float(generator.uniform(0, SLOW)) * slow)
    return blurred(image.clamp(min=0), float(generator.uniform(*BORDER)) / spacing)


def _intensities(generator: np.random.Generator, like: str | None) -> Array:
    """The mean intensity of every tissue; air is 0."""
    found = generator.uniform(0.0, 1.0, len(NAMES))
    common = np.array([COMMON[name] for name in NAMES])
    kind = generator.random()
    if kind < 0.5 or like is not None:
        column = common[:, generator.integers(common.shape[1]) if like is None else CONTRASTS.index(like)]
        found = column + generator.normal(0, CHANGED, len(NAMES))
    elif kind < 0.75:
        main = [NAMES.index(name) for name in MAIN]
        nearest = np.abs(common[:, :1] - common[main, 0][None]).argmin(axis=1)
        found = found[main][nearest] + generator.normal(0, NEAR, len(NAMES))
    found[0] = 0
    return np.clip(found, 0, None)
