"""Gaussian means as products with band matrices, on any device.

They multiply by many zeros, and take a fraction of the time of a convolution with one channel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def windowed(images: Tensor, windows: Sequence[int], sigmas: Sequence[float] | Tensor) -> Tensor:
    """Gaussian means of all whole windows, as many voxels along each of the last axes of `images` as `windows` says.

    `sigmas` are in voxels, one for each of these axes; 0 is the voxel in the middle alone.
    """
    first = images.ndim - len(windows)
    for axis, (size, sigma) in enumerate(
        zip(windows, torch.as_tensor(sigmas, device=images.device), strict=True), first
    ):
        count = images.shape[axis]
        places = torch.arange(count, device=images.device)
        offset = places - places[: count - size + 1, None]
        band = torch.exp(-(((offset - size // 2) / sigma.clamp(min=1e-3)) ** 2) / 2) * ((offset >= 0) & (offset < size))
        images = (images.movedim(axis, -1) @ (band / band.sum(dim=1, keepdim=True)).T).movedim(-1, axis)
    return images


def blurred(images: Tensor, sigmas: Sequence[float] | Tensor, reach: int) -> Tensor:
    """Images (B, C, X, Y, Z) after a Gaussian of `sigmas` (3,), voxels, cut off after `reach` voxels.

    Beyond its edges an image goes on as it ends.
    """
    wide = functional.pad(images, (reach,) * 6, mode="replicate")
    return windowed(wide, (2 * reach + 1,) * 3, sigmas)
