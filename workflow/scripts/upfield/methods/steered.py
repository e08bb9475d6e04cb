"""A small 3-D U-Net at half the resolution, every layer of which is steered by noise and resolution of its input."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

# Distances at which second differences tell of noise and resolution, voxels; below this there is none.
DISTANCES, FLAT = (1, 2, 4), 1e-5
# Voxels of a cube with an edge of two.
CUBE = 8
# Numbers that stand for an image.
NUMBERS = 32
SLOPE = 0.1
# What sizes must be multiples of.
DIVISOR = 8


class SteeredUNet(nn.Module):
    """(B, channels, X, Y, Z) -> (B, base, X/2, Y/2, Z/2), sizes multiples of 8.

    The eight voxels of a cube are channels: each has weights of its own, with a third of the arithmetic. Two halvings
    follow. What an image is like as a whole steers every layer (FiLM: Perez et al. 2018): second differences along each
    axis say what noise and resolution are. Without norms: no value depends on the other images of a batch.
    """

    def __init__(self, channels: int, base: int, blocks: int) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base]
        self.numbers = nn.Sequential(
            nn.Linear(6 * len(DISTANCES), NUMBERS),
            nn.LeakyReLU(SLOPE),
            nn.Linear(NUMBERS, NUMBERS),
            nn.LeakyReLU(SLOPE),
        )
        self.stem = nn.Conv3d(CUBE * channels, base, 3, padding=1)
        self.steer = Steered(base)
        self.first = nn.ModuleList(Block(base) for _ in range(blocks))
        self.encoder = nn.ModuleList(_Level(a, b, blocks) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(Block(width) for width in widths[:-1])

    def described(self, image: Tensor) -> Tensor:
        """The numbers (B, `NUMBERS`) that stand for images (B, 1, X, Y, Z)."""
        found: Tensor = self.numbers(fingerprint(image))
        return found

    def features(self, shown: Tensor, numbers: Tensor) -> Tensor:
        """What the network makes of (B, channels, X, Y, Z) and the numbers of `described`."""
        here = functional.leaky_relu(self.steer(self.stem(cubes(shown)), numbers), SLOPE)
        for block in self.first:
            here = block(here, numbers)
        levels = [here]
        for level in self.encoder:
            levels.append(level(levels[-1], numbers))
        here = levels.pop()
        for up, block in zip(reversed(self.up), reversed(self.decoder), strict=True):
            raised = functional.interpolate(up(here), scale_factor=2, mode="nearest")
            here = block(levels.pop() + raised, numbers)
        return here


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


class Steered(nn.Module):
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


class Block(nn.Module):
    """Two convolutions whose sum with the input starts as the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.steer = Steered(width)
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
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

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
