"""The baseline `denoise`: a classical denoiser tuned on validation participants, a curve fitted on training ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upfield.image import denoising, nifti
from upfield.image.intensity import robust_range
from upfield.image.nifti import Array
from upfield.preprocess.derivatives import robust_width, scaling_of, why_excluded
from upfield.training import curves

# mm around a brain that filters see.
MARGIN = 10.0


@dataclass(frozen=True)
class Pair:
    """Files of a pair: native, bias-corrected images, the transform between them, the target's brain mask."""

    participant: str
    source: str
    source_preprocessed: str
    target: str
    target_preprocessed: str
    transform: str
    mask: str

    @property
    def usable(self) -> bool:
        """Whether neither scan is excluded."""
        return why_excluded([self.source_preprocessed, self.target_preprocessed]) is None


def fit_denoise(folder: Path, *, train: Sequence[Pair], val: Sequence[Pair], card: Mapping[str, Any]) -> None:
    """Choose denoiser and curve by mean PSNR and write them as a model folder.

    The curve leads from the denoised source to the target, both normalized, over the brain; it is fitted on `train`
    alone. Every denoiser with every curve is a candidate, and that with the highest mean PSNR of `val` is taken, or of
    `train` where `val` has nobody. The model card says which, and lists all `candidates`. Raises UpfieldError if no
    training pair is usable.
    """
    curves.fit(
        folder, method="denoise", parts={"train": train, "val": val}, candidates=denoising.CANDIDATES,
        names=("kind", "strength"), samples=_denoised, card=card,
    )  # fmt: skip


def _denoised(pair: Pair) -> dict[tuple[str, float], tuple[Array, Array, float]]:
    """By candidate: the voxels of a brain in the denoised source and in the target, and the target's robust width."""
    target, mask = nifti.load(pair.target), nifti.load_mask(pair.mask)
    margin = np.ceil(MARGIN / target.grid.spacing).astype(int)
    low, high = nifti.bounding_box(mask.data, margin)
    part, grid = tuple(map(slice, low, high)), nifti.crop(target.grid, low, high)
    moved = nifti.resample(nifti.load(pair.source), grid, nifti.read_transform(pair.transform), order=3)
    shown = scaling_of(pair.source_preprocessed).apply(moved.data)
    wanted = scaling_of(pair.target_preprocessed).apply(target.data[part])
    inside, width = mask.data[part], robust_width(pair.source_preprocessed)
    least, most = robust_range(wanted, inside)
    return {
        (kind, strength): (
            denoising.denoise(shown, grid.spacing, width, kind, strength)[inside], wanted[inside], most - least,
        )
        for kind, strength in denoising.CANDIDATES
    }  # fmt: skip
