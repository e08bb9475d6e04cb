"""`lohiresgan`: 2-D residual U-Net with a PatchGAN discriminator, 64 mT to 3 T; L1 plus adversarial loss.

The interface, discriminator, losses and optimisers follow LoHiResGAN; its generator was never published, so the one
here is ours within what is known of it: (B, 1, 256, 256) in [-1, 1] to the same, a U-Net with residual blocks.
"""

from typing import Any

import torch
from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.methods.dropout import Dropout
from upfield.methods.gan import PairedGAN, init_normal, init_zero

FACTS = built_in("lohiresgan")


class Residual(nn.Module):
    """x + (conv 3x3, BN, leaky ReLU 0.2, conv 3x3, BN, dropout)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        return x + self.body(x)


class ResidualUNet2D(nn.Module):
    """(B, inputs, X, Y) -> (B, 1, X, Y), sizes divisible by 16; tanh output, or linear and zero at the start.

    Encoder: four convolutions 4x4 of stride 2 to base x 1, 2, 4, 8 channels, each with BN, leaky ReLU and a residual
    block. `blocks` residual blocks at the bottom. Decoder: transposed convolutions 4x4 of stride 2 with BN and leaky
    ReLU to base x 4, 2, 1, 1/2 channels, the first three joined with the encoder's output of their size; last a
    convolution 3x3. Weights start from N(0, 0.02).
    """

    def __init__(self, inputs: int, base: int, blocks: int, dropout: float, tanh: bool) -> None:
        super().__init__()
        self.encoders = nn.ModuleList()
        channels = inputs
        for width in (base, 2 * base, 4 * base, 8 * base):
            down = nn.Conv2d(channels, width, 4, stride=2, padding=1)
            self.encoders.append(
                nn.Sequential(down, nn.BatchNorm2d(width), nn.LeakyReLU(0.2), Residual(width, dropout))
            )
            channels = width
        self.bottom = nn.Sequential(*(Residual(channels, dropout) for _ in range(blocks)))
        self.decoders = nn.ModuleList()
        for width in (4 * base, 2 * base, base, base // 2):
            up = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1)
            self.decoders.append(nn.Sequential(up, nn.BatchNorm2d(width), nn.LeakyReLU(0.2)))
            channels = 2 * width
        head = nn.Conv2d(base // 2, 1, 3, padding=1)
        init_normal(self)
        self.head = nn.Sequential(head, nn.Tanh()) if tanh else init_zero(head)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        x = self.bottom(x)
        for decoder, skip in zip(self.decoders, [*skips[-2::-1], None], strict=True):
            x = decoder(x)
            x = x if skip is None else torch.cat([x, skip], dim=1)
        return self.head(x)


class PatchDiscriminator2D(nn.Sequential):
    """(B, channels, 256, 256) -> (B, 1, 32, 32) raw logits, each with a receptive field of 70 pixels.

    Convolutions 4x4 that keep the size divided by the stride: 2, 2, 2, 1 to base x 1, 2, 4, 8 channels, leaky ReLU
    0.2, then BN (epsilon 1e-3); one logit. 175,057 parameters at 1 channel and base 16. With `spectral` every
    convolution is divided by its largest singular value (Miyato et al. 2018).
    """

    def __init__(self, channels: int, base: int, spectral: bool) -> None:
        layers: list[nn.Module] = []
        for width, stride in ((base, 2), (2 * base, 2), (4 * base, 2), (8 * base, 1), (1, 1)):
            conv = nn.Conv2d(channels, width, 4, stride=stride)
            init_normal(conv)
            # An even kernel of stride 1 keeps the size only with one more row at the far side.
            far = 1 if stride == 2 else 2
            layers += [
                nn.ZeroPad2d((1, far, 1, far)),
                nn.utils.parametrizations.spectral_norm(conv) if spectral else conv,
            ]
            if width > 1:
                layers += [nn.LeakyReLU(0.2), nn.BatchNorm2d(width, eps=1e-3)]
            channels = width
        super().__init__(*layers)


class LoHiResGAN(PairedGAN):
    """Generator loss `lambda_adv` adversarial + content (100 L1); discriminator loss the sum over real and fake."""

    dims = FACTS.dims
    divisor = FACTS.divisor({})
    value_range = (-1.0, 1.0)
    discriminator_weight = 1.0

    def __init__(
        self,
        *,
        base: int,
        blocks: int,
        dropout: float,
        discriminator_base: int,
        conditional: bool,
        spectral_norm: bool,
        update: str,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if update not in ("alternating", "simultaneous"):
            raise ValueError(f"update is {update!r}; expected alternating or simultaneous")
        self.generator = ResidualUNet2D(self.in_channels, base, blocks, dropout, tanh=not self.input_residual)
        seen = 1 + self.in_channels * conditional
        self.discriminator = PatchDiscriminator2D(seen, discriminator_base, spectral_norm)
        self.conditional, self.simultaneous = conditional, update == "simultaneous"

    def discriminate(self, image: Tensor, source: Tensor) -> Tensor:
        """With `conditional` the discriminator sees the source beside the image."""
        return self.discriminator(torch.cat([image, source], dim=1) if self.conditional else image)


METHOD = LoHiResGAN
