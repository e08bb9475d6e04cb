"""Patch stores, one per participant, and the drawing of patches from them.

Nothing is cut in advance: a store holds the whole pair on the working grid in a memory-mapped safetensors file,
and a patch is read from it at a place that depends on (seed, epoch, index) alone. So any run, resumed or not, with
any number of workers, sees the same patches in the same order, and no epoch repeats the places of another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from upfield import nifti
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.files import atomic, read_json
from upfield.nifti import SAME, Array, Scale, mask_on

# How many brain voxels of a volume can be the centre of a patch: plenty, and the store stays small.
CENTRES = 20_000


def source_key(scale: Scale) -> str:
    """Under which name a store holds the source of a scale."""
    return "source" if scale == SAME else f"source_{'x'.join(map(str, scale))}"


def write_store(
    path: str | Path,
    source: Array,
    target: Array,
    mask: Array,
    range_: float,
    reduced: Mapping[Scale, Array] | None = None,
) -> None:
    """Write a participant's store, atomically.

    Parameters
    ----------
    source, target
        (X, Y, Z) normalised images on the working grid.
    mask
        (X, Y, Z) boolean, the target's brain; an empty mask (an excluded pair) makes a store nobody draws from.
    range_
        Robust width of the target's intensities in normalised units: the data range of validation PSNR.
    reduced
        The source on coarser grids, by scale: sizes times scale are those of the target.

    """
    where = np.argwhere(mask)
    step = max(len(where) // CENTRES, 1)
    tensors = {
        "source": torch.from_numpy(np.ascontiguousarray(source, dtype=np.float32))[None],
        "target": torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32))[None],
        "mask": torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None],
        "centres": torch.from_numpy(np.ascontiguousarray(where[::step], dtype=np.int32)),
        "range": torch.tensor([range_], dtype=torch.float32),
        # What lies outside the volume: the value of its corner, which is background on the cropped grid.
        "background": torch.tensor([float(source.flat[0]), float(target.flat[0])], dtype=torch.float32),
    }
    for scale, image in (reduced or {}).items():
        tensors[source_key(scale)] = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    with atomic(path) as temporary:
        save_file(tensors, temporary)


class Store:
    """Read access to one participant's store; patches are read from disk as they are asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._file = safe_open(path, framework="pt")
        self.shape = tuple(self._file.get_slice("mask").get_shape()[1:])
        self.centres = self._file.get_tensor("centres").numpy()
        self.range = float(self._file.get_tensor("range"))
        self._background = self._file.get_tensor("background").tolist()

    def read(self, corner: Sequence[int], shape: Sequence[int], scale: Scale = SAME) -> dict[str, Tensor]:
        """Source, target and mask (each (1, x, y, z), float32) of the box at `corner`; background beyond the edge.

        Corner and shape are in voxels of the target and multiples of `scale`; the source is that much smaller.
        Raises UpfieldError if the store holds no source of that scale.
        """
        key = source_key(scale)
        if key not in self._file.keys():  # noqa: SIM118
            raise UpfieldError(f"{self.path} holds no source of scale {scale}; rerun the stage patches")
        low, size = ([value // factor for value, factor in zip(box, scale, strict=True)] for box in (corner, shape))
        return {
            "source": self._box(key, low, size, self._background[0]),
            "target": self._box("target", corner, shape, self._background[1]),
            "mask": self._box("mask", corner, shape, 0.0),
        }

    def _box(self, key: str, corner: Sequence[int], shape: Sequence[int], background: float) -> Tensor:
        stored = self._file.get_slice(key)
        low = [max(c, 0) for c in corner]
        high = [min(c + n, size) for c, n, size in zip(corner, shape, stored.get_shape()[1:], strict=True)]
        # torch pads the last axis first.
        padding = [
            p for c, n, a, b in reversed(list(zip(corner, shape, low, high, strict=True))) for p in (a - c, c + n - b)
        ]
        box = stored[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()
        return torch.nn.functional.pad(box, padding, value=background) if any(padding) else box

    def whole(self) -> dict[str, Tensor]:
        """Source, target and mask of the whole volume."""
        return self.read((0, 0, 0), self.shape)


@dataclass(frozen=True)
class Sampling:
    """How patches are drawn: the edge lengths in voxels, how many per volume, the share centred in the brain.

    `shape` is that of the target; it is a multiple of `scale`, and the source is that much smaller.
    """

    shape: tuple[int, int, int]
    per_volume: int
    foreground: float
    seed: int
    scale: Scale = SAME


def usable(paths: Sequence[str | Path]) -> list[Store]:
    """Open stores; those of excluded pairs (no brain) are left out. Raises UpfieldError if none is left."""
    stores = [store for store in map(Store, paths) if len(store.centres)]
    if not stores:
        raise UpfieldError("patches: no usable pair among the participants; see excluded.tsv for the reasons")
    return stores


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
        store = self.stores[which]
        if generator.random() < self.sampling.foreground:
            centre = store.centres[generator.integers(len(store.centres))]
        else:
            centre = np.array([generator.integers(size) for size in store.shape])
        corner = []
        for middle, edge, size, factor in zip(
            centre, self.sampling.shape, store.shape, self.sampling.scale, strict=True
        ):
            # Inside the volume where it is large enough, else centred on it and padded; at a corner of source voxels.
            low, high = min(0, (size - edge) // 2), max(size - edge, (size - edge) // 2)
            corner.append(int(np.clip(middle - edge // 2, low, high)) // factor * factor)
        return which, corner

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        which, corner = self.place(index)
        patch = self.stores[which].read(corner, self.sampling.shape, self.sampling.scale)
        return {**patch, "range": torch.tensor(self.stores[which].range)}


def extract(
    source: str, target: str, target_mask: str, output: str, reduced: Mapping[Scale, str] | None = None
) -> None:
    """Write the store of a preprocessed pair (paths of images on one working grid, and the native target mask).

    `reduced` names the source on coarser grids, by scale. An excluded pair gets a store without brain. Raises
    UpfieldError if the grids do not belong together.
    """
    metadata = read_json(sidecar(target))
    reason = metadata.get("Excluded") or read_json(sidecar(source)).get("Excluded")
    a, b = nifti.load(source), nifti.load(target)
    if not a.grid.matches(b.grid):
        raise UpfieldError(f"{source} and {target} are not on one grid; rerun the stage preprocess")
    if reason is not None:
        write_store(output, a.data, b.data, np.zeros(b.data.shape, dtype=bool), 1.0)
        return
    small = {}
    for scale, path in (reduced or {}).items():
        image = nifti.load(path)
        if not image.grid.matches(nifti.coarsen(b.grid, scale)):
            raise UpfieldError(f"{path} does not cover the voxels of {target}; rerun the stage preprocess")
        small[scale] = image.data
    low, high = metadata["RobustRange"]
    mask = mask_on(nifti.load_mask(target_mask), b.grid)
    write_store(output, a.data, b.data, mask, (high - low) / metadata["IntensityScale"], small)
