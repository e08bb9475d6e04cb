"""`cyclegan`: harmonization of axial slices between two scanners, A (source) and B (target), paired or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from upfield.catalogue.methods import built_in
from upfield.methods.base import Batch, Update
from upfield.methods.dropout import Dropout
from upfield.methods.gan import GAN, init_zero, seeded
from upfield.methods.losses import adversarial
from upfield.methods.pool import ImagePool

FACTS = built_in("cyclegan")
# Distinguishes the random numbers of the image pools from others.
POOL_SEED = 0xC7C1
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
DISCRIMINATOR_NORMS = ("instance", "none")


class Residual(nn.Module):
    """x + (reflect 1, conv 3x3, norm, ReLU, reflect 1, conv 3x3, norm, dropout)."""

    def __init__(self, channels: int, norm: type[nn.Module], dropout: float) -> None:
        super().__init__()
        first = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels), nn.ReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels)]
        self.body = nn.Sequential(*first, *second, Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        return x + self.body(x)


class Generator(nn.Sequential):
    """(B, 1, X, Y) -> (B, 1, X, Y), sizes divisible by 2^levels; tanh output, or linear and zero at the start.

    Reflect 3, conv 7x7 to w; as many convs 3x3 of stride 2 as `levels`, each to twice as many channels; `blocks`
    residual blocks; transposed convs 3x3 of stride 2 back to w; norm and ReLU after each; reflect 3, conv 7x7.
    11,365,633 parameters at w 64, 2 levels, 9 blocks and a norm without weights (Johnson et al. 2016; Zhu et al. 2017).
    """

    def __init__(self, width: int, levels: int, blocks: int, norm: type[nn.Module], dropout: float, tanh: bool) -> None:
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(1, width, 7), norm(width), nn.ReLU()]
        widths = [width * 2**level for level in range(levels + 1)]
        for channels in widths[:-1]:
            layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), norm(2 * channels), nn.ReLU()]
        layers += [Residual(widths[-1], norm, dropout) for _ in range(blocks)]
        for channels in widths[:0:-1]:
            layers += [nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, 1), norm(channels // 2), nn.ReLU()]
        last = nn.Conv2d(width, 1, 7)
        super().__init__(*layers, nn.ReflectionPad2d(3), *([last, nn.Tanh()] if tanh else [init_zero(last)]))


class Discriminator(nn.Sequential):
    """(B, 1, X, Y) -> (B,) logits, the mean over patches.

    Convolutions 4x4 of stride 2 to w x 1, 2, 4, 8 channels, leaky ReLU 0.2, with `norm` instance norm on the second
    and third; one of stride 1 to a logit. 2,762,689 parameters at w 64. It never runs at inference, so its norm cannot
    make an output depend on what else is in the image; but it takes away how strong noise and contrast are.
    """

    def __init__(self, width: int, norm: bool) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for level in range(4):
            layers.append(nn.Conv2d(channels, width * 2**level, 4, 2, 1))
            channels = width * 2**level
            if norm and level in (1, 2):
                layers.append(nn.InstanceNorm2d(channels))
            layers.append(nn.LeakyReLU(0.2))
        super().__init__(*layers, nn.Conv2d(channels, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return super().forward(x).mean((1, 2, 3))


@contextmanager
def frozen_statistics(*networks: nn.Module) -> Iterator[None]:
    """Batch norms keep their running statistics in the block: those are for what the networks see at inference."""
    norms = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class CycleGAN(GAN):
    """Both directions at once: adversarial + cycle + identity, + matching where source and target correspond.

    Generator loss: adversarial A->B and B->A, `ccl_weight` L1 after a round trip, `identity_weight` L1 of B under A->B
    and A under B->A, `oml_weight` L1 to the corresponding image of the other scanner, over the items of the batch
    whose `paired` is 1. Discriminator loss: the mean over real and fake, of each. With `input_residual` the
    generators learn the difference from their input. `image_pool` images of the past (0: none) are shown to the
    discriminators beside the present (Shrivastava et al. 2017).
    """

    dims = FACTS.dims
    value_range = (-1.0, 1.0)
    # Slices of training participants have no place in a model that is given away.
    transient = frozenset({"pool_a", "pool_b"})
    steps: Tensor

    def __init__(
        self,
        *,
        width: int,
        levels: int,
        blocks: int,
        norm: str,
        dropout: float,
        input_residual: bool,
        discriminator_width: int,
        discriminator_norm: str,
        lambda_adv: float,
        ccl_weight: float,
        identity_weight: float,
        oml_weight: float,
        image_pool: int,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; expected {' or '.join(NORMS)}")
        if discriminator_norm not in DISCRIMINATOR_NORMS:
            expected = " or ".join(DISCRIMINATOR_NORMS)
            raise ValueError(f"discriminator_norm is {discriminator_norm!r}; expected {expected}")
        self.generator_a_to_b = Generator(width, levels, blocks, NORMS[norm], dropout, tanh=not input_residual)
        self.generator_b_to_a = Generator(width, levels, blocks, NORMS[norm], dropout, tanh=not input_residual)
        self.discriminator_a = Discriminator(discriminator_width, discriminator_norm == "instance")
        self.discriminator_b = Discriminator(discriminator_width, discriminator_norm == "instance")
        self.pool_a, self.pool_b = ImagePool(image_pool), ImagePool(image_pool)
        self.divisor = FACTS.divisor({"levels": levels})
        self.input_residual, self.lambda_adv = input_residual, lambda_adv
        self.ccl_weight, self.identity_weight, self.oml_weight = ccl_weight, identity_weight, oml_weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def translated(self, generator: nn.Module, image: Tensor) -> Tensor:
        """`image` by one of the generators, both in network units."""
        output = generator(image)
        return image + output if self.input_residual else output

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The generators, then the discriminators on their outputs of before the change."""
        a, b = self.to_network_range(batch["source"]), self.to_network_range(batch["target"])
        fake_b, fake_a = self.translated(self.generator_a_to_b, a), self.translated(self.generator_b_to_a, b)
        losses = self._generator_terms(batch, (a, b), (fake_a, fake_b))
        g_loss = (
            self.lambda_adv * losses["adversarial"]
            + self.ccl_weight * losses["cycle"]
            + self.identity_weight * losses["identity"]
            + self.oml_weight * losses["matching"]
        )
        update(generator=g_loss)
        random = seeded(POOL_SEED, int(self.steps))
        old_a, old_b = self.pool_a(fake_a.detach(), random), self.pool_b(fake_b.detach(), random)
        d_loss = self._judged(self.discriminator_a, a, old_a) + self._judged(self.discriminator_b, b, old_b)
        update(discriminator=d_loss)
        self.steps += 1
        losses |= {"generator": g_loss, "discriminator": d_loss}
        return {name: value.detach() for name, value in losses.items()}

    def _generator_terms(
        self, batch: Batch, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """The unweighted terms, each summed over both directions; those of weight 0 are not computed."""
        (a, b), (fake_a, fake_b) = real, fake
        a_to_b, b_to_a = self.generator_a_to_b, self.generator_b_to_a
        cycle = identity = matching = a.new_zeros(())
        with frozen_statistics(a_to_b, b_to_a):
            if self.ccl_weight:
                cycle = functional.l1_loss(self.translated(b_to_a, fake_b), a)
                cycle = cycle + functional.l1_loss(self.translated(a_to_b, fake_a), b)
            if self.identity_weight:
                identity = functional.l1_loss(self.translated(a_to_b, b), b)
                identity = identity + functional.l1_loss(self.translated(b_to_a, a), a)
        if self.oml_weight:
            paired = batch.get("paired", a.new_ones(len(a)))
            apart = (fake_b - b).abs().flatten(1).mean(1) + (fake_a - a).abs().flatten(1).mean(1)
            matching = (paired * apart).sum() / paired.sum().clamp(min=1)
        judged_a = adversarial(self.discriminator_a(fake_a), True, self.gan_loss)
        judged_b = adversarial(self.discriminator_b(fake_b), True, self.gan_loss)
        return {"adversarial": judged_a + judged_b, "cycle": cycle, "identity": identity, "matching": matching}

    def _judged(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """A discriminator's loss, the mean over real and fake."""
        loss = adversarial(discriminator(real), True, self.gan_loss)
        return (loss + adversarial(discriminator(fake), False, self.gan_loss)) / 2

    def forward(self, source: Tensor) -> Tensor:
        """A to B."""
        return self.from_network_range(self.translated(self.generator_a_to_b, self.to_network_range(source)))

    def panels(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Both ways there and back: A, A→B, A→B→A, B, B→A, B→A→B."""
        fake_b, fake_a = self(source), self.reverse(target)
        forth = {"A": source, "A→B": fake_b, "A→B→A": self.reverse(fake_b)}
        return forth | {"B": target, "B→A": fake_a, "B→A→B": self(fake_a)}

    def reverse(self, target: Tensor) -> Tensor:
        """B to A."""
        return self.from_network_range(self.translated(self.generator_b_to_a, self.to_network_range(target)))


METHOD = CycleGAN
