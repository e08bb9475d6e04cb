"""Simulated poor scans made from good ones; the one code path for training and test data.

Every degradation takes a whole volume in floating point and returns a volume with the right affine, so that what
a model is trained on is what it is tested on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import fft, ndimage

from upfield.errors import ScanError
from upfield.files import digest
from upfield.image import nifti
from upfield.image.nifti import Array, Scale, Volume
from upfield.preprocess.derivatives import excluded, save_image
from upfield.step import step

# Share of the absolute signal that may be negative.
NEGATIVE = 0.05
# Kinds that put one voxel in the place of a block of voxels, and along which axes.
DECIMATING = {"gaussian": (True, True, True), "kspace": (True, True, True), "inplane": (True, True, False)}


@step(version=4, memory=(300, 45), minutes=(0.1, 0.02))
def simulate(target: str, simulated: str, settings: Mapping[str, Any], participant: str) -> None:
    """Make the source scan of `pairing: simulated` from a target scan.

    A target that is excluded is copied; so is one that is no magnitude image, and the copy is excluded.
    """
    metadata: dict[str, Any] = {"Sources": [target], "Simulated": True, "Simulation": dict(settings)}
    image = nifti.load(target)
    if excluded(target) is None:
        try:
            require_magnitudes(image)
            image = degrade(image, settings, participant)
        except ScanError as error:
            metadata["Excluded"] = str(error)
    save_image(image, simulated, metadata)


def require_magnitudes(volume: Volume) -> None:
    """Raise ScanError if an image is not of magnitudes: noise and lower contrast are defined from 0 upwards.

    Values below 0 that interpolation leaves beside edges, or denoising in the background, are few and small.
    """
    below = -float(volume.data[volume.data < 0].sum(dtype=np.float64))
    share = below / max(float(np.abs(volume.data).sum(dtype=np.float64)), 1e-30)
    if share > NEGATIVE:
        raise ScanError(
            f"intensities down to {float(volume.data.min()):.4g}, {share:.0%} of the signal below 0; a scan can be"
            " simulated from magnitudes alone: give the image before it was z-scored or shifted"
        )


def degrade(volume: Volume, settings: Mapping[str, Any], participant: str) -> Volume:
    """Make a source scan from `volume` as the `simulate` block of a study says.

    The random numbers depend on `settings["seed"]` and `participant` alone. The result is in RAS+ axis order.
    """
    generator = np.random.default_rng(int(digest([settings["seed"], participant]), 16))
    return KINDS[settings["kind"]](nifti.reorient(volume), settings, generator)


def reduction(settings: Mapping[str, Any]) -> Scale | None:
    """Voxels of the target, along its RAS+ axes, in the place of which a source has one; None for `lowfield`."""
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
    data = np.clip(volume.data, 0, None)
    top = float(np.percentile(data, 99))
    head = data > 0.1 * top
    middle = float(data[head].mean())
    data = np.where(head, middle + settings["contrast"] * (data - middle), data * settings["contrast"])
    data = data * smooth_field(data.shape, settings["bias"], generator)
    spacing = volume.grid.spacing * settings["factor"]
    spacing[2] = max(settings["thickness"], volume.grid.spacing[2])
    moved = Volume(data.astype(np.float32), volume.affine)
    reduced = nifti.resample(moved, nifti.regrid(moved, tuple(spacing)), order=1)
    return reduced.with_data(rician(reduced.data, settings["noise"] * top, generator))


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
    top = float(np.percentile(np.clip(volume.data, 0, None), 99))
    return Volume(rician(magnitude, settings["noise"] * top, generator), grid.affine)


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


KINDS: Mapping[str, Callable[[Volume, Mapping[str, Any], np.random.Generator], Volume]] = {
    "lowfield": lowfield,
    "gaussian": gaussian,
    "kspace": kspace,
    "inplane": inplane,
}
