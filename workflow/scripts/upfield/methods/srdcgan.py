"""`srdcgan`: a small 2-D network that enlarges axial slices in plane, with a convolutional discriminator."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.methods.dropout import Dropout
from upfield.methods.gan import PairedGAN, init_zero

FACTS = built_in("srdcgan")


class Block(nn.Sequential):
    """Conv 3x3, or transposed conv 4x4 that doubles the size; BN; ReLU; dropout."""

    def __init__(self, inputs: int, outputs: int, up: bool = False, dropout: float = 0.0) -> None:
        conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1) if up else nn.Conv2d(inputs, outputs, 3, padding=1)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(), Dropout(dropout))


class Generator(nn.Module):
    """(B, inputs, X, Y) -> (B, 1, factor X, factor Y), factor 1, 2 or 4; tanh output, or linear and zero at the start.

    Widths: channels, w, w, (up) 3w, 3w, 3w, (up) w, w, channels; at factor 2 the second `up` keeps the size, at
    1 both do.
    23,196 parameters at 3 channels, w 9 and factor 4. An image of one contrast is given to all channels, several take
    their place; the output is the mean of its channels. The blocks of 3w have `dropout`.
    """

    def __init__(self, inputs: int, channels: int, width: int, factor: int, dropout: float, tanh: bool) -> None:
        super().__init__()
        self.channels = channels if inputs == 1 else inputs
        last = nn.Conv2d(width, channels, 3, padding=1)
        self.body = nn.Sequential(
            Block(self.channels, width),
            Block(width, width),
            Block(width, 3 * width, up=factor > 1, dropout=dropout),
            Block(3 * width, 3 * width, dropout=dropout),
            Block(3 * width, 3 * width, dropout=dropout),
            Block(3 * width, width, up=factor == 4),
            Block(width, width),
            *([last, nn.Tanh()] if tanh else [init_zero(last)]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return self.body(x.expand(-1, self.channels, -1, -1)).mean(1, keepdim=True)


class Discriminator(nn.Module):
    """(B, 1, X, Y) -> (B, 1) logits.

    Convolutions 3x3 to w channels: stride 1 without BN, four of stride 2; one of stride 1 to 3 channels; leaky ReLU
    0.2; averaged over the cells of `grid`; dense. 4,249 parameters at 3 channels, w 9 and grid (15, 16), where slices
    of 240 x 256 are not averaged at all, as published.
    """

    def __init__(self, channels: int, width: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for outputs, stride in ((width, 2), (width, 2), (width, 2), (width, 2), (3, 1)):
            layers += [nn.Conv2d(width, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(tuple(grid)), nn.Flatten())
        self.dense = nn.Linear(3 * grid[0] * grid[1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return self.dense(self.body(x.expand(-1, self.channels, -1, -1)))


class SRDCGAN(PairedGAN):
    """Discriminator loss the mean over real and fake; the published generator loss is adversarial only."""

    dims = FACTS.dims
    value_range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        factor: int,
        channels: int,
        width: int,
        dropout: float,
        discriminator_grid: Sequence[int],
        **shared: Any,
    ) -> None:
        if factor not in (1, 2, 4):
            raise ValueError(f"factor is {factor!r}; expected 1, 2 or 4")
        super().__init__(scale=FACTS.scale({"factor": factor}), **shared)
        self.generator = Generator(self.in_channels, channels, width, factor, dropout, tanh=not self.input_residual)
        self.discriminator = Discriminator(channels, width, discriminator_grid)


METHOD = SRDCGAN
