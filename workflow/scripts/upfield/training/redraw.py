"""Sources that are drawn anew in every epoch of training (`simulate.redraw`), from targets and from label maps.

As many as there are targets and maps, held in memory; drawn on the device that trains. What is drawn is a function of
(seed, epoch, number of the target or map) alone, so that a run that is resumed sees the same.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from upfield.errors import ScanError, UpfieldError
from upfield.image import intensity, nifti
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
    keeps_contrast: bool
    normalize: str
    seed: int


@dataclass(frozen=True)
class _Subject:
    """What sources are drawn from: magnitudes, or a map of tissues; (X, Y, Z) of voxels of `spacing` mm.

    `mask` is its brain, `kept` what is left of a source, and `store` what a store of it holds whatever is drawn.
    """

    name: str
    image: Tensor
    spacing: float
    mask: Array
    kept: Array
    store: Mapping[str, Tensor]


class Redraw:
    """Draws the training set of an epoch, or what validates.

    Of other contrasts, lesions and label maps nothing but the same contrast can be learned: `keeps_contrast`.
    """

    def __init__(self, settings: Settings, stores: Sequence[Store], maps: Sequence[Path], device: torch.device) -> None:
        """`maps` are label maps, which are brought to the voxels of the stores.

        Raises UpfieldError if a store holds no anatomy, or a map cannot be read.
        """
        self.settings, self.device = settings, device
        self.kinds = protocol.protocols(settings.ranges)
        self.subjects = [self._of_store(store) for store in stores]
        spacing = min(subject.spacing for subject in self.subjects)
        self.subjects += [_of_map(path, spacing) for path in maps]

    def __len__(self) -> int:
        """How many volumes an epoch has."""
        return len(self.subjects)

    def drawn(self, epoch: int) -> list[Store]:
        """The stores of an epoch, in memory."""
        started = time.monotonic()
        stores = [self._drawn(subject, epoch, number) for number, subject in enumerate(self.subjects)]
        seconds = time.monotonic() - started
        what = "validation" if epoch == VALIDATED else f"epoch {epoch + 1}"
        logging.info("%s: drew %d sources anew in %.1f s", what, len(stores), seconds)
        return stores

    def _of_store(self, store: Store) -> _Subject:
        image, spacing = store.anatomy()
        whole = store.whole()
        mask = whole["mask"][0].numpy() > 0
        top = max(float(np.quantile(image.numpy()[mask], TOP)), 1e-6)
        if not self.settings.keeps_contrast:
            image = torch.from_numpy(simple.flattened(image.numpy(), self.settings.contrast, top)).float()
        held = contents(None, whole[TARGET].numpy(), mask, store.range)
        return _Subject(store.name, image / top, spacing, mask, _kept(mask, spacing), held)

    def _drawn(self, subject: _Subject, epoch: int, number: int) -> Store:
        generator = np.random.default_rng([REDRAWN, self.settings.seed, epoch, number])
        mask = torch.from_numpy(subject.mask).to(self.device)
        image = self._image(subject, mask, generator)
        image = contrast.with_lesions(image, mask, subject.spacing, self.settings.lesions, generator)
        acquisition = protocol.one_of(self.kinds, generator)
        scan = acquire(image, subject.spacing, acquisition, generator).on(image.shape).cpu().numpy()
        scan = np.where(subject.kept, scan, 0)
        scaling = intensity.fit(scan, subject.mask, self.settings.normalize)
        held = {name: value for name, value in subject.store.items() if name != "background"}
        background = {SOURCE: torch.tensor([scaling.background])}
        held[SOURCE] = torch.from_numpy(scaling.apply(scan))[None].half()
        if self.settings.keeps_contrast:
            target = np.where(subject.mask, image.cpu().numpy(), 0)
            held[TARGET] = torch.from_numpy(scaling.apply(target))[None].half()
            background[TARGET] = background[SOURCE]
            low, high = intensity.robust_range(target, subject.mask)
            held["range"] = torch.tensor([(high - low) / scaling.scale])
        else:
            background[TARGET] = subject.store["background"]
        held["background"] = torch.cat(list(background.values()))
        return Store(subject.name, held)

    def _image(self, subject: _Subject, mask: Tensor, generator: np.random.Generator) -> Tensor:
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


def _of_map(path: Path, spacing: float) -> _Subject:
    try:
        volume = nifti.reorient(nifti.load_labels(path))
        tissues, mask = labels.cut(nifti.resample(volume, nifti.regrid(volume, spacing), order=0), MARGIN)
    except ScanError as error:
        raise UpfieldError(
            f"{path}: {error}; simulate.redraw.labels takes label maps with FreeSurfer's numbers"
        ) from None
    # Of the validation PSNR, for which nothing here is used; the brain is 0 to 1.
    held = contents(None, np.zeros(mask.shape, dtype=np.float32), mask, 1.0)
    image = torch.from_numpy(tissues.data)
    return _Subject(path.name.split(".")[0], image, spacing, mask, _kept(mask, spacing), held)


def _kept(mask: Array, spacing: float) -> Array:
    """What a source shows: the brain, and as much around it as a study's sources show."""
    return nifti.dilated(Volume(mask, np.diag([spacing, spacing, spacing, 1.0])), SOURCE_MARGIN)
