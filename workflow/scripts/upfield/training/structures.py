"""Images of brains whose structures are known, drawn anew from label maps in every epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from upfield.catalogue import structures
from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import Array
from upfield.patches import SOURCE, TARGET, contents
from upfield.patches.positions import positions
from upfield.preprocess.grid import SOURCE_MARGIN
from upfield.simulation import labels
from upfield.simulation.shapes import warped
from upfield.training.redraw import CENTRES, Draws, Settings, Subject

# mm: the voxels that structures are learned on, and what of a head is kept around its brain, for the warping.
SPACING, AROUND = 1.0, 20.0
# Voxels: how far a brain is closed, so that a mask covers furrows as those of brain extraction do, and how much larger
# than the brain a mask is at most.
CLOSED, LARGER = 4, 3
# How often nothing is left around the mask, as in scans that are skull-stripped.
STRIPPED = 0.3
# How far the edges of a brain are misjudged, voxels, and its lowest, where it goes on as the spinal cord.
MISJUDGED, BELOW = 4.0, 8.0
# Structures that fill a brain; boxes are also drawn around voxels of the others.
LARGE = ("cortex", "white matter", "cerebellum", "cerebrospinal fluid")


@dataclass(frozen=True)
class Anatomy(Subject):
    """A map of tissues with its structures as `target`; its brain ends at voxels `low` and `high`, (3,) each."""

    low: Array
    high: Array

    def cut(self, corner: Sequence[int], edge: int) -> Self:
        """A cube of it, smaller where it ends."""
        moved = np.asarray(corner)
        return replace(super().cut(corner, edge), low=self.low - moved, high=self.high - moved)


class Structures(Draws):
    """Draws boxes of label maps that are warped, and mirrored with their sides half of the time.

    A source has four channels: the image, and `positions`; a target holds indices of structures, and the mask is the
    brain as brain extraction would find it.
    """

    def __init__(self, settings: Settings, maps: Sequence[Path], device: torch.device, patch: int) -> None:
        """`maps` are label maps; `patch` is the edge that boxes are for. Raises UpfieldError if one cannot be read."""
        super().__init__(settings, [_of_map(path) for path in maps], device, patch)

    def _shaped(self, subject: Subject, start: Sequence[int]) -> Anatomy:
        generator = np.random.default_rng(start)
        both = torch.stack([subject.image, torch.from_numpy(subject.target)]).to(self.device)
        if generator.random() < 0.5:
            both = both.flip(1)
            both[1] = torch.from_numpy(structures.MIRRORED).to(self.device)[both[1].long()]
        tissues, found = warped(both, subject.spacing, generator)
        target = found.cpu().numpy()
        mask = closed((target > 0) & (target != structures.FLUID), int(generator.integers(LARGER + 1)))
        stripped, left = generator.random() < STRIPPED, int(generator.integers(1, round(SOURCE_MARGIN / SPACING) + 1))
        kept = mask if stripped else ndimage.maximum_filter(mask, 2 * left + 1)
        low, high = (edge.astype(float) for edge in nifti.bounding_box(mask))
        low += generator.uniform(-1, 1, 3) * (MISJUDGED, MISJUDGED, BELOW)
        high += generator.uniform(-MISJUDGED, MISJUDGED, 3)
        many = np.argwhere(mask)[::CENTRES]
        few = np.argwhere(mask & np.isin(target, SMALL))
        if len(few):
            many = np.concatenate([many, few[generator.integers(len(few), size=len(many))]])
        fixed = target, 0.0, 1.0
        return Anatomy(subject.name, tissues, subject.spacing, mask, many, kept, *fixed, low, high)

    def _contents(
        self, subject: Subject, inner: tuple[slice, ...], image: Tensor, scan: Array, scaling: Scaling
    ) -> dict[str, Tensor]:
        assert isinstance(subject, Anatomy)
        where = positions(subject.mask.shape, subject.low, subject.high)[:, *inner]
        source = np.concatenate([scaling.apply(scan)[None], where])
        held = contents(source, subject.target[inner], subject.mask[inner], subject.range)
        held |= {side: held[side].half() for side in (SOURCE, TARGET)}
        return held | {"background": torch.tensor([scaling.background, 0.0, 0.0, 0.0, 0.0])}


# Indices of the structures that are not `LARGE`.
SMALL = [number for number, name in enumerate(structures.NAMES, start=1) if not name.endswith(LARGE)]


def closed(mask: Array, larger: int) -> Array:
    """A mask (X, Y, Z) whose furrows are filled, and which is `larger` by so many voxels along each axis."""
    filled = ndimage.maximum_filter(mask, 2 * (CLOSED + larger) + 1)
    return np.asarray(ndimage.minimum_filter(filled, 2 * CLOSED + 1))


def _of_map(path: Path) -> Subject:
    """A map as it is, cut to its brain and what is around it."""
    try:
        volume = nifti.reorient(nifti.load_labels(path))
        volume = nifti.resample(volume, nifti.regrid(volume, SPACING), order=0)
        target = structures.indices(volume.data)
        solid = (target > 0) & (target != structures.FLUID)
        part = tuple(map(slice, *nifti.bounding_box(solid, round(AROUND / SPACING))))
    except ScanError as error:
        raise UpfieldError(f"{path}: {error}; anatomy.labels takes label maps with FreeSurfer's numbers") from None
    tissues, target, mask = labels.indices(volume.data)[part], target[part], solid[part]
    image = torch.from_numpy(np.ascontiguousarray(tissues))
    name, nothing = path.name.split(".")[0], np.zeros((0, 3), dtype=int)
    return Subject(name, image, SPACING, mask, nothing, mask, np.ascontiguousarray(target), 0.0, 1.0)
