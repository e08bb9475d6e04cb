"""Generated images of earlier steps, to show a discriminator."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to `size` images, part of the state, so that a resumed run goes on as an uninterrupted one.

    The first images fill it. Then each image is, with probability one half, exchanged for a random one of the pool
    (Shrivastava et al. 2017). Size 0 gives back what comes in.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        # The size of an image is known when the first one comes.
        self.register_buffer("images", torch.zeros(size, 1, 0, 0))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What to show instead of `images` (B, 1, X, Y), which must not need a gradient; remembers some of them."""
        if not self.size:
            return images
        if not self.images.numel():
            self.images = images.new_zeros((self.size, *images.shape[1:]), dtype=torch.float32)
        shown = []
        for image in images.float():
            filled = int(self.filled)
            # Both are drawn whether used or not, so how full the pool is does not shift later draws.
            exchange, which = torch.rand(2, generator=generator).tolist()
            place = min(int(which * self.size), self.size - 1)
            if filled < self.size:
                self.images[filled] = image
                self.filled += 1
                shown.append(image)
            elif exchange < 0.5:
                shown.append(self.images[place].clone())
                self.images[place] = image
            else:
                shown.append(image)
        return torch.stack(shown)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "images")
        if stored is None:
            return  # a saved model has no pool
        if stored.shape[0] == self.size:
            self.images = self.images.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
