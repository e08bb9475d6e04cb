"""How large a network, its patches and its batch are: as large as is of use, and as memory allows.

After nnU-Net (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z; residual encoders: Isensee et al. 2024,
https://arxiv.org/abs/2404.09556): the patch is as much of the brain as fits, the network as deep as the patch allows,
and what memory is left goes into the batch and the width.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from upfield.errors import UpfieldError
from upfield.methods import build
from upfield.plan.cost import Cost, training_step
from upfield.plan.depth import Triple, depth
from upfield.plan.fingerprint import Fingerprint

# Channels of the first level, what is usual, and how many the deepest level may have.
WIDTHS, USUAL, MOST_CHANNELS = tuple(range(8, 65, 4)), 32, 512
# Edges of the patches by which memory is judged, multiples of what the deepest network needs, and widths.
REFERENCES = (64, 128)
REFERENCE_WIDTHS = (WIDTHS[0], 24, WIDTHS[-1])
# Edges of a patch, voxels: the least, what a slow machine is spared, what is usual, the largest.
SMALL, SPARED, MIDDLE, LARGE = 32, 48, 64, 192
# Residual blocks of a level of the encoder, at most, and those and halvings of a network for a slow device.
BLOCKS, LIGHT, SHALLOW = 3, 2, 3
USUAL_BATCH, MOST_BATCH = 2, 8


@dataclass(frozen=True)
class Shape:
    """What decides on memory: width, depth and blocks of the network, the patch, and the batch."""

    base: int
    levels: int
    flat_levels: Triple
    blocks: int
    fold: bool
    patch: Triple
    batch_size: int

    @property
    def voxels(self) -> int:
        """In a batch."""
        return math.prod(self.patch) * self.batch_size

    def with_given(self, given: Mapping[str, Any]) -> "Shape":
        """With what a study gives in the place of what would be planned."""
        values: dict[str, Any] = vars(self) | {key: given[key] for key in vars(self) if given.get(key) is not None}
        tuples: dict[str, Any] = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Shape(**{**values, **tuples})

    def keeps(self, given: Mapping[str, Any]) -> bool:
        """Whether nothing is other than what is given."""
        return self == self.with_given(given)

    @property
    def settings(self) -> dict[str, Any]:
        """What of it are settings of the method."""
        values = {key: value for key, value in vars(self).items() if key != "patch"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


class Costs:
    """What training steps of the method cost, by shape: worked out for a few, scaled with the batch and the width."""

    def __init__(self, settings: Mapping[str, Any], channels: int, averaged: bool, dtype: torch.dtype) -> None:
        self.settings, self.channels, self.averaged, self.dtype = settings, channels, averaged, dtype
        self._known: dict[Shape, Cost] = {}

    def exact(self, shape: Shape) -> Cost:
        """Of one step."""
        if shape not in self._known:
            values = {**self.settings, **shape.settings}
            make = functools.partial(build, values, self.channels)
            self._known[shape] = training_step(make, shape.patch, self.averaged, self.dtype)
        return self._known[shape]

    def about(self, shape: Shape) -> tuple[int, int]:
        """Bytes at the peak of one step and its operations, by a line through two batches large enough to tell.

        Of the usual widths three are judged, and the others lie on a parabola with them: weights grow with the square.
        """
        widths = REFERENCE_WIDTHS if shape.base in set(WIDTHS) - set(REFERENCE_WIDTHS) else (shape.base,)
        each = [self._by_size(replace(shape, base=width)) for width in widths]
        shares = [
            math.prod((shape.base - other) / (width - other) for other in widths if other != width) for width in widths
        ]
        peak, operations = (sum(map(operator.mul, shares, values)) for values in zip(*each, strict=True))
        return round(peak), round(operations)

    def _by_size(self, shape: Shape) -> tuple[float, float]:
        small, large = (replace(shape, patch=(edge,) * 3, batch_size=USUAL_BATCH) for edge in REFERENCES)
        share = (shape.voxels - small.voxels) / (large.voxels - small.voxels)
        low, high = self.exact(small), self.exact(large)
        return low.peak + (high.peak - low.peak) * share, low.operations + (high.operations - low.operations) * share

    def fits(self, shape: Shape, limit: float) -> bool:
        """Whether a step takes no more than `limit` bytes, about."""
        return self.about(shape)[0] <= limit


def fitted(fingerprint: Fingerprint, limit: float, costs: Costs, given: Mapping[str, Any], slow: bool) -> Shape:
    """The shape that makes the most of `limit` bytes; what is `given` stays. A `slow` device has a shallow, folded one.

    It grows from the smallest: a batch of two, width and patch to what is usual, the patch to the whole brain, then
    batch and width. Raises UpfieldError, which says how much is needed, if not even the smallest fits.
    """
    levels, flat = depth(fingerprint.shape, fingerprint.spacing)
    levels = given.get("levels") or min(levels, SHALLOW if slow else levels)
    flat = (min(flat[0], levels), min(flat[1], levels), min(flat[2], levels))
    unit = 2**levels
    whole = [_multiple(min(edge, LARGE), unit) for edge in fingerprint.shape]
    smallest = [min(edge, max(SMALL, unit * 2)) for edge in whole]
    fold, blocks = given.get("fold", slow), LIGHT if slow else BLOCKS
    most = widest(levels, fold)
    shape = Shape(WIDTHS[0], levels, flat, blocks, fold, (smallest[0], smallest[1], smallest[2]), 1).with_given(given)
    if not costs.fits(shape, limit) and given.get("blocks") is None:
        shape = replace(shape, blocks=1)
    if not costs.fits(shape, limit):
        needed = costs.about(shape)[0] / 1e9
        raise UpfieldError(
            f"plan: {limit / 1e9:.1f} GB are left for training, but the smallest network needs {needed:.1f} GB; give"
            " train.memory more, or use a larger card"
        )
    stages: tuple[Callable[[Shape], Shape | None], ...] = (
        functools.partial(_fuller, USUAL_BATCH),
        functools.partial(_wider, min(USUAL // 2, most)),
        functools.partial(_larger, unit, [min(edge, MIDDLE) for edge in whole]),
        functools.partial(_wider, min(USUAL, most)),
        functools.partial(_larger, unit, whole),
        functools.partial(_fuller, MOST_BATCH),
        functools.partial(_wider, most),
    )
    passed = [shape]
    for stage in stages:
        larger = stage(shape)
        while larger is not None and larger.keeps(given) and costs.fits(larger, limit):
            shape, larger = larger, stage(larger)
            passed.append(shape)
    # The line is not exact, least of all for small patches.
    return next((one for one in reversed(passed) if costs.exact(one).peak <= limit), passed[0])


def widest(levels: int, fold: bool) -> int:
    """The largest of the widths that the deepest level of a network leaves room for."""
    most = max(MOST_CHANNELS // 2 ** (levels - fold), WIDTHS[0])
    return max(width for width in WIDTHS if width <= most)


def _fuller(most: int, shape: Shape) -> Shape | None:
    """One patch more in the batch."""
    return replace(shape, batch_size=shape.batch_size + 1) if shape.batch_size < most else None


def _wider(most: int, shape: Shape) -> Shape | None:
    """The next of the widths."""
    width = next((width for width in WIDTHS if shape.base < width <= most), None)
    return None if width is None else replace(shape, base=width)


def _larger(unit: int, most: Sequence[int], shape: Shape) -> Shape | None:
    """The patch with its shortest edge longer, of those that may be; None where none may."""
    growing = [axis for axis in range(3) if shape.patch[axis] + unit <= most[axis]]
    if not growing:
        return None
    x, y, z = shape.patch
    edges = [x, y, z]
    edges[min(growing, key=edges.__getitem__)] += unit
    return replace(shape, patch=(edges[0], edges[1], edges[2]))


def narrower(shape: Shape) -> Shape | None:
    """The next cheaper network, patch or batch, in the order in which they are given up; None for the cheapest."""
    unit = 2**shape.levels
    if shape.batch_size > USUAL_BATCH:
        return replace(shape, batch_size=shape.batch_size - 1)
    longest = max(shape.patch)
    if longest - unit >= SPARED:
        x, y, z = (edge - unit if edge == longest else edge for edge in shape.patch)
        return replace(shape, patch=(x, y, z))
    narrower_ones = [width for width in WIDTHS if width < shape.base]
    if narrower_ones:
        return replace(shape, base=narrower_ones[-1])
    return replace(shape, blocks=shape.blocks - 1) if shape.blocks > 1 else None


def _multiple(edge: int, unit: int) -> int:
    return -(-edge // unit) * unit
