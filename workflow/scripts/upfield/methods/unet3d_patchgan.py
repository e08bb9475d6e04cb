"""`unet3d_patchgan`: 3-D U-Net with a 3-D PatchGAN discriminator, 3 T to 7 T; L1 plus adversarial loss."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from upfield.catalogue.methods import built_in
from upfield.methods.base import Batch, OptimizerConfig, Update
from upfield.methods.losses import adversarial
from upfield.methods.unet3d import SupervisedUNet

FACTS = built_in("unet3d_patchgan")


class PatchDiscriminator3D(nn.Sequential):
    """(B, 1, 64, 64, 64) -> (B, 1, 6, 6, 6) raw logits, each with a receptive field of 70 voxels.

    Convolutions of kernel 4, padding 1: strides 2, 2, 2, 1 to 64, 128, 256, 512 channels, leaky ReLU 0.2, affine
    instance norm except on the first, then one logit. 11,048,769 parameters. The discriminator never runs at
    inference, so its norm cannot make an output depend on the tile.
    """

    def __init__(self, base: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv3d(1, base, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level in range(1, 4):
            inputs, outputs = base * 2 ** (level - 1), base * 2**level
            stride = 2 if level < 3 else 1
            layers += [
                nn.Conv3d(inputs, outputs, 4, stride=stride, padding=1, bias=False),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, nn.Conv3d(base * 8, 1, 4, padding=1))


class UNetPatchGAN(SupervisedUNet):
    """Generator loss `lambda_l1` L1 + `lambda_adv` adversarial; discriminator loss the mean over real and fake."""

    # Of the discriminator, whatever the settings.
    smallest_patch = FACTS.smallest_patch({})

    def __init__(
        self, *, discriminator_base: int, lr_discriminator: float, lambda_adv: float, gan_loss: str, **shared: Any
    ) -> None:
        super().__init__(**shared)
        self.discriminator = PatchDiscriminator3D(discriminator_base)
        self.lr_discriminator, self.lambda_adv, self.gan_loss = lr_discriminator, lambda_adv, gan_loss
        adversarial(torch.zeros(1), True, gan_loss)

    def plans(self) -> dict[str, OptimizerConfig]:
        """One optimiser each."""
        generator = super().plans()["generator"]
        return {
            "generator": generator,
            "discriminator": OptimizerConfig(
                list(self.discriminator.parameters()), self.lr_discriminator, self.betas, self.schedule
            ),
        }

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The discriminator first, then the generator with a fresh forward pass."""
        with torch.no_grad():
            fake = self(batch["source"])
        real_loss = adversarial(self.discriminator(batch["target"]), True, self.gan_loss)
        fake_loss = adversarial(self.discriminator(fake), False, self.gan_loss)
        d_loss = (real_loss + fake_loss) / 2
        update(discriminator=d_loss)
        output = self(batch["source"])
        l1 = functional.l1_loss(output, batch["target"])
        g_adv = adversarial(self.discriminator(output), True, self.gan_loss)
        g_loss = self.lambda_l1 * l1 + self.lambda_adv * g_adv
        update(generator=g_loss)
        losses = {"l1": l1, "adversarial": g_adv, "generator": g_loss, "discriminator": d_loss}
        return {name: value.detach() for name, value in losses.items()}


METHOD = UNetPatchGAN
