"""`unet3d`: the supervised baseline, a 3-D U-Net trained with an L1 loss and nothing else."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.methods.dropout import Dropout
from upfield.methods.supervised import Supervised

FACTS = built_in("unet3d")


def normalization(kind: str, channels: int) -> nn.Module:
    """A norm layer by name.

    `batch` has fixed statistics at inference; `instance` and `group` take theirs from whatever they are shown, so
    a voxel's value depends on the tile it is predicted in. They exist for the faithful preset.
    """
    makers: Mapping[str, nn.Module] = {
        "batch": nn.BatchNorm3d(channels),
        "instance": nn.InstanceNorm3d(channels, affine=True),
        "group": nn.GroupNorm(min(8, channels), channels),
    }
    if kind not in makers:
        raise ValueError(f"norm is {kind!r}; expected one of {', '.join(makers)}")
    return makers[kind]


class Block(nn.Sequential):
    """Conv 3x3x3 without bias, norm, leaky ReLU 0.2, dropout."""

    def __init__(self, inputs: int, outputs: int, norm: str, dropout: float = 0.0) -> None:
        conv = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        super().__init__(conv, normalization(norm, outputs), nn.LeakyReLU(0.2), Dropout(dropout))


class UNet3D(nn.Module):
    """3-D U-Net, (B, inputs, X, Y, Z) -> (B, 1, X, Y, Z), sizes divisible by 2**levels, linear output.

    Stem to `base` channels; each level: two blocks (the first doubles the channels), skip, strided convolution; two
    blocks at the bottom; each decoder level: transposed convolution, concatenation, two blocks. 58,817,985
    parameters at base 32, 4 levels and 1 input with an affine norm. The blocks at the bottom and of the decoder have
    `dropout`.
    """

    def __init__(
        self, base: int = 32, levels: int = 4, norm: str = "batch", dropout: float = 0.0, inputs: int = 1
    ) -> None:
        super().__init__()
        widths = [base * 2 ** (level + 1) for level in range(levels)]
        self.stem = Block(inputs, base, norm)
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        channels = base
        for width in widths:
            self.encoders.append(nn.Sequential(Block(channels, width, norm), Block(width, width, norm)))
            self.downs.append(nn.Conv3d(width, width, 3, stride=2, padding=1))
            channels = width
        self.bottom = nn.Sequential(*(Block(channels, channels, norm, dropout) for _ in range(2)))
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for width in reversed(widths):
            self.ups.append(nn.ConvTranspose3d(channels, channels, 3, stride=2, padding=1, output_padding=1))
            half = width // 2
            first = Block(channels + width, half, norm, dropout)
            self.decoders.append(nn.Sequential(first, Block(half, half, norm, dropout)))
            channels = half
        self.head = nn.Conv3d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        x = self.stem(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(torch.cat([up(x), skip], dim=1))
        return self.head(x)


class SupervisedUNet(Supervised):
    """The U-Net with an L1 loss over the whole patch."""

    def __init__(
        self,
        *,
        base: int,
        levels: int,
        norm: str,
        dropout: float,
        lambda_l1: float,
        in_channels: int = 1,
        **shared: Any,
    ) -> None:
        network = UNet3D(base, levels, norm, dropout, in_channels)
        super().__init__(network, content={"l1": lambda_l1}, in_channels=in_channels, **shared)
        self.lambda_l1 = lambda_l1
        self.divisor = FACTS.divisor({"levels": levels})


METHOD = SupervisedUNet
