"""Fields that vary slowly over a volume, blur, and random numbers on any device."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upfield.image import gaussian


def randn(shape: Sequence[int], generator: np.random.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers, float32: a function of `generator` and the kind of device."""
    own = torch.Generator(device).manual_seed(int(generator.integers(2**62)))
    return torch.randn(tuple(shape), generator=own, device=device)


def smooth(shape: Sequence[int], knots: int, generator: np.random.Generator, device: torch.device) -> Tensor:
    """A random field (X, Y, Z) from -1 to 1, uniform at `knots` places along each axis and smooth between them.

    Without a bend at the knots: a trilinear map of them that is averaged over the distance of two.
    """
    values = torch.from_numpy(generator.uniform(-1, 1, (1, 1, *[knots] * 3))).float().to(device)
    coarse = functional.interpolate(values, size=(4 * knots,) * 3, mode="trilinear", align_corners=True)
    coarse = functional.avg_pool3d(functional.pad(coarse, (2,) * 6, mode="replicate"), 5, stride=1)
    field = functional.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return field / field.abs().max().clamp(min=1e-6)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """An image (X, Y, Z) after a Gaussian of `sigma` voxels, at least 0.1; beyond its edges it goes on as it ends."""
    return gaussian.blurred(image[None, None], (sigma,) * 3, math.ceil(3 * sigma))[0, 0]
