"""Heads of other shapes: label maps that are turned, stretched and bent."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upfield.simulation.fields import smooth

# Largest rotation about each axis (rad), change of size along each axis and shear between them.
ANGLE, SIZE, SHEAR = 0.2, 0.12, 0.06
# Knots along each axis of what bends, and the largest displacement, mm.
BENDS = ((4, 6.0), (9, 2.5))
COARSE = 4


def warped(maps: Tensor, spacing: float, generator: np.random.Generator) -> Tensor:
    """Maps (C, X, Y, Z) with cubic voxels of `spacing` mm in another shape, the same for all; 0 comes in at the edges.

    A voxel has the value of the nearest one. Smooth: what is connected stays so, but for what is thinner than a voxel.
    """
    size = maps.shape[1:]
    middle = [(length - 1) / 2 for length in size]
    lines = (torch.arange(length, device=maps.device) - half for length, half in zip(size, middle, strict=True))
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    matrix = torch.from_numpy(_matrix(generator)).to(places)
    places = torch.tensordot(matrix, places, dims=1)
    # Bends are as smooth on a coarse grid, where they take a fraction of the time.
    coarse = [max(length // COARSE, 2) for length in size]
    bends = torch.zeros(3, *coarse, device=maps.device)
    for knots, most in BENDS:
        far = float(generator.uniform(0, most)) / spacing
        bends += far * torch.stack([smooth(coarse, knots, generator, maps.device) for _ in range(3)])
    places += functional.interpolate(bends[None], size=tuple(size), mode="trilinear", align_corners=True)[0]
    # As grid_sample wants them: -1 to 1 between the middles of the outermost voxels, the last axis first.
    grid = torch.stack([places[axis] / middle[axis] for axis in (2, 1, 0)], dim=-1)
    found = functional.grid_sample(maps[None].float(), grid[None], mode="nearest", align_corners=True)
    return found[0].to(maps.dtype)


def _matrix(generator: np.random.Generator) -> np.ndarray:
    """Rotation, then shear and size: from places in the new shape to places in the old one."""
    result = np.eye(3)
    for (a, b), angle in zip(((0, 1), (0, 2), (1, 2)), generator.uniform(-ANGLE, ANGLE, 3), strict=True):
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = turn @ result
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = generator.uniform(-SHEAR, SHEAR, 3)
    return result @ shear @ np.diag(1 + generator.uniform(-SIZE, SIZE, 3))
