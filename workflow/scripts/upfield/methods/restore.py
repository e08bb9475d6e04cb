"""`restore`: a small 3-D network that says how much of each band of frequencies to keep, whatever the contrast."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from upfield.catalogue.methods import built_in
from upfield.image.gaussian import blurred
from upfield.methods.base import Batch, Update
from upfield.methods.supervised import Supervised

FACTS = built_in("restore")
# Standard deviations of the Gaussians between which the bands lie, voxels.
SIGMAS = (0.6, 1.0, 1.6, 2.5)
# Distances at which second differences tell of noise and resolution, voxels; below this there is none.
DISTANCES, FLAT = (1, 2, 4), 1e-5
# Voxels of a cube with an edge of two.
CUBE = 8
# Numbers that stand for an image, and the factor by which bands are about as large as the image.
NUMBERS, LOUDER = 32, 4.0
# What is added beside the bands is between these, normalized units.
BESIDE = 0.25
SLOPE = 0.1
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


class BandMixer(nn.Module):
    """What is to be added to the first channel of (B, C, X, Y, Z): a U-Net over bands of it, at half the resolution.

    The eight voxels of a cube are channels there, and come out as voxels: each has weights of its own, with a third of
    the arithmetic. Two halvings follow. Further contrasts are shown to it as they are.
    """

    def __init__(self, base: int, blocks: int, in_channels: int) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base]
        bands = len(SIGMAS) + 1
        self.numbers = nn.Sequential(
            nn.Linear(6 * len(DISTANCES), NUMBERS),
            nn.LeakyReLU(SLOPE),
            nn.Linear(NUMBERS, NUMBERS),
            nn.LeakyReLU(SLOPE),
        )
        self.stem = nn.Conv3d(CUBE * (bands + in_channels - 1), base, 3, padding=1)
        self.steer = _Steered(base)
        self.first = nn.ModuleList(_Block(base) for _ in range(blocks))
        self.encoder = nn.ModuleList(_Level(a, b, blocks) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.everywhere = nn.Linear(NUMBERS, bands)
        nn.init.zeros_(self.everywhere.weight)
        nn.init.zeros_(self.everywhere.bias)
        self.last = nn.Conv3d(base, CUBE * bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, 1, X, Y, Z), sizes multiples of 8."""
        image = x[:, :1]
        numbers = self.numbers(fingerprint(image))
        smooth = [image, *(blurred(image, (sigma,) * 3, math.ceil(3 * sigma)) for sigma in SIGMAS)]
        bands = torch.cat([fine - coarse for fine, coarse in itertools.pairwise(smooth)], dim=1)
        shown = cubes(torch.cat([LOUDER * bands, smooth[-1], x[:, 1:]], dim=1))
        here = functional.leaky_relu(self.steer(self.stem(shown), numbers), SLOPE)
        for block in self.first:
            here = block(here, numbers)
        levels = [here]
        for level in self.encoder:
            levels.append(level(levels[-1], numbers))
        here = levels.pop()
        for up, block in zip(reversed(self.up), reversed(self.decoder), strict=True):
            raised = functional.interpolate(up(here), scale_factor=2, mode="nearest")
            here = block(levels.pop() + raised, numbers)
        more = torch.tanh(voxels(self.last(here)) + self.everywhere(numbers)[:, :, None, None, None])
        return (bands * more[:, :-1]).sum(dim=1, keepdim=True) + BESIDE * more[:, -1:]


def cubes(x: Tensor) -> Tensor:
    """(B, C, X, Y, Z) -> (B, 8C, X/2, Y/2, Z/2): the voxels of each cube of 2 x 2 x 2 as channels."""
    b, c, *size = x.shape
    split = x.reshape(b, c, *(part for length in size for part in (length // 2, 2)))
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, CUBE * c, *(length // 2 for length in size))


def voxels(x: Tensor) -> Tensor:
    """What `cubes` was given, from what it gave."""
    b, c, *size = x.shape
    split = x.reshape(b, c // CUBE, 2, 2, 2, *size).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return split.reshape(b, c // CUBE, *(2 * length for length in size))


class _Steered(nn.Module):
    """Scale and shift of each channel by what the image as a whole is like; none at the start of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(NUMBERS, 2 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """(B, C, X, Y, Z) with numbers (B, `NUMBERS`)."""
        gain, shift = self.linear(numbers)[:, :, None, None, None].chunk(2, dim=1)
        return x * (1 + gain) + shift


class _Block(nn.Module):
    """Two convolutions whose sum with the input starts as the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.steer = _Steered(width)
        nn.init.kaiming_normal_(self.first.weight, SLOPE)
        for parameter in (self.first.bias, self.second.weight, self.second.bias):
            nn.init.zeros_(parameter)  # type: ignore[arg-type]

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """(B, C, X, Y, Z), same shape."""
        inner = self.steer(functional.leaky_relu(self.first(x), SLOPE), numbers)
        return x + self.second(functional.leaky_relu(inner, SLOPE))


class _Level(nn.Module):
    """Half the size along each axis, then blocks."""

    def __init__(self, given: int, width: int, blocks: int) -> None:
        super().__init__()
        self.down = nn.Conv3d(given, width, 2, 2)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, width, X/2, Y/2, Z/2)."""
        x = self.down(x)
        for block in self.blocks:
            x = block(x, numbers)
        return x


def fingerprint(image: Tensor) -> Tensor:
    """Noise and resolution of images (B, 1, X, Y, Z) as numbers (B, 18).

    Natural logarithms of the means of second differences along X, Y and Z over each distance, of their squares and of
    their roots (of which edges, which are few, change little), where the image is not flat: outside the brain it
    often is.
    """
    found = []
    for distance in DISTANCES:
        for axis in range(2, 5):
            size = image.shape[axis] - 2 * distance
            left, middle, right = (image.narrow(axis, step * distance, size) for step in range(3))
            difference = (middle - (left + right) / 2).abs().flatten(1)
            rough = (difference > FLAT).to(difference.dtype)
            many = rough.sum(dim=1).clamp(min=1)
            square, root = (((difference**power) * rough).sum(dim=1) / many for power in (2, 0.5))
            found += [torch.log(square + 1e-6) / 2 + 3, 2 * torch.log(root + 1e-3) + 3]
    return torch.stack(found, dim=1)


METHOD = Restorer
