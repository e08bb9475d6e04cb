"""Batch-wise augmentation on the training device; every random number comes from a seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai import transforms
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional

from upfield.methods.base import Batch

# What a worse acquisition does to a source.
ACQUISITION: Mapping[str, Callable[[], transforms.RandomizableTransform]] = {
    "gamma": lambda: transforms.RandAdjustContrast(prob=1.0, gamma=(0.7, 1.4)),
    "bias": lambda: transforms.RandBiasField(prob=1.0, coeff_range=(0.0, 0.1)),
    "blur": lambda: transforms.RandGaussianSmooth((0.3, 0.8), (0.3, 0.8), (0.3, 0.8), prob=1.0),
    "ghosts": lambda: transforms.RandGibbsNoise(prob=1.0, alpha=(0.0, 0.4)),
}


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of each change, drawn for every item of a batch.

    Spatial changes (`flip` left-right, `rotate90` in the axial plane, `affine` of up to 0.1 rad and 5 voxels with
    border padding) move source, target and masks alike; `intensity` (scale 1 +- 0.1, shift +- 0.1, of each channel
    its own), `noise` (Gaussian, 0.01) and those of `ACQUISITION` change the source only.
    """

    flip: float = 0.0
    rotate90: float = 0.0
    affine: float = 0.0
    intensity: float = 0.0
    noise: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    blur: float = 0.0
    ghosts: float = 0.0

    def __call__(self, batch: Batch, seed: Sequence[int]) -> Batch:
        """A changed copy of the batch; `seed` decides everything."""
        generator = np.random.default_rng(list(seed))
        images = [key for key in ("source", "target", "mask", "target_mask") if key in batch]
        items = [self._item({key: batch[key][i] for key in images}, generator) for i in range(len(batch["source"]))]
        return {**batch, **{key: torch.stack([item[key] for item in items]) for key in items[0]}}

    def _item(self, item: Batch, generator: np.random.Generator) -> Batch:
        # All numbers are drawn whether used or not, so one probability does not shift the others' draws.
        chance = generator.random(5)
        turns, scale, shift = int(generator.integers(1, 4)), generator.uniform(0.9, 1.1), generator.uniform(-0.1, 0.1)
        angles, moves = generator.uniform(-0.1, 0.1, 3), generator.uniform(-5, 5, 3)
        noise_seed = int(generator.integers(2**31))
        channels = len(item["source"])
        # Drawn last: whether there are more channels changes nothing about the first.
        scales = np.array([scale, *generator.uniform(0.9, 1.1, channels - 1)])
        shifts = np.array([shift, *generator.uniform(-0.1, 0.1, channels - 1)])
        acquired, seeds = generator.random(len(ACQUISITION)), generator.integers(2**31, size=len(ACQUISITION))
        if chance[0] < self.flip:
            item = {key: value.flip(1) for key, value in item.items()}
        square = item["source"].shape[1] == item["source"].shape[2]
        if chance[1] < self.rotate90 and (square or turns == 2):
            item = {key: value.rot90(turns, (1, 2)) for key, value in item.items()}
        if chance[2] < self.affine:
            item = {key: _affine(value, angles, moves, nearest=key.endswith("mask")) for key, value in item.items()}
        source = item["source"]
        for name, number, own_seed in zip(ACQUISITION, acquired, seeds, strict=True):
            if number < getattr(self, name):
                transform = ACQUISITION[name]()
                transform.set_random_state(seed=int(own_seed))
                source = convert_to_tensor(transform(source), dtype=source.dtype, track_meta=False)
        if chance[3] < self.intensity:
            around = (channels, *[1] * (source.ndim - 1))
            source = source * source.new_tensor(scales).view(around) + source.new_tensor(shifts).view(around)
        if chance[4] < self.noise:
            own = torch.Generator().manual_seed(noise_seed)
            source = source + 0.01 * torch.randn(source.shape, generator=own).to(source)
        return {**item, "source": source}


def _affine(image: Tensor, angles: np.ndarray, moves: np.ndarray, nearest: bool) -> Tensor:
    """Rotate (C, X, Y[, Z]) by `angles` (rad) about its centre and move it by `moves` voxels, border repeated."""
    dims = image.ndim - 1
    size = np.array(image.shape[1:], dtype=float)
    rotation = np.eye(dims)
    planes = [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]
    for (a, b), angle in zip(planes, angles, strict=False):
        turn = np.eye(dims)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = rotation @ turn
    # affine_grid works in coordinates normalized to [-1, 1] and lists the last axis first.
    linear = np.diag(1 / size) @ rotation @ np.diag(size)
    theta = np.concatenate([linear[::-1, ::-1], (2 * moves[:dims] / size)[::-1, None]], axis=1)
    grid = functional.affine_grid(torch.from_numpy(theta).float()[None].to(image.device), [1, *image.shape], False)
    mode = "nearest" if nearest else "bilinear"
    return functional.grid_sample(image[None].float(), grid, mode, "border", align_corners=False)[0]
