"""Patch stores: a pair, or one scan of an unpaired study, on its working grid in a memory-mapped file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from upfield import nifti
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.files import atomic, read_json
from upfield.nifti import SAME, Array, Scale, mask_on
from upfield.preprocess import excluded

# The two sides of a study, as the tensors of a store are called.
SOURCE, TARGET = "source", "target"
# How many brain voxels of a volume can be the centre of a patch: plenty, and the store stays small.
CENTRES = 20_000


def source_key(scale: Scale) -> str:
    """Under which name a store holds the source of a scale."""
    return "source" if scale == SAME else f"source_{'x'.join(map(str, scale))}"


def write_store(
    path: str | Path,
    source: Array | None,
    target: Array | None,
    mask: Array,
    range_: float,
    reduced: Mapping[Scale, Array] | None = None,
) -> None:
    """Write the store of a pair, or of one scan, atomically.

    Parameters
    ----------
    source, target
        (X, Y, Z) normalised images on the working grid; one of them is None for a scan without a counterpart.
    mask
        (X, Y, Z) boolean, the brain of the target, or of the only image; an empty mask (an excluded pair) makes a
        store nobody draws from.
    range_
        Robust width of the intensities of the image that the mask belongs to, in normalised units: the data range of
        validation PSNR.
    reduced
        The source on coarser grids, by scale: sizes times scale are those of the target.

    """
    where = np.argwhere(mask)
    step = max(len(where) // CENTRES, 1)
    images = {side: image for side, image in ((SOURCE, source), (TARGET, target)) if image is not None}
    tensors = {
        **{
            side: torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
            for side, image in images.items()
        },
        "mask": torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None],
        "centres": torch.from_numpy(np.ascontiguousarray(where[::step], dtype=np.int32)),
        "range": torch.tensor([range_], dtype=torch.float32),
        # What lies outside the volume: the value of its corner, which is background on the cropped grid.
        "background": torch.tensor([float(image.flat[0]) for image in images.values()], dtype=torch.float32),
    }
    for scale, image in (reduced or {}).items():
        tensors[source_key(scale)] = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    with atomic(path) as temporary:
        save_file(tensors, temporary)


class Store:
    """Read access to one store; patches are read from disk as they are asked for.

    `sides` names the images it holds: source, target or both.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._file = safe_open(path, framework="pt")
        self.shape = tuple(self._file.get_slice("mask").get_shape()[1:])
        self.centres = self._file.get_tensor("centres").numpy()
        self.range = float(self._file.get_tensor("range"))
        self.sides = tuple(side for side in (SOURCE, TARGET) if side in self._file.keys())  # noqa: SIM118
        self._background = dict(zip(self.sides, self._file.get_tensor("background").tolist(), strict=True))

    @property
    def paired(self) -> bool:
        """Whether it holds both images, of one person at the same places."""
        return len(self.sides) == 2

    def read(self, corner: Sequence[int], shape: Sequence[int], scale: Scale = SAME) -> dict[str, Tensor]:
        """The images and the mask (each (1, x, y, z), float32) of the box at `corner`; background beyond the edge.

        Corner and shape are in voxels of the target and multiples of `scale`; the source is that much smaller.
        Raises UpfieldError if the store holds no source of that scale.
        """
        low, size = ([value // factor for value, factor in zip(box, scale, strict=True)] for box in (corner, shape))
        boxes = {"mask": self._box("mask", corner, shape, 0.0)}
        if SOURCE in self.sides:
            key = source_key(scale)
            if key not in self._file.keys():  # noqa: SIM118
                raise UpfieldError(f"{self.path} holds no source of scale {scale}; rerun the stage patches")
            boxes[SOURCE] = self._box(key, low, size, self._background[SOURCE])
        if TARGET in self.sides:
            boxes[TARGET] = self._box(TARGET, corner, shape, self._background[TARGET])
        return boxes

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
        """The images and the mask of the whole volume."""
        return self.read((0, 0, 0), self.shape)


def usable(paths: Sequence[str | Path]) -> list[Store]:
    """Open stores; those of excluded pairs (no brain) are left out. Raises UpfieldError if none is left."""
    stores = [store for store in map(Store, paths) if len(store.centres)]
    if not stores:
        raise UpfieldError("patches: no usable pair among the participants; see excluded.tsv for the reasons")
    return stores


def extract(
    source: str | None, target: str | None, mask: str, output: str, reduced: Mapping[Scale, str] | None = None
) -> None:
    """Write the store of a preprocessed pair, or of one preprocessed scan.

    `source` and `target` are images on one working grid, one of them None for a scan without a counterpart; `mask` is
    the native mask of the target, or of the only scan; `reduced` names the source on coarser grids, by scale. An
    excluded pair or scan gets a store without brain. Raises UpfieldError if the grids do not belong together.
    """
    paths = [path for path in (target, source) if path is not None]
    images = [nifti.load(path) for path in paths]
    grid = images[0].grid
    if not images[-1].grid.matches(grid):
        raise UpfieldError(f"{source} and {target} are not on one grid; rerun the stage preprocess")
    both = dict(zip(paths, (image.data for image in images), strict=True))
    a, b = (both.get(path or "") for path in (source, target))
    if any(excluded(path) is not None for path in paths):
        write_store(output, a, b, np.zeros(grid.shape, dtype=bool), 1.0)
        return
    small = {}
    for scale, path in (reduced or {}).items():
        image = nifti.load(path)
        if not image.grid.matches(nifti.coarsen(grid, scale)):
            raise UpfieldError(f"{path} does not cover the voxels of {target}; rerun the stage preprocess")
        small[scale] = image.data
    metadata = read_json(sidecar(paths[0]))
    low, high = metadata["RobustRange"]
    inside = mask_on(nifti.load_mask(mask), grid)
    write_store(output, a, b, inside, (high - low) / metadata["IntensityScale"], small)
