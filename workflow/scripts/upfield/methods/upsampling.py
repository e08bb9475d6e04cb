"""Enlarging images: cubic interpolation, and the layers of super-resolution networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def interpolated(image: Tensor, scale: Sequence[int]) -> Tensor:
    """(B, C, X, Y[, Z]) enlarged by whole factors with cubic convolution (Keys 1981), float32.

    The fields of view coincide, as on the grids of `nifti.regrid`. Factors of 1 leave the values as they are.
    """
    if all(factor == 1 for factor in scale):
        return image
    if image.ndim == 4:
        return _cubic(image.float(), scale)
    # torch has no cubic interpolation in 3-D: the (X, Y) planes first, then Z in the (Y, Z) planes.
    planes = image.float().movedim(4, 1)
    wide = _cubic(planes.flatten(0, 1), scale[:2]).unflatten(0, planes.shape[:2]).movedim(1, 4)
    planes = wide.movedim(2, 1)
    return _cubic(planes.flatten(0, 1), (1, scale[2])).unflatten(0, planes.shape[:2]).movedim(1, 2)


def _cubic(image: Tensor, scale: Sequence[int]) -> Tensor:
    # `antialias` changes nothing else here, but chooses Keys's own parameter -1/2, which keeps ramps straight.
    factors = [float(factor) for factor in scale]
    return functional.interpolate(image, scale_factor=factors, mode="bicubic", antialias=True)


def unfolded(x: Tensor, cell: Sequence[int]) -> Tensor:
    """(B, abc C, X, Y, Z) -> (B, C, aX, bY, cZ): channels become the voxels of a `cell` (a, b, c) (Shi et al. 2016)."""
    cells = x.unflatten(1, (-1, *cell)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(len(x), -1, *(edge * size for edge, size in zip(cell, x.shape[2:], strict=True)))


def folded(x: Tensor, cell: Sequence[int]) -> Tensor:
    """(B, C, aX, bY, cZ) -> (B, abc C, X, Y, Z): what `unfolded` undoes."""
    for axis, edge in zip((2, 4, 6), cell, strict=True):
        x = x.unflatten(axis, (-1, edge))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


class PixelShuffle3D(nn.Module):
    """(B, 8 C, X, Y, Z) -> (B, C, 2 X, 2 Y, 2 Z): channels become neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        """Rearrange."""
        return unfolded(x, (2, 2, 2))


def smooth_transposed(inputs: int, outputs: int) -> nn.ConvTranspose3d:
    """Transposed convolution of kernel 6, stride 2 that starts as nearest-neighbour enlarging and a convolution.

    A 3x3x3 kernel from N(0, 0.02), each weight repeated twice along every axis: all eight voxels that stem from one
    see the same weights, so there is no checkerboard at the start (Aitken et al. 2017).
    """
    layer = nn.ConvTranspose3d(inputs, outputs, 6, stride=2, padding=2)
    kernel = torch.randn(inputs, outputs, 3, 3, 3) * 0.02
    for axis in (2, 3, 4):
        kernel = kernel.repeat_interleave(2, dim=axis)
    with torch.no_grad():
        layer.weight.copy_(kernel)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
