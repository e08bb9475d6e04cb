"""Sources that are drawn anew in every epoch of training (`simulate.redraw`), from targets and from label maps.

As many as there are targets and maps, held in memory; drawn on the device that trains. With `boxes` an acquisition is
of a part of a volume alone: so many more are seen in the same time. What is drawn is a function of (seed, epoch, number
of the target or map, and of the box) alone, so that a run that is resumed sees the same.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from upfield.errors import ScanError, UpfieldError
from upfield.image import intensity, nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import Array, Volume
from upfield.patches import SOURCE, TARGET, Store, contents
from upfield.preprocess.grid import MARGIN, SOURCE_MARGIN
from upfield.simulation import contrast, labels, protocol, simple
from upfield.simulation.acquisition import acquire

# Distinguishes these random numbers from others.
REDRAWN = 0x5EED
# The number of the draws that validate, which no epoch has.
VALIDATED = 2**31
# Contrasts that are drawn for an image at most, and the standard deviation of a brain that is flat.
TRIES, FLAT = 8, 0.04
# Percentile of an anatomy that is 1 before its contrast is changed.
TOP = 0.99
# Voxels by which a box is larger than a patch, so that patches differ in place, and those that are drawn around it and
# cut off, where an acquisition of a part is not that of the whole.
LARGER, RIM = 8, 8
# Of so many brain voxels of a map, one can be the centre of a box.
CENTRES = 50
# How much wider the intensities of a brain are than those of a box.
WIDER = (0.95, 1.4)


@dataclass(frozen=True)
class Settings:
    """What the `simulate` and `preprocess` blocks of a study say of redrawing.

    Attributes
    ----------
    ranges
        Of `protocol.Acquisition`, see `protocol.protocols`.
    contrast
        Spread of a source's tissues relative to that of the target, where the target is as it was acquired.
    contrasts
        Share of the draws of a scan that have another contrast, 0 to 1.
    lesions
        How many lesions an image has at most.
    boxes
        How many parts of each volume are drawn, each with an acquisition of its own; 0: volumes are drawn whole.
    keeps_contrast
        Whether the target of a draw is the image that was acquired, on the source's own scale; else it is the target as
        it is.
    normalize
        How intensities are normalized.
    seed
        Of all that is drawn.

    """

    ranges: protocol.Given
    contrast: float
    contrasts: float
    lesions: int
    boxes: int
    keeps_contrast: bool
    normalize: str
    seed: int


@dataclass(frozen=True)
class Subject:
    """What sources are drawn from: magnitudes, or a map of tissues; (X, Y, Z) of voxels of `spacing` mm.

    `mask` is its brain, of which `centres` are some voxels, and `kept` what is left of a source; `target` is that of
    its store, `background` what that is around the brain, and `range` its robust width.
    """

    name: str
    image: Tensor
    spacing: float
    mask: Array
    centres: Array
    kept: Array
    target: Array
    background: float
    range: float

    def cut(self, corner: Sequence[int], edge: int) -> Self:
        """A cube of it, smaller where it ends."""
        box = tuple(slice(low, low + edge) for low in corner)
        parts = {name: getattr(self, name)[box] for name in ("image", "mask", "kept", "target")}
        return replace(self, **parts)


class Draws:
    """Draws what an epoch learns from, or what validates: scans of `subjects`, and what is to be made of them."""

    def __init__(self, settings: Settings, subjects: Sequence[Subject], device: torch.device, patch: int) -> None:
        """`patch` is the edge that boxes are for."""
        self.settings, self.device, self.edge = settings, device, patch + LARGER
        self.kinds = protocol.protocols(settings.ranges)
        self.subjects = list(subjects)

    def __len__(self) -> int:
        """How many volumes, or boxes, an epoch has."""
        return len(self.subjects) * max(self.settings.boxes, 1)

    def drawn(self, epoch: int) -> list[Store]:
        """The stores of an epoch, in memory."""
        started = time.monotonic()
        stores = []
        for number, subject in enumerate(self.subjects):
            start = [REDRAWN, self.settings.seed, epoch, number]
            subject = self._shaped(subject, start)
            if not self.settings.boxes:
                stores.append(self._drawn(subject, np.random.default_rng(start)))
            for box in range(self.settings.boxes):
                stores.append(self._box(subject, np.random.default_rng([*start, box])))
        seconds = time.monotonic() - started
        what = "validation" if epoch == VALIDATED else f"epoch {epoch + 1}"
        logging.info("%s: drew %d sources anew in %.1f s", what, len(stores), seconds)
        return stores

    def _shaped(self, subject: Subject, start: Sequence[int]) -> Subject:
        """A subject as an epoch has it; `start` are the numbers that its randomness begins with."""
        return subject

    def _box(self, subject: Subject, generator: np.random.Generator) -> Store:
        """A part of a subject, around a voxel of its brain."""
        edge, size = self.edge + 2 * RIM, subject.mask.shape
        centre = subject.centres[generator.integers(len(subject.centres))]
        corner = [int(np.clip(c - edge // 2, 0, max(n - edge, 0))) for c, n in zip(centre, size, strict=True)]
        return self._drawn(subject.cut(corner, edge), generator, [RIM if length > edge else 0 for length in size])

    def _drawn(self, subject: Subject, generator: np.random.Generator, rim: Sequence[int] = (0, 0, 0)) -> Store:
        """What is acquired of a subject, without `rim` voxels of each side."""
        mask = torch.from_numpy(np.ascontiguousarray(subject.mask)).to(self.device)
        image = self._image(subject, mask, generator)
        image = contrast.with_lesions(image, mask, subject.spacing, self.settings.lesions, generator)
        acquisition = protocol.one_of(self.kinds, generator)
        scan = acquire(image, subject.spacing, acquisition, generator).on(image.shape).cpu().numpy()
        inner = tuple(slice(cut, length - cut) for cut, length in zip(rim, scan.shape, strict=True))
        scan = np.where(subject.kept, scan, 0)[inner]
        scaling = intensity.fit(scan, subject.mask[inner], self.settings.normalize)
        if self.settings.boxes:
            scaling = _of_brain(scaling, generator)
        return Store(subject.name, self._contents(subject, inner, image, scan, scaling))

    def _contents(
        self, subject: Subject, inner: tuple[slice, ...], image: Tensor, scan: Array, scaling: Scaling
    ) -> dict[str, Tensor]:
        """What a store holds, see `patches.store.contents`, of what is `inner`, to which `scan` is cut already."""
        raise NotImplementedError

    def _image(self, subject: Subject, mask: Tensor, generator: np.random.Generator) -> Tensor:
        """What is acquired; a contrast in which hardly anything of the brain can be told apart is drawn again."""
        given = subject.image.to(self.device)
        for _ in range(TRIES):
            image = given
            if not given.is_floating_point():
                image = labels.drawn(given, subject.spacing, generator)
            elif generator.random() < self.settings.contrasts:
                image = contrast.recoloured(given, generator)
            if image is given or float(image[mask].std()) > FLAT:
                return image
        return image


class Redraw(Draws):
    """Draws from targets of a study and from label maps.

    Of other contrasts, lesions and label maps nothing but the same contrast can be learned: `keeps_contrast`.
    """

    def __init__(
        self, settings: Settings, stores: Sequence[Store], maps: Sequence[Path], device: torch.device, patch: int = 0
    ) -> None:
        """`maps` are label maps, which are brought to the voxels of the stores; `patch` is the edge that boxes are for.

        Raises UpfieldError if a store holds no anatomy, or a map cannot be read.
        """
        subjects = [_of_store(store, settings) for store in stores]
        spacing = min(subject.spacing for subject in subjects)
        super().__init__(settings, [*subjects, *(_of_map(path, spacing) for path in maps)], device, patch)

    def _contents(
        self, subject: Subject, inner: tuple[slice, ...], image: Tensor, scan: Array, scaling: Scaling
    ) -> dict[str, Tensor]:
        """Source and target; both with the contrast that was acquired, or the target as it is."""
        mask = subject.mask[inner]
        target, outside, width = subject.target[inner], subject.background, subject.range
        if self.settings.keeps_contrast:
            shown = np.where(mask, image.cpu().numpy()[inner], 0)
            low, high = intensity.robust_range(shown, mask)
            target, outside, width = scaling.apply(shown), scaling.background, (high - low) / scaling.scale
        held = contents(scaling.apply(scan), target, mask, width)
        held |= {side: held[side].half() for side in (SOURCE, TARGET)[: 1 + self.settings.keeps_contrast]}
        return held | {"background": torch.tensor([scaling.background, outside])}


def _of_store(store: Store, settings: Settings) -> Subject:
    image, spacing = store.anatomy()
    whole = store.whole()
    mask = whole["mask"][0].numpy() > 0
    top = max(float(np.quantile(image.numpy()[mask], TOP)), 1e-6)
    if not settings.keeps_contrast:
        image = torch.from_numpy(simple.flattened(image.numpy(), settings.contrast, top)).float()
    target = whole[TARGET][0].numpy()
    fixed = target, float(target[0, 0, 0]), store.range
    return Subject(store.name, image / top, spacing, mask, store.centres, _kept(mask, spacing), *fixed)


def _of_map(path: Path, spacing: float) -> Subject:
    try:
        volume = nifti.reorient(nifti.load_labels(path))
        tissues, mask = labels.cut(nifti.resample(volume, nifti.regrid(volume, spacing), order=0), MARGIN)
    except ScanError as error:
        raise UpfieldError(
            f"{path}: {error}; simulate.redraw.labels takes label maps with FreeSurfer's numbers"
        ) from None
    # Targets are what is drawn, and of no map anything is measured.
    fixed = np.zeros(mask.shape, dtype=np.float32), 0.0, 1.0
    name, image = path.name.split(".")[0], torch.from_numpy(tissues.data)
    return Subject(name, image, spacing, mask, np.argwhere(mask)[::CENTRES], _kept(mask, spacing), *fixed)


def _of_brain(scaling: Scaling, generator: np.random.Generator) -> Scaling:
    """The scaling of a brain of which a part is known."""
    width = scaling.scale * float(generator.uniform(*WIDER))
    return Scaling(scaling.offset - (width - scaling.scale) * float(generator.random()), width)


def _kept(mask: Array, spacing: float) -> Array:
    """What a source shows: the brain, and as much around it as a study's sources show."""
    return nifti.dilated(Volume(mask, np.diag([spacing, spacing, spacing, 1.0])), SOURCE_MARGIN)
