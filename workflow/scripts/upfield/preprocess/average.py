"""Several acquisitions of one head as one scan: their mean, or thick stacks combined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.preprocess import registration
from upfield.preprocess.derivatives import require_usable, save_image
from upfield.step import step

# An acquisition that correlates less with the first after registration is another head, or no head.
ALIKE = 0.8
# Of squared frequencies, beside the sum over stacks of what they leave of each; voxels of margin around a volume.
PENALTY, PADDING = 0.05, 12


@step(version=5, memory=(400, 60), minutes=(0.5, 0.1))
def average(images: Sequence[str], averaged: str, seed: int) -> None:
    """Write the mean of all `images`, on the grid and in the intensities of the first.

    The others are moved onto the first (rigid, whole heads) and multiplied by the factor that brings them nearest to
    it. Where one does not reach, the mean is that of the rest. One that cannot be registered or correlates with the
    first by less than 0.8 is left out, and stands in the sidecar's `LeftOut` with the reason. If the first is excluded
    (a DICOM series that could not be converted), so is the mean. Where most are 0, as around a brain that was cut out,
    so is the mean.
    """
    acquired, left_out = _on_one_grid(nifti.load(images[0]), images, seed)
    total = sum(np.where(one.there, one.data, 0.0).astype(np.float64) for one in acquired)
    made = _emptied(total / _reached(acquired), acquired)
    _save(acquired[0].volume.with_data(made.astype(np.float32)), averaged, acquired, left_out)


@step(version=1, memory=(600, 400), minutes=(0.5, 0.3))
def combine(images: Sequence[str], averaged: str, seed: int) -> None:
    """Write one scan with the detail of stacks of thick slices that were cut along different axes.

    On an isotropic grid over the field of view of the first, with the finest voxels of all; otherwise as `average`.
    A stack has lost what its voxels average over: the frequencies along its slices' normal. Where others have them,
    they are taken from there: of all images the one whose stacks, each averaged over its voxels, differ least from
    those that were acquired, in squares and with a small penalty (Wiener's filter of several channels).
    """
    stacks, left_out = _on_one_grid(nifti.load(images[0]), images, seed, finest=True)
    first = stacks[0].volume
    fine = nifti.regrid(first, _finest([stack.volume for stack in stacks]))
    made = _combined(stacks, fine)
    if first.data.min() >= 0:
        made = np.clip(made, 0, None)
    made = _emptied(made, stacks)
    _save(Volume(made.astype(np.float32), fine.affine), averaged, stacks, left_out)


@dataclass(frozen=True)
class Moved:
    """An acquisition on a grid in the intensities of the first (`data`); boolean, where it reaches, and is not 0.

    `matrix` leads from the first's world to its own.
    """

    volume: Volume
    matrix: Array
    grid: Grid
    data: Array
    there: Array
    filled: Array
    path: str = ""


def _on_one_grid(
    first: Volume, images: Sequence[str], seed: int, finest: bool = False
) -> tuple[list[Moved], dict[str, str]]:
    """All images on the grid of the first, or, `finest`, on that of `combine`; and why some are left out."""
    usable, left_out = {}, {}
    for path in images[1:]:
        try:
            require_usable(path)
            usable[str(path)] = nifti.load(path)
        except ScanError as error:
            left_out[Path(path).name] = str(error)

    def grid_of(volumes: Sequence[Volume]) -> Grid:
        return nifti.regrid(first, _finest(volumes)) if finest else first.grid

    own = _first(first, grid_of([first, *usable.values()]), str(images[0]))
    others = []
    for path, volume in usable.items():
        try:
            others.append(replace(_onto(own, volume, seed), path=path))
        except ScanError as error:
            left_out[Path(path).name] = str(error)
    grid = grid_of([first, *(other.volume for other in others)])
    if not grid.matches(own.grid):
        # The grid is that of what is used.
        own = _first(first, grid, own.path)
        others = [replace(_placed(own, other.volume, other.matrix), path=other.path) for other in others]
    return [own, *others], left_out


def _save(made: Volume, path: str, acquired: Sequence[Moved], left_out: Mapping[str, str]) -> None:
    metadata: dict[str, Any] = {"Sources": [one.path for one in acquired], "Averaged": len(acquired)}
    if left_out:
        metadata["LeftOut"] = dict(left_out)
    save_image(made, path, metadata)


def _finest(volumes: Sequence[Volume]) -> float:
    return float(min(volume.grid.spacing.min() for volume in volumes))


def _first(first: Volume, grid: Grid, path: str) -> Moved:
    data = first.data if grid.matches(first.grid) else nifti.resample(first, grid, order=3).data
    return Moved(first, np.eye(4), grid, data, np.ones(grid.shape, dtype=bool), _filled(first, grid), path)


def _onto(first: Moved, other: Volume, seed: int) -> Moved:
    """`other` on the grid of `first`. Raises ScanError if it is another head."""
    matrix, _ = registration.register(first.volume, other, "rigid", seed)
    assert isinstance(matrix, np.ndarray)
    return _placed(first, other, matrix)


def _placed(first: Moved, other: Volume, matrix: Array) -> Moved:
    grid = first.grid
    moved = nifti.resample(other, grid, matrix, order=3).data
    there = nifti.mask_on(other.with_data(np.ones(other.data.shape, dtype=bool)), grid, matrix)
    here, them = first.data[there], moved[there]
    alike = float(np.corrcoef(here, them)[0, 1]) if len(here) > 1 and np.ptp(here) > 0 and np.ptp(them) > 0 else 0.0
    if alike < ALIKE:
        raise ScanError(f"correlates with the first acquisition by {alike:.2f}; expected at least {ALIKE:g}")
    scaled = moved * float((here * them).sum() / (them * them).sum())
    return Moved(other, matrix, grid, scaled, there, _filled(other, grid, matrix))


def _filled(volume: Volume, grid: Grid, matrix: Array | None = None) -> Array:
    """Where a volume, moved to a grid, is not 0: interpolation smears what lies beside that."""
    return nifti.mask_on(volume.with_data(volume.data != 0), grid, matrix)


def _reached(acquired: Sequence[Moved]) -> Array:
    """How many acquisitions reach each voxel: the first reaches all."""
    return np.sum([one.there for one in acquired], axis=0)


def _emptied(made: Array, acquired: Sequence[Moved]) -> Array:
    """`made` with 0 where fewer than half of what reaches there is not 0."""
    filled = np.sum([one.filled for one in acquired], axis=0)
    return np.asarray(np.where(2 * filled >= _reached(acquired), made, 0.0))


def _combined(stacks: Sequence[Moved], grid: Grid) -> Array:
    """The image on the grid from which all stacks would come, each averaged over its voxels."""
    known = sum(np.where(stack.there, stack.data, 0.0) for stack in stacks) / sum(stack.there for stack in stacks)
    sizes = [fft.next_fast_len(size + 2 * PADDING, real=True) for size in grid.shape]
    margins = [(PADDING, size - n - PADDING) for size, n in zip(sizes, grid.shape, strict=True)]
    total: Array = np.zeros(1, dtype=np.complex64)
    weight: Array = np.full(1, PENALTY)
    for stack in stacks:
        # Where it does not reach it is as the others are.
        data = np.pad(np.where(stack.there, stack.data, known).astype(np.float32), margins, mode="reflect")
        passed = _transfer(stack, grid, sizes)
        total = total + passed * fft.rfftn(data)
        weight = weight + passed**2
    spectrum = total / weight * (len(stacks) + PENALTY) / len(stacks)
    inside = tuple(slice(PADDING, PADDING + n) for n in grid.shape)
    return np.asarray(fft.irfftn(spectrum, sizes)[inside])


def _transfer(stack: Moved, grid: Grid, sizes: Sequence[int]) -> Array:
    """What a stack's voxels leave of each frequency of the padded grid, 0 to 1, for `rfftn`."""
    last = len(sizes) - 1
    cycles = [
        (fft.rfftfreq if axis == last else fft.fftfreq)(size, spacing).astype(np.float32)
        for axis, (size, spacing) in enumerate(zip(sizes, grid.spacing, strict=True))
    ]
    # Cycles per mm along the grid's axes, in its world, and then along the stack's own.
    own_axes = stack.volume.affine[:3, :3] / stack.volume.grid.spacing
    turn = own_axes.T @ stack.matrix[:3, :3] @ (grid.affine[:3, :3] / grid.spacing)
    result: Array = np.ones(1, dtype=np.float32)
    for row, voxel in zip(turn, stack.volume.grid.spacing, strict=True):
        along = sum(
            np.float32(part) * values.reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, (part, values) in enumerate(zip(row, cycles, strict=True))
        )
        # What lies beyond is not in the samples.
        result = result * np.where(np.abs(along) * voxel <= 0.5 + 1e-3, np.sinc(along * voxel), 0.0)
    return result
