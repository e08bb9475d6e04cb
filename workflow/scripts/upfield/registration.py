"""Registration with ANTs, and transforms as 4x4 matrices that are stored in ITK's text format."""

import os
from pathlib import Path

import ants
import numpy as np

from upfield import nifti
from upfield.errors import ScanError
from upfield.files import write_text
from upfield.nifti import Array, Volume

# What ANTs finds (N4 too) depends on its number of threads; ITK reads this once, when it first works in a process.
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
# ITK's world is LPS+, ours RAS+.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Voxel size at which images are registered, mm.
REGISTRATION_SPACING = 3.0


def to_ants(volume: Volume) -> ants.ANTsImage:
    """The same image for ANTs: float32, origin, spacing and direction in LPS."""
    affine = LPS @ volume.affine
    spacing = volume.grid.spacing
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=affine[:3, :3] / spacing,
    )


def rigid(fixed: Volume, moving: Volume, seed: int) -> Array:
    """Rigid transform between two brain images by Mattes mutual information (ANTs).

    Both should be zero outside the brain. They are reduced to 3 mm first: half of the voxels are then sampled in
    the time that the full grid allows for a hundredth, which is both faster and nearer to the truth.
    Returns the (4, 4) matrix from the world of `fixed` to the world of `moving`, RAS+ mm: the one with which
    `nifti.resample` pulls `moving` onto `fixed`. The same seed gives the same matrix, whatever the number of
    threads asked for: ANTs is repeatable on one thread only. Raises ScanError if ANTs fails.
    """
    ants.config.set_ants_deterministic(True, seed_value=seed)
    images = [nifti.reorient(volume) for volume in (fixed, moving)]
    small = [nifti.resample(image, nifti.regrid(image, REGISTRATION_SPACING), order=1) for image in images]
    try:
        result = ants.registration(
            *(to_ants(image) for image in small),
            type_of_transform="Rigid",
            aff_metric="mattes",
            aff_random_sampling_rate=0.5,
            aff_iterations=(50, 30, 20),
            aff_shrink_factors=(3, 2, 1),
            aff_smoothing_sigmas=(2, 1, 0),
        )
    except RuntimeError as error:
        raise ScanError(f"registration failed ({' '.join(str(error).split())[:160]})") from None
    matrix = from_ants(result["fwdtransforms"][0])
    for name in {*result["fwdtransforms"], *result["invtransforms"]}:
        Path(name).unlink(missing_ok=True)
    return matrix


def from_ants(path: str | Path) -> Array:
    """An ITK linear transform file as a (4, 4) matrix from fixed to moving world, RAS+ mm."""
    transform = ants.read_transform(str(path))
    parameters = np.asarray(transform.parameters, dtype=float)
    centre = np.asarray(transform.fixed_parameters, dtype=float)[:3]
    linear = parameters[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = parameters[9:12] + centre - linear @ centre
    return LPS @ matrix @ LPS


def write_transform(path: str | Path, matrix: Array) -> None:
    """Write a (4, 4) RAS+ matrix as an ITK text transform, readable by ANTs, 3D Slicer and ITK-SNAP."""
    itk = LPS @ matrix @ LPS
    numbers = " ".join(f"{value:.12g}" for value in [*itk[:3, :3].ravel(), *itk[:3, 3]])
    write_text(
        path,
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_transform(path: str | Path) -> Array:
    """Read what `write_transform` wrote: a (4, 4) matrix, RAS+ mm."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    numbers = next(line for line in lines if line.startswith("Parameters:")).split()[1:]
    values = np.array([float(number) for number in numbers])
    matrix = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    matrix[:3, 3] = values[9:]
    return LPS @ matrix @ LPS


def rotation_degrees(matrix: Array) -> float:
    """Angle of the rotation in a rigid (4, 4) matrix, in degrees."""
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
