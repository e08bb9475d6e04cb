"""Patch stores: a pair, or one scan of an unpaired study, on its working grid, in a memory-mapped file or in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.files import atomic, read_json
from upfield.image import nifti
from upfield.image.intensity import Curve, standard_scale
from upfield.image.nifti import SAME, Array, Scale, mask_on
from upfield.preprocess.derivatives import landmarks_of, why_excluded
from upfield.step import step

# The two sides of a study, as the tensors of a store are called.
SOURCE, TARGET = "source", "target"
# The target with all that is around it, where sources are drawn anew while training.
ANATOMY, SPACING = "anatomy", "spacing"
# Voxels whose edges differ by no more than this share are cubes.
CUBES = 0.01
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
    downsampled: Mapping[Scale, Array] | None = None,
    landmarks: Mapping[str, Sequence[float]] | None = None,
    anatomy: tuple[Array, float] | None = None,
) -> None:
    """Write the store of a pair, or of one scan, atomically; see `contents`."""
    tensors = contents(source, target, mask, range_, downsampled, landmarks, anatomy)
    with atomic(path) as temporary:
        save_file(tensors, temporary)


def contents(
    source: Array | None,
    target: Array | None,
    mask: Array,
    range_: float,
    downsampled: Mapping[Scale, Array] | None = None,
    landmarks: Mapping[str, Sequence[float]] | None = None,
    anatomy: tuple[Array, float] | None = None,
) -> dict[str, Tensor]:
    """What a store holds, by name.

    Parameters
    ----------
    source, target
        (X, Y, Z) normalized images on the working grid; one of them is None for a scan without a counterpart. A source
        of several contrasts is (C, X, Y, Z).
    mask
        (X, Y, Z) boolean, the brain (or head) of the target, or of the only image; an empty mask (an excluded pair)
        makes a store nobody draws from.
    range_
        Robust width of the intensities of the image that the mask belongs to, in normalized units: the data range of
        validation PSNR.
    downsampled
        The source on coarser grids, by scale, with the same channels: sizes times scale are those of the target.
    landmarks
        Of the images, by side, where Nyúl's method wants them.
    anatomy
        (X, Y, Z) magnitudes of the target with all that is around it, from which sources are drawn anew, and the edge
        of their voxels, mm.

    """
    where = np.argwhere(mask)
    step = max(len(where) // CENTRES, 1)
    images = {side: _channels(image) for side, image in ((SOURCE, source), (TARGET, target)) if image is not None}
    tensors = {
        **images,
        "mask": torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None],
        "centres": torch.from_numpy(np.ascontiguousarray(where[::step], dtype=np.int32)),
        "range": torch.tensor([range_], dtype=torch.float32),
        # What lies outside the volume: the value of its corner, which is background on the cropped grid.
        "background": torch.cat([image[:, 0, 0, 0] for image in images.values()]),
    }
    for scale, image in (downsampled or {}).items():
        tensors[source_key(scale)] = _channels(image)
    for side, values in (landmarks or {}).items():
        tensors[f"landmarks_{side}"] = torch.tensor(values, dtype=torch.float64)
    if anatomy is not None:
        tensors[ANATOMY], tensors[SPACING] = _channels(anatomy[0]), torch.tensor([anatomy[1]])
    return tensors


def _channels(image: Array) -> Tensor:
    """(X, Y, Z) or (C, X, Y, Z) as (C, X, Y, Z) float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    return tensor if tensor.ndim == 4 else tensor[None]


class _Slice:
    """A tensor in memory as safetensors hand out one on disk."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def get_shape(self) -> list[int]:
        """Its shape."""
        return list(self.tensor.shape)

    def __getitem__(self, box: Any) -> Tensor:
        return self.tensor[box]


class _Held(dict[str, Tensor]):
    """Tensors in memory, read like an open file of safetensors."""

    get_tensor = dict.__getitem__

    def get_slice(self, name: str) -> _Slice:
        """One tensor, of which parts are asked for."""
        return _Slice(self[name])


class Store:
    """Read access to one store; patches are read from disk as they are asked for, or from tensors that are `held`.

    What is held is that of `contents`, and `path` names it then.

    `sides` names the images it holds, source, target or both, and `channels` says how many contrasts its source has.
    `landmarks` has those of each side for Nyúl's method; with `curves` for them, images are read on the standard scale.
    """

    def __init__(self, path: str | Path, held: Mapping[str, Tensor] | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._held = None if held is None else _Held(held)
        self._file = self._open()
        self.shape = tuple(self._file.get_slice("mask").get_shape()[1:])
        self.centres = self._file.get_tensor("centres").numpy()
        self.range = float(self._file.get_tensor("range"))
        self.sides = tuple(side for side in (SOURCE, TARGET) if side in self._file.keys())  # noqa: SIM118
        background = self._file.get_tensor("background")
        # One value for each channel of the source, then one for the target.
        self.channels = len(background) - (TARGET in self.sides)
        self._background = {SOURCE: background[: self.channels], TARGET: background[self.channels :]}
        names = {side: f"landmarks_{side}" for side in self.sides}
        self.landmarks = {
            side: self._file.get_tensor(name).tolist()
            for side, name in names.items()
            if name in self._file.keys()  # noqa: SIM118
        }
        self.curves: dict[str, Curve] = {}

    def _open(self) -> Any:
        return safe_open(self.path, framework="pt") if self._held is None else self._held

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open file: processes that read patches may be started anew, and open it themselves."""
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._file = self._open()

    @property
    def paired(self) -> bool:
        """Whether it holds both images, of one person at the same places."""
        return len(self.sides) == 2

    def read(self, corner: Sequence[int], shape: Sequence[int], scale: Scale = SAME) -> dict[str, Tensor]:
        """The images and the mask of the box at `corner`, background beyond the edge.

        Each is (1, x, y, z) float32, a source of several contrasts (C, x, y, z). Corner and shape are in voxels of the
        target and multiples of `scale`; the source is that much smaller. Raises UpfieldError if the store holds no
        source of that scale.
        """
        low, size = ([value // factor for value, factor in zip(box, scale, strict=True)] for box in (corner, shape))
        boxes = {"mask": self._box("mask", corner, shape, torch.zeros(1))}
        if SOURCE in self.sides:
            key = source_key(scale)
            if key not in self._file.keys():  # noqa: SIM118
                raise UpfieldError(f"{self.path} holds no source of scale {scale}; rerun the stage patches")
            boxes[SOURCE] = self._box(key, low, size, self._background[SOURCE])
        if TARGET in self.sides:
            boxes[TARGET] = self._box(TARGET, corner, shape, self._background[TARGET])
        return {side: self._curved(side, box) for side, box in boxes.items()}

    def _curved(self, side: str, box: Tensor) -> Tensor:
        return torch.from_numpy(self.curves[side].apply(box.numpy())) if side in self.curves else box

    def _box(self, key: str, corner: Sequence[int], shape: Sequence[int], background: Tensor) -> Tensor:
        stored = self._file.get_slice(key)
        low = [max(c, 0) for c in corner]
        high = [min(c + n, size) for c, n, size in zip(corner, shape, stored.get_shape()[1:], strict=True)]
        box = stored[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()
        if box.shape[1:] == tuple(shape):
            return box
        result = background[:, None, None, None].repeat(1, *shape)
        x, y, z = (slice(a - c, b - c) for c, a, b in zip(corner, low, high, strict=True))
        result[:, x, y, z] = box
        return result

    def brain_share(self, corner: Sequence[int], shape: Sequence[int]) -> float:
        """Which share of the box at `corner` is brain, 0 to 1."""
        return float(self._box("mask", corner, shape, torch.zeros(1)).mean())

    def whole(self) -> dict[str, Tensor]:
        """The images and the mask of the whole volume."""
        return self.read((0, 0, 0), self.shape)

    def anatomy(self) -> tuple[Tensor, float]:
        """The target's magnitudes with all that is around it, (X, Y, Z), and the edge of its voxels, mm.

        Raises UpfieldError if it holds none.
        """
        if ANATOMY not in self._file.keys():  # noqa: SIM118
            raise UpfieldError(f"{self.path} holds no anatomy to draw sources from; rerun the stage patches")
        return self._file.get_tensor(ANATOMY)[0], float(self._file.get_tensor(SPACING))


def usable(paths: Sequence[str | Path]) -> list[Store]:
    """Open stores; those of excluded pairs (no brain) are left out. Raises UpfieldError if none is left."""
    stores = [store for store in map(Store, paths) if len(store.centres)]
    if not stores:
        raise UpfieldError("patches: no usable pair among the participants; see excluded.tsv for the reasons")
    return stores


def standardised(train: Sequence[Store], others: Sequence[Store]) -> dict[str, list[float]]:
    """Let all stores be read on the standard scales (Nyúl's method) of the sides, fitted on `train` alone.

    Returns the scales; empty, and nothing changes, where stores have no landmarks.
    """
    scales = {}
    for side in (SOURCE, TARGET):
        found = [store.landmarks[side] for store in train if side in store.landmarks]
        if found:
            scales[side] = standard_scale(found)
    for store in [*train, *others]:
        store.curves = {side: Curve(own, scales[side]) for side, own in store.landmarks.items()}
    return scales


@step(version=0, memory=(310, 30), minutes=(0.2, 0.02))
def extract(
    source: Sequence[str],
    mask: str,
    store: str,
    scales: Sequence[Scale] = (),
    downsampled: Sequence[Sequence[str]] = (),
    target: str | None = None,
    to_template: str | None = None,
    anatomy: str | None = None,
) -> None:
    """Write the store of a preprocessed pair, or of one preprocessed scan.

    `source` names an image for each contrast, `target` one; all are on one working grid, and a scan without a
    counterpart leaves the other side empty. `mask` is the native mask of the target, or of the only scan, brain or
    head; `downsampled` names the source on coarser grids, a list of contrasts for each of `scales`; `to_template` moves
    the target to the space of the images, if that is a template's. `anatomy` is the native target, where sources are
    drawn anew from it while training. An excluded pair or scan gets a store without brain. Raises UpfieldError if the
    grids do not belong together.
    """
    paths = [*source] if target is None else [target, *source]
    images = [nifti.load(path) for path in paths]
    grid = images[0].grid
    moves = None if to_template is None else nifti.read_transform(to_template)
    bad = why_excluded(paths) is not None
    if bad:
        # What is excluded has no working grid, the other scans of its pair may.
        images = [image if image.grid.matches(grid) else nifti.resample(image, grid) for image in images]
    other = next((path for path, image in zip(paths, images, strict=True) if not image.grid.matches(grid)), None)
    if other is not None:
        raise UpfieldError(f"{other} and {paths[0]} are not on one grid; rerun the stage preprocess")
    data = [image.data for image in images]
    a, b = (np.stack(data[-len(source) :]) if source else None), (None if target is None else data[0])
    if bad:
        write_store(store, a, b, np.zeros(grid.shape, dtype=bool), 1.0)
        return
    small = {}
    for (x, y, z), channels in zip(scales, downsampled, strict=True):
        scale = (x, y, z)
        found = [nifti.load(path) for path in channels]
        coarse = nifti.coarsen(grid, scale)
        other = next((p for p, image in zip(channels, found, strict=True) if not image.grid.matches(coarse)), None)
        if other is not None:
            raise UpfieldError(f"{other} does not cover the voxels of {target}; rerun the stage preprocess")
        small[scale] = np.stack([image.data for image in found])
    metadata = read_json(sidecar(paths[0]))
    low, high = metadata["RobustRange"]
    inside = mask_on(nifti.load_mask(mask), grid, moves)
    # Nyúl's method is for one contrast: the configuration says so.
    single = {SOURCE: source[0] if len(source) == 1 else None, TARGET: target}
    marks = {side: landmarks_of(path) for side, path in single.items() if path is not None}
    known = {side: values for side, values in marks.items() if values is not None}
    whole = None
    if anatomy is not None:
        if np.ptp(grid.spacing) > CUBES * grid.spacing.min():
            edges = " x ".join(f"{edge:g}" for edge in grid.spacing)
            raise UpfieldError(
                f"{target} has voxels of {edges} mm; simulate.redraw draws sources on cubes alone: leave the scan out,"
                " or set preprocess.spacing to what suits every target"
            )
        around = nifti.resample(nifti.load(anatomy), grid, moves, order=3)
        whole = (np.clip(around.data, 0, None), float(grid.spacing.min()))
    write_store(store, a, b, inside, (high - low) / metadata["IntensityScale"], small, known, whole)
