"""Methods of one network that learns from pairs alone: what they share, whatever the network is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from upfield.methods import schedules
from upfield.methods.augmentation import Augmentation
from upfield.methods.base import Batch, Method, OptimizerConfig, Update
from upfield.methods.losses import Content
from upfield.methods.start import Start, Started


class Supervised(Method):
    """A network (B, C, X, Y, Z) -> (B, 1, X, Y, Z) that is told how far its output is from the target.

    With `input_residual` it learns the difference from the first channel, and starts as the identity: what is there
    already need not be learned again. Voxels outside of the brain count `outside` as much as those in it. The last
    convolution of the network has `outputs` channels. With a `start` the network has one more channel of input and
    learns the difference from that. With the `optimiser` muon the weights of its layers but the last are Muon's.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        input_residual: bool,
        lr: float,
        betas: Sequence[float],
        schedule: Mapping[str, Any],
        content: Mapping[str, float],
        batch_size: int,
        gradient_clip: float,
        augmentation: Mapping[str, float],
        decay: float = 0.0,
        outside: float = 1.0,
        in_channels: int = 1,
        outputs: int = 1,
        start: Start | None = None,
        optimiser: str = "adam",
        keep_last: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.generator = network if start is None else Started(network, start)
        last = _last(network, outputs)
        if (input_residual or start is not None) and last is not None:
            _silence(last)
        self.matrices = matrices_of(network, last) if optimiser == "muon" else []
        self.input_residual = input_residual and start is None
        self.keep_last = keep_last
        self.lr, self.betas, self.decay = lr, (betas[0], betas[1]), decay
        self.schedule = schedules.make(**schedule)
        self.content, self.outside = Content(content), outside
        self.batch_size, self.gradient_clip = batch_size, gradient_clip
        self.augmentation = Augmentation(**augmentation)

    def plans(self) -> dict[str, OptimizerConfig]:
        """One optimiser."""
        parameters = list(self.generator.parameters())
        how = (self.lr, self.betas, self.schedule, self.decay, self.matrices)
        return {"generator": OptimizerConfig(parameters, *how)}

    def augment(self, batch: Batch, seed: tuple[int, ...]) -> Batch:
        """As the `augmentation` setting says."""
        return self.augmentation(batch, seed)

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The terms of the content loss, in the brain and, `outside` as much, around it."""
        terms = self.content.terms(self(batch["source"]), batch["target"], self.counted(batch["mask"]))
        update(generator=self.content.weighted(terms))
        return {name: term.detach() for name, term in terms.items()}

    def counted(self, mask: Tensor) -> Tensor | None:
        """How much each voxel of a patch counts, (B, 1, X, Y, Z); None where all count alike."""
        if self.outside == 1:
            return None
        return torch.where(mask > 0, 1.0, self.outside)

    def forward(self, source: Tensor) -> Tensor:
        """The enhanced image."""
        output = self.generator(source)
        return source[:, :1] + output if self.input_residual else output


def _last(network: nn.Module, outputs: int) -> nn.Module | None:
    """The convolution that the output comes from."""
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv3d | nn.ConvTranspose3d)]
    return next((part for part in reversed(convolutions) if part.out_channels == outputs), None)


def _silence(convolution: nn.Module) -> None:
    """Set a convolution to 0, so that the network's first output is 0 everywhere."""
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)


def matrices_of(network: nn.Module, last: nn.Module | None) -> list[nn.Parameter]:
    """The weights of all layers but the last: matrices of more than one row and column."""
    layers = [part for part in network.modules() if isinstance(part, nn.Conv3d | nn.ConvTranspose3d | nn.Linear)]
    weights = [parameter for part in layers if part is not last for parameter in part.parameters(recurse=False)]
    return [weight for weight in weights if weight.ndim > 1 and weight.shape[0] > 1 and weight[0].numel() > 1]
