"""`anatomy`: a small 3-D network that names the structures of a brain, whatever the contrast."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from upfield.catalogue import structures
from upfield.methods import schedules
from upfield.methods.base import Batch, Method, OptimizerConfig, Update
from upfield.methods.steered import CUBE, DIVISOR, SLOPE, SteeredUNet, voxels
from upfield.methods.supervised import matrices_of

# Channels of a source: the image, and where each voxel lies in the brain, -1 to 1 along R, A and S between its edges.
CHANNELS = 4
# Where this code is, as model cards say.
MODULE = "upfield.methods.anatomy"
SETTINGS: dict[str, Any] = {
    "base": 24, "blocks": 2, "width": 64, "lr": 2.0e-3, "decay": 1.0e-4, "warmup": 0.01, "batch_size": 2,
    "gradient_clip": 1.0,
}  # fmt: skip
# Of a structure's two volumes, so that none is divided by.
TINY = 1e-3


class Segmenter(Method):
    """Learns which structure each voxel of a brain is of, from images that are drawn from label maps.

    The last layers give each voxel of a cube its own logits, `width` channels before them. The loss is the cross
    entropy of voxels in the brain and, so that small nuclei count as much as the cortex, 1 - Dice averaged over the
    structures of a batch.
    """

    divisor = DIVISOR
    smallest_patch = 16

    def __init__(
        self,
        *,
        base: int,
        blocks: int,
        width: int,
        lr: float,
        decay: float,
        warmup: float,
        batch_size: int,
        gradient_clip: float,
        in_channels: int = CHANNELS,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.network = StructureNet(in_channels, base, blocks, width)
        self.lr, self.decay = lr, decay
        self.schedule = schedules.make("cosine", warmup)
        self.batch_size, self.gradient_clip = batch_size, gradient_clip

    def plans(self) -> dict[str, OptimizerConfig]:
        """One optimiser: Muon for convolutions, Adam for the rest."""
        matrices = [weight for weight in matrices_of(self.network, self.network.last) if weight.ndim > 2]
        parameters = list(self.network.parameters())
        return {
            "network": OptimizerConfig(parameters, self.lr, schedule=self.schedule, decay=self.decay, matrices=matrices)
        }

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Cross entropy and 1 - Dice in the brain; a target holds indices of structures."""
        terms = losses(self(batch["source"]), batch["target"], batch["mask"])
        update(network=terms["entropy"] + terms["overlap"])
        return {name: term.detach() for name, term in terms.items()}

    def forward(self, source: Tensor) -> Tensor:
        """Logits of every structure, (B, `structures.COUNT`, X, Y, Z), of a source (B, `CHANNELS`, X, Y, Z)."""
        logits: Tensor = self.network(source)
        return logits

    def panels(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The image, and the structures as found and as they are, by index."""
        return {"input": source[:, :1], "output": self(source).argmax(dim=1, keepdim=True), "target": target}


class StructureNet(SteeredUNet):
    """(B, C, X, Y, Z) -> logits (B, `structures.COUNT`, X, Y, Z), sizes multiples of 8."""

    def __init__(self, in_channels: int, base: int, blocks: int, width: int) -> None:
        super().__init__(in_channels, base, blocks)
        self.wide = nn.Conv3d(base, width, 3, padding=1)
        self.last = nn.Conv3d(width, CUBE * structures.COUNT, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Noise and resolution are those of the first channel."""
        here = self.features(x, self.described(x[:, :1]))
        return voxels(self.last(functional.leaky_relu(self.wide(here), SLOPE)))


def losses(logits: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """`entropy` and `overlap` of logits (B, K, X, Y, Z) where the mask (B, 1, X, Y, Z) is above 0.

    `target` (B, 1, X, Y, Z) holds indices, 0 for no structure. `overlap` is 1 - Dice, the mean of the structures that
    occur in the batch; both are 0 where there is nothing to compare.
    """
    inside = mask[:, 0] > 0
    found, wanted = logits.movedim(1, -1)[inside].float(), target[:, 0][inside].long()
    if not len(wanted):
        return dict.fromkeys(("entropy", "overlap"), logits.sum() * 0)
    logarithms = functional.log_softmax(found, dim=1)
    right = logarithms.gather(1, wanted[:, None])[:, 0]
    shares = logarithms.exp()
    both = right.new_zeros(shares.shape[1]).index_add(0, wanted, right.exp())
    counts = torch.bincount(wanted, minlength=shares.shape[1]).to(both)
    dice = (2 * both / (shares.sum(dim=0) + counts + TINY))[1:]
    present = counts[1:] > 0
    overlap = 1 - dice[present].mean() if bool(present.any()) else dice.sum() * 0
    return {"entropy": -right.mean(), "overlap": overlap}


METHOD = Segmenter
