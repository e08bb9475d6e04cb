"""What the adversarial methods share: settings, optimisers, units, and the training step of the paired ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upfield.methods import schedules
from upfield.methods.augmentation import Augmentation
from upfield.methods.base import Batch, Method, OptimizerConfig, Update
from upfield.methods.losses import Content, adversarial
from upfield.methods.perceptual import Features
from upfield.methods.upsampling import interpolated


class GAN(Method):
    """Submodules named `generator...` are trained by the plan `generator`, those named `discriminator...` by its own.

    `schedule` and `schedule_discriminator` (if None, the same) are settings of `schedules.make`.
    """

    def __init__(
        self,
        *,
        lr: float,
        lr_discriminator: float,
        betas: tuple[float, float],
        schedule: Mapping[str, Any],
        gan_loss: str,
        batch_size: int,
        gradient_clip: float,
        augmentation: Mapping[str, float],
        schedule_discriminator: Mapping[str, Any] | None = None,
        scale: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        self.rates = {"generator": lr, "discriminator": lr_discriminator}
        self.schedules = {
            "generator": schedules.make(**schedule),
            "discriminator": schedules.make(**(schedule_discriminator or schedule)),
        }
        self.betas = (betas[0], betas[1])
        adversarial(torch.zeros(1), True, gan_loss)
        self.gan_loss = gan_loss
        self.batch_size, self.gradient_clip = batch_size, gradient_clip
        self.augmentation = Augmentation(**augmentation)
        if max(scale) > 1 and self.augmentation.affine:
            # It moves source and target by the same number of voxels, which differ in size here.
            raise ValueError("augmentation.affine must be 0 for a super-resolution method")
        self.scale = scale
        self.low, high = self.value_range or (0.0, 1.0)
        self.span = high - self.low

    def plans(self) -> dict[str, OptimizerConfig]:
        """Adam for the generators and Adam for the discriminators."""
        return {
            name: OptimizerConfig(
                [p for key, p in self.named_parameters() if key.startswith(name)], rate, self.betas, schedule
            )
            for (name, rate), schedule in zip(self.rates.items(), self.schedules.values(), strict=True)
        }

    def augment(self, batch: Batch, seed: tuple[int, ...]) -> Batch:
        """As the `augmentation` setting says."""
        return self.augmentation(batch, seed)

    def to_network_range(self, image: Tensor) -> Tensor:
        """Normalized values to those the networks work in: [0, 1] to `value_range`."""
        return image if self.value_range is None else self.low + self.span * image

    def from_network_range(self, image: Tensor) -> Tensor:
        """The inverse of `enter`."""
        return image if self.value_range is None else (image - self.low) / self.span


class PairedGAN(GAN):
    """One `generator` and one `discriminator`; generator loss: content + `lambda_adv` adversarial.

    With `input_residual` the generator's output is added to the first channel of the input (cubically enlarged).
    `content` holds the weights of `losses.Content`, whose terms `perceptual` and `gram` take the outputs of
    `perceptual_layers` of the network in the file `perceptual_weights`. A subclass makes the two networks.
    """

    generator: nn.Module
    discriminator: nn.Module
    # Of the sum of the discriminator's losses over real and fake.
    discriminator_weight = 0.5
    # Whether both networks learn from the state before either has changed; else the discriminator moves first.
    simultaneous = False

    def __init__(
        self,
        *,
        lambda_adv: float,
        content: Mapping[str, float],
        input_residual: bool,
        perceptual_weights: str | None = None,
        perceptual_layers: Sequence[int] = (),
        reduction: str = "mean",
        in_channels: int = 1,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        features = None if perceptual_weights is None else Features(perceptual_weights, perceptual_layers)
        self.content = Content(content, self.span, reduction, self.low, features)
        if not any(content.values()) and not lambda_adv:
            raise ValueError("content and lambda_adv are all 0; expected something to learn from")
        self.lambda_adv, self.input_residual, self.in_channels = lambda_adv, input_residual, in_channels

    def enhanced(self, source: Tensor) -> Tensor:
        """The output for `source`, both in network units."""
        output = self.generator(source)
        return output + interpolated(source[:, :1], self.scale[: self.dims]) if self.input_residual else output

    def discriminate(self, image: Tensor, source: Tensor) -> Tensor:
        """Logits of the discriminator for `image`, an output or target of `source`."""
        return self.discriminator(image)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """From the logits of targets and outputs."""
        sum_ = adversarial(real, True, self.gan_loss) + adversarial(fake, False, self.gan_loss)
        return self.discriminator_weight * sum_

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Discriminator, then generator against the changed one; or both at once where `simultaneous`."""
        source, target = self.to_network_range(batch["source"]), self.to_network_range(batch["target"])
        output = self.enhanced(source)
        fake = self.discriminate(output if self.simultaneous else output.detach(), source)
        d_loss = self.discriminator_loss(self.discriminate(target, source), fake)
        if not self.simultaneous:
            update(discriminator=d_loss)
            fake = self.discriminate(output, source)
        content = self.content(output, target)
        g_adv = adversarial(fake, True, self.gan_loss)
        g_loss = content + self.lambda_adv * g_adv
        if self.simultaneous:
            update(generator=g_loss, discriminator=d_loss)
        else:
            update(generator=g_loss)
        l1 = (output - target).abs().mean() / self.span
        losses = {"l1": l1, "content": content, "adversarial": g_adv, "generator": g_loss, "discriminator": d_loss}
        return {name: value.detach() for name, value in losses.items()}

    def forward(self, source: Tensor) -> Tensor:
        """The enhanced image."""
        return self.from_network_range(self.enhanced(self.to_network_range(source)))


def seeded(*numbers: int) -> torch.Generator:
    """A random generator on the CPU that is a function of `numbers`."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def init_normal(network: nn.Module) -> None:
    """Weights of convolutions and dense layers from N(0, 0.02), biases 0 (Radford et al. 2016)."""
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
    for layer in network.modules():
        if isinstance(layer, kinds):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_zero(layer: nn.Conv2d | nn.Conv3d) -> nn.Conv2d | nn.Conv3d:
    """The layer with zero weights: with an input residual the method starts as interpolation, nothing to unlearn."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
