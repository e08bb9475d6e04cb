"""Where a network starts: its input, as well as blur and a curve of intensities make it the target."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from upfield.image.gaussian import blurred

# Knots that a curve may have, those of `training.curves` and one of the background, and voxels of the blur's window to
# each side.
KNOTS, REACH = 130, 6
# No normalized image has values beyond.
WIDE = 64.0


class Start(nn.Module):
    """A Gaussian blur and a curve of intensities, (B, 1, X, Y, Z) -> (B, 1, X, Y, Z), fitted before training.

    Until then it leaves images as they are, from -`WIDE` to `WIDE`. The blur may leave out axes that are `flat`.
    """

    sigmas: Tensor
    shown: Tensor
    wanted: Tensor

    def __init__(self, flat: Sequence[bool] = (False, False, False)) -> None:
        super().__init__()
        self.flat = tuple(flat)
        self.register_buffer("sigmas", torch.zeros(3))
        for name in ("shown", "wanted"):
            self.register_buffer(name, torch.linspace(-WIDE, WIDE, KNOTS))

    def forward(self, image: Tensor) -> Tensor:
        """Blur, then map; float32."""
        with torch.autocast(image.device.type, enabled=False):
            seen = self.blurred(image.float(), self.sigmas).contiguous()
            upper = torch.searchsorted(self.shown, seen).clamp(1, KNOTS - 1)
            x0, x1, y0, y1 = (knots[at] for knots in (self.shown, self.wanted) for at in (upper - 1, upper))
            return y0 + (y1 - y0) * ((seen - x0) / (x1 - x0).clamp(min=1e-6)).clamp(0, 1)

    @staticmethod
    def blurred(image: Tensor, sigmas: Tensor) -> Tensor:
        """An image (B, 1, X, Y, Z) with a Gaussian of `sigmas` (3,), voxels; beyond its edges it goes on as it ends."""
        return blurred(image, sigmas, REACH)

    def put(self, sigmas: Sequence[float], shown: Sequence[float], wanted: Sequence[float]) -> None:
        """Take over what was fitted: a blur, and knots of a curve, at most `KNOTS`, that rise in `shown`."""
        more = KNOTS - len(shown)
        shown = [*shown, *(shown[-1] + step for step in range(1, more + 1))]
        values = {"sigmas": sigmas, "shown": shown, "wanted": [*wanted, *[wanted[-1]] * more]}
        for name, found in values.items():
            self.get_buffer(name).copy_(torch.tensor(found, dtype=torch.float32))


class Started(nn.Module):
    """A network of one more channel, which is shown the start and learns what is to be added to it."""

    def __init__(self, network: nn.Module, start: Start) -> None:
        super().__init__()
        self.network, self.start = network, start

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, 1, X, Y, Z)."""
        started = self.start(x[:, :1])
        return started + self.network(torch.cat([x, started.to(x)], dim=1))
