"""`srgan3d`: 3-D super-resolution with a residual network and a discriminator; squared error, gradients, LSGAN."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.methods.base import Batch, Update
from upfield.methods.dropout import Dropout
from upfield.methods.gan import PairedGAN, init_normal, init_zero, seeded
from upfield.methods.losses import Labels, adversarial
from upfield.methods.upsampling import PixelShuffle3D, smooth_transposed

FACTS = built_in("srgan3d")
# Distinguishes the random labels from other random numbers.
LABELS_SEED = 0x5A6D


def conv(inputs: int, outputs: int) -> nn.Conv3d:
    """Conv 3x3x3 that keeps the size."""
    return nn.Conv3d(inputs, outputs, 3, padding=1)


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        return x + self.body(x)


def enlarging(variant: str, inputs: int) -> tuple[list[nn.Module], int]:
    """Layers that double the size, and their output channels: `subpixel`, `subpixel_nn` or `nn`."""
    if variant == "subpixel":
        return [conv(inputs, 64), nn.LeakyReLU(0.25), PixelShuffle3D()], 8
    if variant == "subpixel_nn":
        return [smooth_transposed(inputs, 64), nn.LeakyReLU(0.25)], 64
    if variant == "nn":
        first = [conv(inputs, 64), nn.LeakyReLU(0.25), nn.Upsample(scale_factor=2, mode="nearest")]
        return [*first, conv(64, 64), nn.LeakyReLU(0.25)], 64
    raise ValueError(f"variant is {variant!r}; expected subpixel, subpixel_nn or nn")


class Generator(nn.Sequential):
    """(B, inputs, X, Y, Z) -> (B, 1, factor X, factor Y, factor Z), factor 1, 2 or 4.

    Stem (conv, BN, leaky ReLU 0.25), `blocks` residual blocks (conv, BN, leaky ReLU, conv, BN, dropout) and a conv with
    BN, all of these with a skip over the blocks; doublings; a last convolution. Linear output, tanh where asked for;
    zero at the start where `residual`. 431,097 parameters at 32 filters, 6 blocks, factor 4, `subpixel`.
    """

    def __init__(
        self,
        inputs: int,
        filters: int,
        blocks: int,
        factor: int,
        variant: str,
        dropout: float,
        residual: bool,
        tanh: bool,
    ) -> None:
        def block() -> Residual:
            first = [conv(filters, filters), nn.BatchNorm3d(filters), nn.LeakyReLU(0.25)]
            return Residual(*first, conv(filters, filters), nn.BatchNorm3d(filters), Dropout(dropout))

        layers: list[nn.Module] = [conv(inputs, filters), nn.BatchNorm3d(filters), nn.LeakyReLU(0.25)]
        trunk = [block() for _ in range(blocks)]
        layers.append(Residual(*trunk, conv(filters, filters), nn.BatchNorm3d(filters)))
        channels = filters
        for _ in range({1: 0, 2: 1, 4: 2}[factor]):
            doubling, channels = enlarging(variant, channels)
            layers += doubling
        last = conv(channels, 1)
        super().__init__(*layers, init_zero(last) if residual else last, *([nn.Tanh()] if tanh else []))


class Discriminator(nn.Sequential):
    """(B, 1, X, Y, Z) -> (B, 1) logits.

    Eight convolutions 3x3x3 to base x 1, 1, 2, 2, 4, 4, 8, 8 channels with strides 1, 2, 1, 2, ..., BN from the
    second on, leaky ReLU 0.3; averaged over the cells of `grid`; dense to `dense` values, leaky ReLU, dense. At grid
    (8, 8, 6) patches of 128 x 128 x 92 are not averaged at all, as published. Weights start from N(0, 0.02).
    """

    def __init__(self, base: int, dense: int, grid: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for number in range(8):
            width = base * 2 ** (number // 2)
            layers.append(nn.Conv3d(channels, width, 3, stride=1 + number % 2, padding=1))
            if number:
                layers.append(nn.BatchNorm3d(width))
            layers.append(nn.LeakyReLU(0.3))
            channels = width
        flat = channels * grid[0] * grid[1] * grid[2]
        pool = [nn.AdaptiveAvgPool3d(tuple(grid)), nn.Flatten()]
        super().__init__(*layers, *pool, nn.Linear(flat, dense), nn.LeakyReLU(0.3), nn.Linear(dense, 1))
        init_normal(self)


class SRGAN3D(PairedGAN):
    """Generator loss content (squared error + gradient difference) + `lambda_adv` adversarial.

    The discriminator learns from labels drawn anew at each step from `real_label` and `fake_label`, swapped with
    probability `label_flip`. The published tanh of variant `nn` is kept without `input_residual`; it bounds the output
    in normalized units.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        factor: int,
        variant: str,
        filters: int,
        blocks: int,
        dropout: float,
        discriminator_base: int,
        discriminator_dense: int,
        discriminator_grid: Sequence[int],
        real_label: tuple[float, float],
        fake_label: tuple[float, float],
        label_flip: float,
        **shared: Any,
    ) -> None:
        if factor not in (1, 2, 4):
            raise ValueError(f"factor is {factor!r}; expected 1, 2 or 4")
        super().__init__(scale=FACTS.scale({"factor": factor}), **shared)
        tanh = variant == "nn" and not self.input_residual
        residual = self.input_residual
        self.generator = Generator(self.in_channels, filters, blocks, factor, variant, dropout, residual, tanh)
        self.discriminator = Discriminator(discriminator_base, discriminator_dense, discriminator_grid)
        self.labels = Labels(real_label, fake_label, label_flip)
        # Part of the state, so that a resumed run draws the labels an uninterrupted one would have.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The mean over real and fake, against the labels of this step."""
        random = seeded(LABELS_SEED, int(self.steps))
        sum_ = adversarial(real, True, self.gan_loss, self.labels.draw(real, True, random))
        sum_ = sum_ + adversarial(fake, False, self.gan_loss, self.labels.draw(fake, False, random))
        return self.discriminator_weight * sum_

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step, counted."""
        losses = super().training_step(batch, update)
        self.steps += 1
        return losses


METHOD = SRGAN3D
