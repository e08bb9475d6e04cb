"""LPIPS: images compared by the features of a network trained on photographs, whose weights the user gives."""

from collections.abc import Mapping

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from upfield.catalogue import weights
from upfield.evaluate.metrics.measure import check_finite
from upfield.image import intensity, nifti
from upfield.image.nifti import Array
from upfield.methods.perceptual import Features

# Of the published code: keeps the direction of features that are all zero.
TINY = 1e-10


def lpips(
    outputs: Mapping[str, Array], reference: Array, mask: Array, path: str, device: torch.device | None = None
) -> dict[str, float]:
    """Learned perceptual image patch similarity of outputs by name: distance of a VGG's features in axial slices.

    0 or more; 0 for identical images; NaN if the brain's slices are smaller than what the network's poolings leave one
    position of (16 voxels for VGG16). Zhang et al. 2018, https://arxiv.org/abs/1801.03924: features of the last ReLU of
    each block, scaled to length 1 over channels; squared differences, weighted by a linear layer for each block; mean
    over positions; sum over blocks.

    Slices across the third axis, cut to the brain's box; the 0.5 and 99.5 percentiles of the reference in the brain
    become 0 and 1, and it is 0 outside the brain in all images. Each position counts by the share of brain in it, so
    that background does not flatter.

    Parameters
    ----------
    outputs, reference
        (X, Y, Z), same grid, same unit of intensity.
    mask
        (X, Y, Z) boolean.
    path
        What `weights.lpips` accepts.

    Raises ScanError for an empty mask, a constant reference, or values in the mask that are not finite.

    """
    low, high = intensity.robust_range(reference, mask)
    images = {"reference": reference, **{f"output of {name}": image for name, image in outputs.items()}}
    for name, image in images.items():
        check_finite(name, image, mask)
    box = tuple(map(slice, *nifti.bounding_box(mask)))
    brain = mask[box].astype(bool)
    numbers = weights.convolutions(weights.shapes("the file of LPIPS weights", path))
    layers = weights.blocks(numbers)
    poolings = layers[-1] + 1 - 2 * len(numbers)
    if min(brain.shape[:2]) < 2**poolings:
        return dict.fromkeys(outputs, np.nan)
    # The convolutions are read by `Features`.
    with safe_open(path, framework="pt") as file:
        heads = [file.get_tensor(weights.HEAD.format(level)).to(device) for level in range(len(layers))]
    features = Features(path, layers)
    stack = np.stack([np.where(brain, (image[box] - low) / (high - low), 0) for image in images.values()])
    total = torch.zeros(len(outputs), len(layers), dtype=torch.float64)
    weight = torch.zeros(len(layers), dtype=torch.float64)
    with torch.inference_mode():
        for z in np.flatnonzero(brain.any(axis=(0, 1))):
            inside = torch.tensor(brain[None, None, :, :, z], dtype=torch.float32, device=device)
            found = features(torch.tensor(stack[:, None, :, :, z], dtype=torch.float32, device=device))
            for level, (maps, head) in enumerate(zip(found, heads, strict=True)):
                share = functional.adaptive_avg_pool2d(inside, (maps.shape[2], maps.shape[3]))[0, 0]
                total[:, level] += (_distance(maps, head) * share).sum((1, 2)).double().cpu()
                weight[level] += share.sum().double().cpu()
    return dict(zip(outputs, (total / weight).sum(1).tolist(), strict=True))


def _distance(maps: Tensor, head: Tensor) -> Tensor:
    """Weighted squared distance (N - 1, x, y) of all but the first of `maps` (N, C, x, y) from the first."""
    unit = maps / (torch.linalg.vector_norm(maps, dim=1, keepdim=True) + TINY)
    return ((unit[1:] - unit[:1]).square() * head).sum(1)
