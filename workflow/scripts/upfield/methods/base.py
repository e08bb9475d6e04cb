"""What a method is: networks, losses and optimisers declared together, driven by the training loop."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor, nn

from upfield.methods.schedules import Schedule, constant

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class OptimizerConfig:
    """How one group of parameters is optimised: Adam, with the learning rate a function of the epoch.

    With a weight `decay` above 0 it is AdamW (Loshchilov and Hutter 2019), which takes `lr` times `decay` times each
    weight away in every step. `matrices` are those of the parameters that Muon steps in its place.

    `schedule` maps the epoch (a float that grows with every step, 0 at the start) and the number of epochs to a
    factor of `lr`.
    """

    parameters: list[nn.Parameter]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = field(default_factory=constant)
    decay: float = 0.0
    matrices: Sequence[nn.Parameter] = ()


class Update(Protocol):
    """Step optimisers down their losses, all gradients before any step: `update(generator=loss)`.

    Each plan at most once in a training step.
    """

    def __call__(self, **losses: Tensor) -> None:
        """Each keyword names a plan; only that plan's parameters receive the gradient of its loss."""


class Method(nn.Module):
    """Base of all methods.

    A subclass takes its settings as keyword arguments, makes its networks as submodules, and defines `plans`,
    `training_step` and `forward`. Images are (B, 1, X, Y, Z) normalized values, or (B, 1, X, Y) axial slices where
    `dims` is 2; a source has `in_channels` contrasts in place of the 1, the main one first. Normalized means that the
    brain's robust range is about [0, 1] and the background just below 0.
    """

    dims: ClassVar[int] = 3
    # What the networks work in, (-1, 1) for those made for tanh; None for normalized values as they come. The method
    # maps [0, 1] there and back itself, so its callers see normalized values only.
    value_range: ClassVar[tuple[float, float] | None] = None
    # Size of the output divided by the size of the input along X, Y, Z.
    scale: tuple[int, int, int] = (1, 1, 1)
    # Contrasts of the source, which the study decides: a keyword argument of methods that can take more than one.
    in_channels: int = 1
    # Channels of Gaussian noise that a sampler takes behind the source's to draw a sample; without them it gives the
    # mean of all samples.
    noise: ClassVar[int] = 0
    # Sizes of the input must be multiples of this.
    divisor: int = 1
    # The smallest edge of a training patch, voxels.
    smallest_patch: int = 1
    # Whether an output depends on all that is shown: then windows are as large as the patches of its training.
    local: ClassVar[bool] = False
    # Edge of the windows it is shown, voxels of the source; None: as large as memory allows.
    window: int | None = None
    # Whether the weights of the last epoch are kept, in the place of those with the lowest validation error.
    keep_last: bool = False
    # Submodules that matter for going on with a training alone: a checkpoint holds them, a saved model does not.
    transient: ClassVar[frozenset[str]] = frozenset()
    # Every method has these two settings; the loop reads them.
    batch_size: int
    gradient_clip: float

    @property
    def std_scale(self) -> float:
        """What the standard deviation of a sampler's samples is multiplied by to be that of its errors."""
        return 1.0

    def set_std_scale(self, factor: float) -> None:
        """Take over what was found in validation; samplers keep it with their weights."""
        raise NotImplementedError

    @property
    def unit(self) -> tuple[int, int, int]:
        """What the sizes of a target must be multiples of along X, Y, Z, so that its source suits the networks."""
        x, y, z = self.scale
        return x * self.divisor, y * self.divisor, z * self.divisor if self.dims == 3 else 1

    def plans(self) -> dict[str, OptimizerConfig]:
        """The optimisers, by name."""
        raise NotImplementedError

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Learn from one batch (`source`, `target`, `mask`); returns detached losses to log, by name.

        `source` has `in_channels` channels; `target` and `mask` have one and are `scale` times as large. In an unpaired
        study, `paired` (B,) is 1 where source and target are of the same person at the same place and 0 elsewhere;
        absent means all 1.
        """
        raise NotImplementedError

    def augment(self, batch: Batch, seed: tuple[int, ...]) -> Batch:
        """Random changes of a training batch, a function of `seed` alone; none unless a method wants them."""
        return batch

    def forward(self, source: Tensor) -> Tensor:
        """The enhanced image of `source`, sizes times `scale`."""
        raise NotImplementedError

    def panels(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What a preview of training shows of one pair, side by side and by title: input, output and target.

        Every panel has one channel and the size of `source` or of `target`, which are as in `training_step`.
        """
        return {"input": source[:, :1], "output": self(source), "target": target}

    def reverse(self, target: Tensor) -> Tensor:
        """The image of `target` as the source's scanner would give it; methods of unpaired studies have it."""
        raise NotImplementedError


def parameter_counts(method: nn.Module) -> dict[str, int]:
    """Trainable parameters of each network of a method."""
    return {name: count(child.parameters()) for name, child in method.named_children() if count(child.parameters())}


def count(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
