"""Degradations of a whole volume by a few fixed numbers: a crude low field, and those of super-resolution work."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import fft, ndimage

from upfield.image import nifti
from upfield.image.nifti import Array, Scale, Volume

# Kinds that put one voxel in the place of a block of voxels, and along which axes.
DECIMATING = {"gaussian": (True, True, True), "kspace": (True, True, True), "inplane": (True, True, False)}


def reduction(settings: Mapping[str, Any]) -> Scale | None:
    """Voxels of the target, along its RAS+ axes, in the place of which a source has one; None for other kinds."""
    axes = DECIMATING.get(settings["kind"])
    if axes is None:
        return None
    x, y, z = (int(settings["factor"]) if axis else 1 for axis in axes)
    return x, y, z


def lowfield(volume: Volume, settings: Mapping[str, Any], generator: np.random.Generator) -> Volume:
    """A crude low-field scan: less contrast, a receive bias field, thick voxels, Rician noise; in that order.

    Noise is added to the reduced image, as the scanner does, so neighbouring voxels are independent
    (Gudbjartsson & Patz 1995 for the Rician distribution).
    """
    top = brightest(volume.data)
    data = flattened(volume.data, settings["contrast"], top)
    data = data * smooth_field(data.shape, settings["bias"], generator)
    spacing = volume.grid.spacing * settings["factor"]
    spacing[2] = max(settings["thickness"], volume.grid.spacing[2])
    moved = Volume(data.astype(np.float32), volume.affine)
    reduced = nifti.resample(moved, nifti.regrid(moved, tuple(spacing)), order=1)
    return reduced.with_data(rician(reduced.data, settings["noise"] * top, generator))


def brightest(data: Array) -> float:
    """The 99th percentile of an image's magnitudes, by which noise is counted."""
    return float(np.percentile(np.clip(data, 0, None), 99))


def flattened(data: Array, contrast: float, top: float) -> Array:
    """Magnitudes whose tissues differ `contrast` times as much, about the head's mean; `top` is the `brightest`."""
    data = np.clip(data, 0, None)
    head = data > 0.1 * top
    middle = float(data[head].mean())
    return np.where(head, middle + contrast * (data - middle), data * contrast)


def gaussian(volume: Volume, settings: Mapping[str, Any], generator: np.random.Generator) -> Volume:
    """Blurred by a Gaussian, sigma `blur` voxels of the result, then one value for each block, at its middle.

    The degradation of 3-D super-resolution work (sigma 1 before a reduction by 2). An even block has no voxel in its
    middle: the eight around it are averaged.
    """
    scale = reduction(settings) or nifti.SAME
    blurred = ndimage.gaussian_filter(volume.data, settings["blur"] * np.array(scale), mode="nearest")
    grid = nifti.coarsen(volume.grid, scale)
    return nifti.resample(volume.with_data(blurred), grid, order=1, background=None, antialias=False)


def kspace(volume: Volume, settings: Mapping[str, Any], generator: np.random.Generator) -> Volume:
    """The middle of k-space, 1/`factor` along every axis, as magnitude with Rician noise: what a short scan keeps.

    Sizes are first brought to a multiple of the factor by repeating the last plane. A linear phase puts the samples
    into the middle of their blocks.
    """
    scale = reduction(settings) or nifti.SAME
    grid = nifti.coarsen(volume.grid, scale)
    extra = [n * s - size for n, s, size in zip(grid.shape, scale, volume.data.shape, strict=True)]
    data: Array = np.pad(volume.data, [(0, more) for more in extra], mode="edge").astype(np.complex64)
    for axis, (size, factor) in enumerate(zip(grid.shape, scale, strict=True)):
        spectrum = fft.fftshift(fft.fft(data, axis=axis), axes=axis)
        first = size * factor // 2 - size // 2
        spectrum = spectrum.take(range(first, first + size), axis=axis)
        wave = np.exp(2j * np.pi * (np.arange(size) - size // 2) * (factor - 1) / 2 / (size * factor)) / factor
        spectrum *= wave.astype(np.complex64).reshape([-1 if a == axis else 1 for a in range(3)])
        data = fft.ifft(fft.ifftshift(spectrum, axes=axis), axis=axis)
    magnitude = np.abs(data).astype(np.float32)
    return Volume(rician(magnitude, settings["noise"] * brightest(volume.data), generator), grid.affine)


def inplane(volume: Volume, settings: Mapping[str, Any], generator: np.random.Generator) -> Volume:
    """Axial slices reduced by `factor` along both axes, bilinear and antialiased: a triangle two result voxels wide.

    The degradation of 2-D super-resolution work; where sizes are multiples of the factor, what image libraries do.
    """
    data = volume.data
    grid = nifti.coarsen(volume.grid, reduction(settings) or nifti.SAME)
    for axis in (0, 1):
        factor, size = settings["factor"], data.shape[axis]
        centres = (np.arange(grid.shape[axis]) + 0.5) * factor - 0.5
        weights = np.clip(1 - np.abs(np.arange(size) - centres[:, None]) / factor, 0, None)
        weights /= weights.sum(axis=1, keepdims=True)
        data = np.moveaxis(np.tensordot(weights.astype(np.float32), data, axes=(1, axis)), 0, axis)
    return Volume(np.ascontiguousarray(data, dtype=np.float32), grid.affine)


def smooth_field(shape: tuple[int, ...], amplitude: float, generator: np.random.Generator) -> Array:
    """A positive multiplicative field, exp of a random field of 3 knots per axis scaled to +-`amplitude`."""
    if amplitude == 0:
        return np.ones(shape, dtype=np.float32)
    knots = generator.uniform(-1, 1, (3, 3, 3))
    where = np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij", copy=False)
    field = ndimage.map_coordinates(knots, where, order=3, mode="nearest", output=np.float32)
    return np.asarray(np.exp(amplitude * field / max(float(np.abs(field).max()), 1e-6)))


def rician(data: Array, sigma: float, generator: np.random.Generator) -> Array:
    """Magnitude of `data` plus complex Gaussian noise of standard deviation `sigma` per channel; never negative."""
    real = data + generator.normal(0, sigma, data.shape) if sigma else data
    imaginary = generator.normal(0, sigma, data.shape) if sigma else 0.0
    return np.asarray(np.hypot(real, imaginary), dtype=np.float32)
