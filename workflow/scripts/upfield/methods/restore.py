"""`restore`: a small 3-D network that says how much of each band of frequencies to keep, whatever the contrast."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.image.gaussian import blurred
from upfield.methods.base import Batch, Update
from upfield.methods.steered import CUBE, NUMBERS, SteeredUNet, voxels
from upfield.methods.supervised import Supervised

FACTS = built_in("restore")
# Standard deviations of the Gaussians between which the bands lie, voxels.
SIGMAS = (0.6, 1.0, 1.6, 2.5)
# The factor by which bands are about as large as the image.
LOUDER = 4.0
# What is added beside the bands is between these, normalized units.
BESIDE = 0.25
# A patch whose input is nearer to its target than this (mean absolute difference) counts no more for that.
NEAREST = 0.03


class Restorer(Supervised):
    """Learns to undo acquisitions without a change of contrast.

    The output is the input, with each of its bands of frequencies 0 to 2 times as strong as the network says for every
    voxel, and a difference that is as bounded: whatever is shown to it, the network cannot run away. Noise and
    resolution of the whole image steer every layer (FiLM: Perez et al. 2018): second differences along each axis say
    what they are, so that the network is told what would have to be tuned for each scanner. Without norms: no value
    depends on the other images of a batch.

    In training, a patch counts by how little is wrong with its input: else noisy ones would decide alone.
    """

    local = True

    def __init__(self, *, base: int, blocks: int, in_channels: int = 1, **shared: Any) -> None:
        network = BandMixer(base, blocks, in_channels)
        super().__init__(
            network, input_residual=True, in_channels=in_channels, outputs=CUBE * (len(SIGMAS) + 1), **shared
        )
        self.divisor = FACTS.divisor({})
        # What is steered by a few numbers goes astray in steps that are equally long in all directions.
        self.matrices = [weight for weight in self.matrices if weight.ndim > 2]

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The terms of the content loss, each patch by the inverse of how far its input is from its target."""
        source, target = batch["source"], batch["target"]
        counted = torch.where(batch["mask"] > 0, 1.0, self.outside)
        axes = tuple(range(1, counted.ndim))
        wrong = ((source[:, :1] - target).abs() * counted).sum(axes, keepdim=True) / counted.sum(axes, keepdim=True)
        terms = self.content.terms(self(source), target, counted / (wrong + NEAREST))
        update(generator=self.content.weighted(terms))
        return {name: term.detach() for name, term in terms.items()}


class BandMixer(SteeredUNet):
    """What is to be added to the first channel of (B, C, X, Y, Z): a U-Net over bands of it, at half the resolution.

    Further contrasts are shown to it as they are.
    """

    def __init__(self, base: int, blocks: int, in_channels: int) -> None:
        bands = len(SIGMAS) + 1
        super().__init__(bands + in_channels - 1, base, blocks)
        self.everywhere = nn.Linear(NUMBERS, bands)
        nn.init.zeros_(self.everywhere.weight)
        nn.init.zeros_(self.everywhere.bias)
        self.last = nn.Conv3d(base, CUBE * bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, 1, X, Y, Z), sizes multiples of 8."""
        image = x[:, :1]
        numbers = self.described(image)
        smooth = [image, *(blurred(image, (sigma,) * 3, math.ceil(3 * sigma)) for sigma in SIGMAS)]
        bands = torch.cat([fine - coarse for fine, coarse in itertools.pairwise(smooth)], dim=1)
        here = self.features(torch.cat([LOUDER * bands, smooth[-1], x[:, 1:]], dim=1), numbers)
        more = torch.tanh(voxels(self.last(here)) + self.everywhere(numbers)[:, :, None, None, None])
        return (bands * more[:, :-1]).sum(dim=1, keepdim=True) + BESIDE * more[:, -1:]


METHOD = Restorer
