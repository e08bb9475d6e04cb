"""Dropout of channels, in training and, sampled on purpose, at prediction (Monte-Carlo dropout)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each channel of each image to 0 with probability `rate` and divides the others by 1 - `rate`.

    After Tompson et al. 2015. In evaluation mode nothing happens, except inside `sampled`. It has no parameters, and
    with rate 0 draws no random numbers. Raises ValueError for a rate outside [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout is {rate:g}; expected at least 0 and less than 1")
        self.rate = rate
        self.seed: tuple[int, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Leave channels out of x (B, C, ...)."""
        if self.seed is None:
            return torch.feature_dropout(x, self.rate, train=self.training) if self.rate else x
        kept = np.random.default_rng(self.seed).random(x.shape[1]) >= self.rate
        mask = torch.from_numpy(kept).to(x.device, x.dtype) / (1 - self.rate)
        return x * mask.reshape(1, -1, *[1] * (x.ndim - 2))


def has_dropout(network: nn.Module) -> bool:
    """Whether two samples of a network can differ."""
    return any(isinstance(layer, Dropout) and layer.rate > 0 for layer in network.modules())


@contextmanager
def sampled(network: nn.Module, *seed: int) -> Iterator[None]:
    """In the block the network is one sample of itself: which channels are left out is a function of `seed` alone.

    So every window or slice of a volume is seen by the same thinned network, and a volume in windows equals the whole.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Dropout)]
    for number, layer in enumerate(layers):
        layer.seed = (*seed, number)
    try:
        yield
    finally:
        for layer in layers:
            layer.seed = None
