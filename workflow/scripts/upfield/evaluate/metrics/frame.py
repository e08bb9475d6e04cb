"""What metrics share: the brain cut out once, its windows, its regions, and each image's filtered versions.

Everything here is computed when it is first asked for and kept, so that ten metrics of five methods need one Gaussian
filter of the reference. Nothing outside the brain counts: every window stops at the edge of the mask.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Array

# The window of SSIM (Wang et al. 2004): a Gaussian of this sigma, cut off `RADIUS` voxels from its centre.
SIGMA = 1.5
RADIUS = 5
WINDOW = 2 * RADIUS + 1
# Grey levels of the entropy, over the data range of the reference.
LEVELS = 256
# The region that is the whole mask.
BRAIN = "brain"

# The part of an axis in which a voxel lies, and its neighbour: one before it, beside it, one after it.
_PARTS = [(slice(1, None), slice(None, -1)), (slice(None), slice(None)), (slice(None, -1), slice(1, None))]
# The 13 directions to a voxel's neighbours, opposite ones counted once, as pairs of slices of an array.
NEIGHBOURS = [
    (tuple(_PARTS[n][0] for n in step), tuple(_PARTS[n][1] for n in step))
    for step in np.ndindex(3, 3, 3)
    if step > (1, 1, 1)
]

Value = TypeVar("Value")


class Shared:
    """Something whose computed parts are kept, and that several threads may ask.

    functools' caches will not do: their lock, until Python 3.11, is one for all objects of a class.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[Callable[[Any], Any], Any] = {}

    def memo(self, function: Callable[[Any], Value]) -> Value:
        """`function(self)`, computed once."""
        with self._lock:
            if function not in self._kept:
                self._kept[function] = function(self)
            result: Value = self._kept[function]
            return result


class lazy(Generic[Value]):
    """A property of a `Shared` object, computed once."""

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Value:
        result: Value = instance.memo(self.function)
        return result


class Frame(Shared):
    """The brain in its box: boolean `mask` (X, Y, Z); the reference's data range R, above 0, and where it starts.

    Nothing is smoothed along the `thin` axes: a stack of thick slices is judged slice by slice.
    """

    def __init__(self, mask: Array, data_range: float, low: float, thin: Sequence[int]) -> None:
        super().__init__()
        self.mask = mask
        self.data_range = data_range
        self.low = low
        self.thin = thin

    def smooth(self, values: Array, sigma: float = SIGMA, radius: int = RADIUS) -> Array:
        """Gaussian sum over each voxel's window; nothing is added beyond the array."""
        if len(self.thin) > 1:
            raise ScanError(
                f"the image of shape {self.mask.shape} is too small for SSIM; expected {WINDOW} voxels along two axes"
            )
        widths = [0.0 if axis in self.thin else sigma for axis in range(3)]
        return np.asarray(ndimage.gaussian_filter(values, widths, mode="constant", radius=radius))

    @lazy
    def weight(self) -> Array:
        """Share of each voxel's window that lies inside the brain."""
        return self.smooth(self.mask.astype(np.float64))

    @lazy
    def reached(self) -> Array:
        """Voxels whose window holds some of the brain."""
        return np.asarray(self.weight > 1e-9)

    @lazy
    def half(self) -> "Frame":
        """Blocks of two voxels along every axis that is not thin, those at least half inside the brain."""
        mask = halved(self.mask.astype(np.float64), self.thin) >= 0.5
        return Frame(mask, self.data_range, self.low, self.thin)


class Region(Shared):
    """A part of the frame: boolean `mask` (X, Y, Z) with at least one voxel."""

    def __init__(self, name: str, mask: Array) -> None:
        super().__init__()
        self.name = name
        self.mask = mask
        # Places in the flattened frame: taking them is faster than a boolean index, and metrics do it often.
        self.where = np.flatnonzero(mask)

    @lazy
    def pairs(self) -> list[Array]:
        """Voxels of the region whose neighbour is in it too, by direction: places in the flattened overlap."""
        return [np.flatnonzero(self.mask[first] & self.mask[second]) for first, second in NEIGHBOURS]


class Picture(Shared):
    """One image in a frame: `data` (X, Y, Z) float64, 0 outside the brain."""

    def __init__(self, frame: Frame, data: Array) -> None:
        super().__init__()
        self.frame = frame
        self.data = data

    @lazy
    def mean(self) -> Array:
        """Local mean over the part of the window inside the brain; the brain's mean where no window reaches."""
        frame = self.frame
        result = np.full(self.data.shape, self.data[frame.mask].mean())
        np.divide(frame.smooth(self.data), frame.weight, out=result, where=frame.reached)
        return result

    @lazy
    def variance(self) -> Array:
        """Local variance over the same window; 0 outside the brain."""
        frame = self.frame
        result = np.zeros_like(self.data)
        np.divide(frame.smooth(self.data**2), frame.weight, out=result, where=frame.mask)
        result -= np.where(frame.mask, self.mean**2, 0)
        return result

    @lazy
    def half(self) -> "Picture":
        """RunningMean over blocks of two voxels along every axis that is not thin, of the voxels inside the brain."""
        frame = self.frame
        share = halved(frame.mask.astype(np.float64), frame.thin)
        data = np.zeros_like(share)
        np.divide(halved(self.data, frame.thin), share, out=data, where=frame.half.mask)
        return Picture(frame.half, data)

    @lazy
    def filled(self) -> Array:
        """The image carried on beyond the brain by its local mean, so that filters see no edge at the mask."""
        return np.where(self.frame.mask, self.data, self.mean)

    @lazy
    def laplacian(self) -> Array:
        """Sum of second differences along the axes, of the filled image."""
        return np.asarray(ndimage.laplace(self.filled, mode="nearest"))

    @lazy
    def levels(self) -> Array:
        """Grey levels 0 to 255 over the width of the reference's range, uint8, the same steps for every image."""
        return np.clip((self.data - self.frame.low) * (LEVELS / self.frame.data_range), 0, LEVELS - 1).astype(np.uint8)


class Pair(Shared):
    """An output and its reference."""

    def __init__(self, output: Picture, reference: Picture) -> None:
        super().__init__()
        self.output = output
        self.reference = reference
        self.frame = reference.frame


class Sample(Shared):
    """What a metric sees: a pair of images, one region, and the tissues by name where they are known."""

    def __init__(self, pair: Pair, region: Region, tissues: Mapping[str, Region]) -> None:
        super().__init__()
        self.pair = pair
        self.region = region
        self.tissues = tissues

    @lazy
    def output(self) -> Array:
        """Values of the output in the region, shape (N,)."""
        return self.pair.output.data.ravel()[self.region.where]

    @lazy
    def reference(self) -> Array:
        """Values of the reference in the region, shape (N,)."""
        return self.pair.reference.data.ravel()[self.region.where]

    @lazy
    def error(self) -> Array:
        """Output minus reference in the region, shape (N,)."""
        return np.asarray(self.output - self.reference)

    @lazy
    def squared(self) -> float:
        """Sum of squared errors."""
        return float(self.error @ self.error)

    def average(self, field: Array) -> float:
        """Mean over the region of a map (X, Y, Z)."""
        return float(field.ravel()[self.region.where].mean())


def halved(field: Array, thin: Sequence[int]) -> Array:
    """RunningMean of blocks of two voxels along every axis but the `thin` ones; beyond the array there are zeros."""
    for axis in range(3):
        if axis not in thin:
            even = np.pad(field, [(0, field.shape[a] % 2 if a == axis else 0) for a in range(3)])
            first, second = (
                even[tuple(slice(start, None, 2) if a == axis else slice(None) for a in range(3))] for start in (0, 1)
            )
            field = (first + second) / 2
    return field


def window_box(mask: Array) -> tuple[slice, ...]:
    """The part of the array that decides the metrics in `mask`: its bounding box and the reach of the window.

    At least a window wide along every axis that is, so that cropping never turns 3-D SSIM into 2-D.
    """
    low, high = nifti.bounding_box(mask, margin=RADIUS)
    # Narrower than the window only if one end is the array's end: widening the other one is enough.
    wide_high = np.minimum(np.maximum(high, low + WINDOW), mask.shape)
    wide_low = np.maximum(np.minimum(low, wide_high - WINDOW), 0)
    return tuple(map(slice, wide_low, wide_high))
