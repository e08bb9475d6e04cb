"""The drawing of patches from stores.

Nothing is cut in advance: a patch is read from a store at a place that depends on (seed, epoch, index) alone. So any
run, resumed or not, with any number of workers, sees the same patches in the same order, and no epoch repeats the
places of another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from upfield.errors import UpfieldError
from upfield.image.nifti import SAME, Array, Scale
from upfield.patches.store import SOURCE, TARGET, Store

# Distinguishes the random numbers of the counterparts from others.
COUNTERPART = 0xB0B
# Places tried for a patch with enough brain in it; the fullest is taken if none has.
TRIES = 50


@dataclass(frozen=True)
class Sampling:
    """How patches are drawn: the edge lengths in voxels, how many per volume, the share centred in the brain.

    `shape` is that of the target; it is a multiple of `scale`, and the source is that much smaller. Those centred in
    the brain are brain in at least `brain_share` of their voxels, if that can be found.
    """

    shape: tuple[int, int, int]
    per_volume: int
    foreground: float
    seed: int
    scale: Scale = SAME
    brain_share: float = 0.0


class Patches(Dataset[dict[str, Tensor]]):
    """The patches of one epoch, `per_volume` from each store, in an order shuffled by (seed, epoch)."""

    def __init__(self, stores: Sequence[Store], sampling: Sampling, epoch: int) -> None:
        self.stores = list(stores)
        self.sampling = sampling
        self.epoch = epoch
        total = len(self.stores) * sampling.per_volume
        self.order = np.random.default_rng([sampling.seed, epoch]).permutation(total)

    def __len__(self) -> int:
        return len(self.order)

    def place(self, index: int) -> tuple[int, list[int]]:
        """Which store, and the corner of the patch in its voxels: a function of (seed, epoch, index)."""
        generator = np.random.default_rng([self.sampling.seed, self.epoch, index])
        which = int(self.order[index]) // self.sampling.per_volume
        return which, self._corner(self.stores[which], generator)

    def _corner(self, store: Store, generator: np.random.Generator) -> list[int]:
        if generator.random() >= self.sampling.foreground:
            return self._around(np.array([generator.integers(size) for size in store.shape]), store)
        fullest, most = [], -1.0
        for _ in range(TRIES):
            corner = self._around(store.centres[generator.integers(len(store.centres))], store)
            share = store.brain_share(corner, self.sampling.shape) if self.sampling.brain_share else 0.0
            if share > most:
                fullest, most = corner, share
            if most >= self.sampling.brain_share:
                break
        return fullest

    def _around(self, centre: Array, store: Store) -> list[int]:
        corner = []
        for middle, edge, size, factor in zip(
            centre, self.sampling.shape, store.shape, self.sampling.scale, strict=True
        ):
            # Inside the volume where it is large enough, else centred on it and padded; at a corner of source voxels.
            low, high = min(0, (size - edge) // 2), max(size - edge, (size - edge) // 2)
            corner.append(int(np.clip(middle - edge // 2, low, high)) // factor * factor)
        return corner

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        which, corner = self.place(index)
        patch = self.stores[which].read(corner, self.sampling.shape, self.sampling.scale)
        return {**patch, "range": torch.tensor(self.stores[which].range)}


def require(found: Mapping[str, Sequence[Store]]) -> None:
    """Raise UpfieldError for the first side, source or target, of which no store was found."""
    missing = next((side for side, stores in found.items() if not stores), None)
    if missing is not None:
        raise UpfieldError(f"patches: no usable {missing} among the participants; see excluded.tsv for the reasons")


class UnpairedPatches(Patches):
    """The patches of one epoch where source and target are of different people.

    `per_volume` from each store that holds a source. Its target comes from a store that holds a target alone, which,
    and where in it, independent of the source; from the same place of the same store if that holds a pair. `paired`
    tells the two apart (0 and 1); `mask` belongs to the source, `target_mask` to the target. Raises UpfieldError if
    one side is missing.
    """

    def __init__(self, stores: Sequence[Store], sampling: Sampling, epoch: int) -> None:
        super().__init__([store for store in stores if SOURCE in store.sides], sampling, epoch)
        self.targets = [store for store in stores if store.sides == (TARGET,)]
        require({SOURCE: self.stores, TARGET: self.targets})

    def counterpart(self, index: int) -> tuple[int, list[int]]:
        """Which target store, and the corner of the patch in it, for a source without a pair."""
        generator = np.random.default_rng([self.sampling.seed, self.epoch, index, COUNTERPART])
        which = int(generator.integers(len(self.targets)))
        return which, self._corner(self.targets[which], generator)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        patch = super().__getitem__(index)
        paired = TARGET in patch
        if paired:
            patch["target_mask"] = patch["mask"]
        else:
            which, corner = self.counterpart(index)
            other = self.targets[which].read(corner, self.sampling.shape)
            patch |= {"target": other["target"], "target_mask": other["mask"]}
        return {**patch, "paired": torch.tensor(float(paired))}


def draw(stores: Sequence[Store], sampling: Sampling, epoch: int) -> Patches:
    """The patches of one epoch: of pairs, or of an unpaired study if a store holds one side alone."""
    kind = Patches if all(store.paired for store in stores) else UnpairedPatches
    return kind(stores, sampling, epoch)
