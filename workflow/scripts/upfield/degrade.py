"""Simulated poor scans made from good ones; the one code path for training and test data.

Every degradation takes a whole volume in floating point and returns a volume with the right affine, so that what
a model is trained on is what it is tested on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from upfield import nifti
from upfield.files import digest
from upfield.nifti import Array, Volume


def degrade(volume: Volume, settings: Mapping[str, Any], participant: str) -> Volume:
    """Make a source scan from `volume` as the `simulate` block of a study says.

    The random numbers depend on `settings["seed"]` and `participant` alone. The result is in RAS+ axis order.
    """
    generator = np.random.default_rng(int(digest([settings["seed"], participant]), 16))
    return KINDS[settings["kind"]](nifti.reorient(volume), settings, generator)


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


KINDS = {"lowfield": lowfield}
