"""What the training data of a fold are like, as far as it decides how to train: read from its patch stores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from upfield.image.nifti import Array, bounding_box
from upfield.patches import Store

# Of a normal distribution: its standard deviation over its median absolute deviation.
MAD = 1.4826


@dataclass(frozen=True)
class Fingerprint:
    """Of the training pairs of a fold, on their working grid; medians where pairs differ.

    `shape` and `brain` are voxels along X, Y, Z of the volume and of the box around the brain, `largest` of the largest
    volume; `spacing` mm. `noise` is the standard deviation of the finest detail in the brain, of source and target, and
    `gap` the root mean square difference between them, all over the target's robust width. `voxel` are the source's
    own voxels, mm along right, anterior, superior; None where they are not known.
    """

    pairs: int
    channels: int
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    largest: tuple[int, ...]
    brain: tuple[int, ...]
    brain_voxels: int
    noise: tuple[float, float]
    gap: float
    voxel: tuple[float, ...] | None = None

    def described(self) -> dict[str, Any]:
        """As it stands in a plan."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def of(stores: Sequence[Store], spacing: Sequence[float], voxel: Sequence[float] | None = None) -> Fingerprint:
    """The fingerprint of paired stores that can be used, whose grids have `spacing` (mm); there is one at least."""
    measured = [_measured(store) for store in stores]
    shapes = np.array([store.shape for store in stores])
    return Fingerprint(
        pairs=len(stores),
        channels=max(store.channels for store in stores),
        spacing=tuple(round(float(size), 3) for size in spacing),
        shape=_whole(np.median(shapes, axis=0)),
        largest=_whole(shapes.max(axis=0)),
        brain=_whole(np.median([one["brain"] for one in measured], axis=0)),
        brain_voxels=int(np.median([one["voxels"] for one in measured])),
        noise=(_median(measured, "source"), _median(measured, "target")),
        gap=_median(measured, "gap"),
        voxel=None if voxel is None else tuple(round(float(size), 3) for size in voxel),
    )


def _measured(store: Store) -> dict[str, Any]:
    whole = store.whole()
    mask = whole["mask"][0].numpy() > 0
    source, target = (whole[side][0].numpy() for side in ("source", "target"))
    low, high = bounding_box(mask)
    inside = ndimage.binary_erosion(mask, iterations=2)
    inside = inside if inside.any() else mask
    return {
        "brain": high - low,
        "voxels": mask.sum(),
        "source": noise(source, inside) / store.range,
        "target": noise(target, inside) / store.range,
        "gap": float(np.sqrt(np.mean((source[mask] - target[mask]) ** 2))) / store.range,
    }


def noise(image: Array, inside: Array) -> float:
    """Standard deviation of the finest detail along X and Y: robust, of second differences over their noise gain.

    After Immerkær 1996, https://doi.org/10.1006/cviu.1996.0060, with the median in place of the mean. Fine anatomy
    counts as well, so that it is a bound of the noise from above. Z is left out: slices may be thick.
    """
    detail = ndimage.convolve(image, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)[..., None])
    return float(MAD * np.median(np.abs(detail[inside])) / 6)


def _median(measured: Sequence[Mapping[str, Any]], name: str) -> float:
    return round(float(np.median([one[name] for one in measured])), 4)


def _whole(values: Array) -> tuple[int, ...]:
    return tuple(int(np.ceil(value)) for value in values)
