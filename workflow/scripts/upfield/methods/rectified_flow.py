"""`rectified_flow`: a sampler. It draws images that the target could be, and gives their mean in one step."""

from itertools import pairwise
from typing import Any

import torch
from monai.networks.schedulers import RFlowScheduler
from torch import Tensor

from upfield.methods.base import Batch, Update
from upfield.methods.start import Started
from upfield.methods.upfield import ResidualEncoderUNet

# Time runs from 0, noise, to 1, an image; MONAI counts it down in so many steps.
TICKS = 1000
# Nearer to the end than this, an error of the image is no larger an error of the velocity.
LATEST = 0.9
# Steps over which the size of what is drawn is averaged, and the smallest that it can have.
REMEMBERED, LEAST = 100, 1e-3


class RectifiedFlow(ResidualEncoderUNet):
    """A flow along straight lines from noise to images, given the source (Liu et al. 2023).

    The image is what is to be added to the `Start`, in units of its own root mean square. The network sees the source,
    the start, an image on the way and how far it is, and gives the image at the end (Li and He 2025), from which the
    velocity follows; its error is weighted as that of the velocity. At the beginning there is nothing to see but noise:
    the network is shown zeros in its place, and what it gives is the mean of all images. A `mean_share` of the patches
    teaches it that. A sample takes `sampling_steps` steps of Euler's.

    A source (B, C, X, Y, Z) gives the mean; with a channel of Gaussian noise behind it, a sample.
    """

    noise = 1
    factor: Tensor
    squares: Tensor
    seen: Tensor

    def __init__(self, *, sampling_steps: int, mean_share: float, in_channels: int = 1, **settings: Any) -> None:
        super().__init__(
            in_channels=in_channels + 2, fitted_start=True, input_residual=False, content={"mse": 1.0}, **settings
        )
        self.in_channels = in_channels
        self.sampling_steps, self.mean_share = sampling_steps, mean_share
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("squares", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    @property
    def std_scale(self) -> float:
        """What `training.calibrating` found in validation."""
        return float(self.factor)

    def set_std_scale(self, factor: float) -> None:
        """Keep it."""
        self.factor.fill_(factor)

    @property
    def size(self) -> Tensor:
        """Root mean square of what is to be added to the start, in the training patches."""
        return self.squares.sqrt().clamp(min=LEAST)

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Squared errors of the image at the end, in units of its mean square: of the mean, and on the way."""
        source, mask = batch["source"], batch["mask"]
        started = self._started(source)
        image = batch["target"].float() - started
        counted = self.counted(mask)
        counted = torch.ones_like(image) if counted is None else counted.float()
        self._follow((counted * image**2).sum() / counted.sum())
        image = image / self.size
        shape = (len(image), 1, 1, 1, 1)
        asked = torch.rand(shape, device=image.device)
        # The lowest share of the draws are at the beginning, the others anywhere.
        time = ((asked - self.mean_share) / (1 - self.mean_share)).clamp(min=0)
        flow = RFlowScheduler(num_train_timesteps=TICKS)
        way = flow.add_noise(image, torch.randn_like(image), (TICKS * (1 - time)).flatten())
        error = (self._end(source, started, way, time) - image) ** 2
        weight = counted / (1 - time.clamp(max=LATEST)) ** 2
        update(generator=(weight * error).sum() / counted.sum())
        first = counted * (time == 0)
        parts = {"mean": first, "way": counted - first}
        return {name: ((part * error).sum() / part.sum().clamp(min=1)).detach() for name, part in parts.items()}

    def forward(self, source: Tensor) -> Tensor:
        """The mean of all images, or the one that the noise behind the source's channels leads to."""
        known, noise = source[:, : self.in_channels], source[:, self.in_channels :]
        started = self._started(known)
        if noise.shape[1] == 0:
            zeros = torch.zeros_like(started)
            return started + self.size * self._end(known, started, zeros, zeros[:, :, :1, :1, :1])
        image = noise.float()
        flow = RFlowScheduler(num_train_timesteps=TICKS)
        flow.set_timesteps(self.sampling_steps)
        for now, following in pairwise([*flow.timesteps.tolist(), 0]):
            time = image.new_full((len(image), 1, 1, 1, 1), 1 - now / TICKS)
            velocity = (self._end(known, started, image, time) - image) / (1 - time)
            image, _ = flow.step(velocity, now, image, following)
        return started + self.size * image

    def _started(self, source: Tensor) -> Tensor:
        assert isinstance(self.generator, Started)
        started: Tensor = self.generator.start(source[:, :1])
        return started

    def _end(self, source: Tensor, started: Tensor, way: Tensor, time: Tensor) -> Tensor:
        """The image at the end, (B, 1, X, Y, Z), as seen from the `way` at `time` (B, 1, 1, 1, 1)."""
        assert isinstance(self.generator, Started)
        shown = torch.where(time > 0, way, 0.0)
        seen = [source, shown, time.expand_as(shown), started]
        end: Tensor = self.generator.network(torch.cat([part.to(source) for part in seen], dim=1))
        return end.float()

    @torch.no_grad()
    def _follow(self, square: Tensor) -> None:
        """Take a batch into the running mean of squares, all alike until there are many."""
        self.seen += 1
        self.squares += (square - self.squares) / self.seen.clamp(max=REMEMBERED)


METHOD = RectifiedFlow
