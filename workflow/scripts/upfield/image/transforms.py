"""Transforms between worlds: matrices and displacement fields, chained and stored in ITK's format.

A transform takes points of one world to another, both RAS+ mm. Images are pulled through it by `nifti.resample`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from upfield.errors import ScanError
from upfield.files import write_text

Array = NDArray[Any]
# ITK's world is LPS+, ours RAS+.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Field:
    """A deformation: `data` (X, Y, Z, 3) displacements in RAS+ mm, `affine` (4, 4) voxel to world.

    Between voxels it is linear, beyond the lattice the nearest displacement holds.
    """

    data: Array
    affine: Array

    def move(self, points: Array) -> Array:
        """Where the world points (3, N) go: (3, N)."""
        where = apply_matrix(np.linalg.inv(self.affine), points)
        shift = [ndimage.map_coordinates(self.data[..., axis], where, order=1, mode="nearest") for axis in range(3)]
        return np.asarray(points + np.stack(shift))


Transform = Array | Field | Sequence[Array | Field]
# How each kind of registration is stored.
EXTENSIONS = {"none": ".txt", "rigid": ".txt", "affine": ".txt", "syn": ".nii.gz"}
# What a stored transform is, by whether it is a field.
FORMATS = {False: "ITK text, LPS+ mm", True: "ITK displacement field, LPS+ mm, affine part included"}


def identity(kind: str) -> Array | Field:
    """What moves nothing: a matrix, or a field for the kind `syn`."""
    return Field(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)) if kind == "syn" else np.eye(4)


def apply_matrix(matrix: Array, points: Array) -> Array:
    """(3, N) points through a (4, 4) matrix."""
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])


def move(transform: Transform | None, points: Array) -> Array:
    """World points (3, N) through a transform."""
    for step in steps(transform):
        points = step.move(points) if isinstance(step, Field) else apply_matrix(step, points)
    return points


def steps(*transforms: Transform | None) -> list[Array | Field]:
    """Transforms to be applied one after the other, matrices that follow each other multiplied; empty: identity."""
    flat: list[Array | Field] = []
    for transform in transforms:
        if transform is None:
            continue
        for step in [transform] if isinstance(transform, np.ndarray | Field) else transform:
            if flat and isinstance(step, np.ndarray) and isinstance(flat[-1], np.ndarray):
                flat[-1] = step @ flat[-1]
            else:
                flat.append(step)
    return flat


def linear_part(path: Transform, shape: tuple[int, int, int]) -> Array:
    """What a path from voxels to voxels does to the axes, (3, 3), by differences across the middle of the grid."""
    span = np.maximum(np.array(shape) // 4, 1)
    middle = (np.array(shape) - 1) / 2
    ends = move(path, middle[:, None] + np.hstack([np.diag(span), -np.diag(span)]) / 2)
    return np.asarray((ends[:, :3] - ends[:, 3:]) / span)


def write_matrix(path: str | Path, matrix: Array) -> None:
    """Write a (4, 4) RAS+ matrix as an ITK text transform, readable by ANTs, 3D Slicer and ITK-SNAP."""
    itk = LPS @ matrix @ LPS
    numbers = " ".join(f"{value:.12g}" for value in [*itk[:3, :3].ravel(), *itk[:3, 3]])
    write_text(
        path,
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_matrix(path: str | Path) -> Array:
    """Read what `write_matrix` wrote: a (4, 4) matrix, RAS+ mm. Raises ScanError if it is not that."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        numbers = next(line for line in lines if line.startswith("Parameters:")).split()[1:]
        values = np.array([float(number) for number in numbers])
        matrix = np.eye(4)
        matrix[:3, :3] = values[:9].reshape(3, 3)
        matrix[:3, 3] = values[9:]
    except (OSError, ValueError, StopIteration):
        raise ScanError(f"{path} is not an ITK text transform") from None
    return np.asarray(LPS @ matrix @ LPS)


def rotation_degrees(matrix: Array) -> float:
    """Angle of the rotation in a rigid (4, 4) matrix, in degrees."""
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
