"""An MR acquisition, in k-space: what is lost and added between an anatomy and its scan.

On any device, the training's own for one. Two kinds of scans: slices that are excited one by one, and volumes whose
second phase axis is the third one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.simulation import axes
from upfield.simulation.fields import randn, smooth
from upfield.simulation.protocol import Acquisition

# Knots along each axis of the bias field and of the image's phase.
KNOTS = 3
# Phase lines that are acquired between two moves of the head, at least.
LINES_PER_SHOT = 8
# Voxels of an anatomy are no finer than this, mm: no acquisition is, and the arrays stay small.
FINEST = 0.7


@dataclass(frozen=True)
class Scan:
    """What an acquisition gives: `data` (X, Y, Z) on voxels of its own.

    Voxel i of an axis lies at `first + i * step` voxels of the anatomy; `voxels` (3,) are those steps and `first` (3,)
    the places of the first.
    """

    data: Tensor
    first: tuple[float, ...]
    voxels: tuple[float, ...]

    def on(self, shape: Sequence[int], order: int = 3) -> Tensor:
        """Interpolated to the grid of the anatomy, by a spline along every axis, (X, Y, Z) of `shape`."""
        data = self.data
        for axis, (size, first, step) in enumerate(zip(shape, self.first, self.voxels, strict=True)):
            at = (np.arange(size) - first) / step
            data = _along(data, axes.spline(data.shape[axis], at, order), axis)
        return data


def acquire(anatomy: Tensor, spacing: float, acquisition: Acquisition, generator: np.random.Generator) -> Scan:
    """The scan of `anatomy`, (X, Y, Z) of values from 0, isotropic voxels of `spacing` mm, in RAS order.

    Whatever the settings do not say is drawn from `generator`. Edges of the field of view wrap around in a slice, as
    they do in a scanner.
    """
    top = float(anatomy.flatten()[:: max(anatomy.numel() // 100_000, 1)].quantile(0.99))
    device, shape = anatomy.device, tuple(anatomy.shape)
    image = anatomy * acquisition.gain
    if acquisition.bias:
        image = image * torch.exp(acquisition.bias * smooth(shape, KNOTS, generator, device))
    order = [acquisition.axis, *(axis for axis in range(3) if axis != acquisition.axis)]
    if acquisition.turned:
        order[1:] = order[:0:-1]
    image = image.permute(order)
    if acquisition.shift:
        image = _displaced(image, acquisition.shift / spacing * smooth(image.shape, KNOTS, generator, device))
    cut, first, step = _selection(image.shape[0], spacing, acquisition, generator)
    image = _along(image, cut, 0)
    noise = acquisition.noise * acquisition.gain * top
    phases = acquisition.phase_range * smooth(image.shape, KNOTS, generator, device)
    spectrum = torch.fft.fft2(torch.polar(image, phases), norm="forward")
    data, voxels = _reconstructed(spectrum, spacing, noise, acquisition, generator)
    back = [order.index(axis) for axis in range(3)]
    firsts, steps = (first, 0.0, 0.0), (step, *voxels)
    return Scan(data.permute(back), tuple(firsts[axis] for axis in back), tuple(steps[axis] for axis in back))


def _along(data: Tensor, matrix: Array, axis: int) -> Tensor:
    """A matrix (M, N) applied along one axis of N."""
    return torch.tensordot(torch.from_numpy(matrix).to(data), data, dims=([1], [axis])).movedim(0, axis)


def _selection(
    size: int, spacing: float, acquisition: Acquisition, generator: np.random.Generator
) -> tuple[Array, float, float]:
    """The matrix (S, size) that gives slices, where the first lies and how far apart they lie, voxels."""
    thickness = max(acquisition.thickness / spacing, 1.0)
    start = float(generator.random())
    if acquisition.volume:
        count = max(round(size / thickness), 2)
        step = size / count
        return axes.partitions(size, count, (np.arange(count) + start) * step), start * step, step
    step = max(thickness + acquisition.gap / spacing, 1.0)
    # The first slice lies anywhere in the first step, in the volume even where that is thinner than a slice.
    first = start * min(step, size - 1)
    positions = np.arange(first, size - 1 + 1e-6, step)
    return axes.slices(size, positions, thickness, acquisition.softness), first, step


def _displaced(image: Tensor, voxels: Tensor) -> Tensor:
    """An image (S, R, P) read `voxels` further along R, linear; denser signal where it is pressed together."""
    size = image.shape[1]
    at = (torch.arange(size, device=image.device)[None, :, None] + voxels).clamp(0, size - 1)
    low = at.floor().clamp(max=size - 2)
    left = image.gather(1, low.long())
    pressed = 1 + torch.gradient(voxels, dim=1)[0]
    return pressed * (left + (at - low) * (image.gather(1, low.long() + 1) - left))


def _reconstructed(
    spectrum: Tensor, spacing: float, noise: float, acquisition: Acquisition, generator: np.random.Generator
) -> tuple[Tensor, tuple[float, float]]:
    """From the whole spectrum (S, R, P) to the magnitude as written, and the edges of its voxels in the anatomy's."""
    device = spectrum.device
    sizes = spectrum.shape[1:]
    acquired = [
        min(2 * max(round(size * spacing / wanted / 2), 2), size)
        for size, wanted in zip(sizes, (acquisition.readout, acquisition.phase), strict=True)
    ]
    finer = acquisition.zero_filling
    written = [max(min(round(k * finer), size), k) for k, size in zip(acquired, sizes, strict=True)]
    spectrum = _middle(_middle(torch.fft.fftshift(spectrum, dim=(1, 2)), 1, acquired[0]), 2, acquired[1])
    kr, kp = (torch.arange(count, device=device) - count // 2 for count in acquired)
    if acquisition.motion and acquisition.shots > 1:
        spectrum = spectrum * _moves(kr / sizes[0], kp / sizes[1], spacing, acquisition, generator)
    spectrum = spectrum * torch.exp(-acquisition.decay * kp.abs() / (acquired[1] / 2)) / math.sqrt(acquisition.coils)
    level = noise / math.sqrt(acquired[0] * acquired[1])
    across, along = window(kr, acquisition.readout_filter), window(kp, acquisition.phase_filter)
    kept = across[:, None] * (_kept(acquired[1], acquisition, generator).to(device) * along)
    squares = torch.zeros((), device=device)
    for _ in range(acquisition.coils):
        part = spectrum
        if level:
            part = part + level * torch.complex(*(randn(part.shape, generator, device) for _ in range(2)))
            if acquisition.interference:
                part = part + _line(part.shape, level * acquisition.interference, generator, device)
        padded = _padded(_padded(part * kept, 1, written[0]), 2, written[1])
        image = torch.fft.ifft2(torch.fft.ifftshift(padded, dim=(1, 2)), norm="forward")
        squares = squares + image.abs().square()
    return squares.sqrt(), (sizes[0] / written[0], sizes[1] / written[1])


def _middle(spectrum: Tensor, axis: int, count: int) -> Tensor:
    """The lowest `count` frequencies, 0 at count // 2, of an axis whose 0 is in its middle."""
    return spectrum.narrow(axis, spectrum.shape[axis] // 2 - count // 2, count)


def _padded(spectrum: Tensor, axis: int, count: int) -> Tensor:
    """With frequencies of 0 around, up to `count`; 0 stays at count // 2."""
    size = spectrum.shape[axis]
    if size == count:
        return spectrum
    shape = list(spectrum.shape)
    shape[axis] = count
    result = spectrum.new_zeros(shape)
    result.narrow(axis, count // 2 - size // 2, size).copy_(spectrum)
    return result


def window(k: Tensor, strength: float) -> Tensor:
    """A Hann window over frequencies `k` around 0, up to the highest, mixed with none: `strength` 0 none, 1 all."""
    edge = max(int(k.abs().max()), 1)
    return 1 - strength * (1 - torch.cos(math.pi / 2 * k / edge) ** 2)


def _kept(count: int, acquisition: Acquisition, generator: np.random.Generator) -> Tensor:
    """Which phase lines are acquired, 0 or 1: partial Fourier at one end, and outer ones left out at random."""
    kept = np.ones(count)
    missing = round(count * (1 - acquisition.partial_fourier))
    if missing:
        kept[:missing] = 0
    if generator.random() < 0.5:
        kept = kept[::-1].copy()
    outer = np.abs(np.arange(count) - count // 2) > count // 8
    kept[outer & (generator.random(count) < acquisition.undersampling)] = 0
    return torch.from_numpy(kept).float()


def _moves(kr: Tensor, kp: Tensor, spacing: float, acquisition: Acquisition, generator: np.random.Generator) -> Tensor:
    """The phase that shots at other positions of the head give to k-space, (1, R, P); the middle one has none."""
    shots = max(min(acquisition.shots, len(kp) // LINES_PER_SHOT), 1)
    moves = generator.normal(0, acquisition.motion / spacing, (shots, 2))
    moves -= moves[shots // 2]
    which = np.minimum(np.arange(len(kp)) * shots // len(kp), shots - 1)
    across, along = (torch.from_numpy(moves[which, i]).float().to(kr.device) for i in range(2))
    angle = -2 * math.pi * (kr[:, None] * across[None] + (kp * along)[None])
    return torch.polar(torch.ones_like(angle), angle)[None]


def _line(shape: torch.Size, amplitude: float, generator: np.random.Generator, device: torch.device) -> Tensor:
    """A radio line: one frequency along the readout, its phase another in every line of k-space, (S, R, P)."""
    frequency = generator.uniform(-0.5, 0.5)
    wave = torch.arange(shape[1], device=device)[None, :, None] * (2 * math.pi * frequency)
    start = torch.from_numpy(generator.uniform(0, 2 * math.pi, (shape[0], 1, shape[2]))).float().to(device)
    return amplitude * torch.polar(torch.ones_like(wave + start), wave + start)


def scanned(volume: Volume, acquisition: Acquisition, generator: np.random.Generator) -> Volume:
    """The scan of a volume of magnitudes in RAS+ axis order, with its own voxels in the same world."""
    finest = max(float(volume.grid.spacing.min()), FINEST)
    if not np.allclose(volume.grid.spacing, finest, rtol=1e-3):
        volume = nifti.resample(volume, nifti.regrid(volume, finest), order=3)
    anatomy = torch.from_numpy(np.clip(volume.data, 0, None).astype(np.float32))
    scan = acquire(anatomy, finest, acquisition, generator)
    affine = volume.affine @ np.diag([*scan.voxels, 1.0])
    affine[:3, 3] = (volume.affine @ np.array([*scan.first, 1.0]))[:3]
    return Volume(scan.data.numpy(), affine)
