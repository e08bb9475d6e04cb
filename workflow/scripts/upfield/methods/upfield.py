"""`upfield`: a 3-D residual-encoder U-Net, trained inside the brain on L1, SSIM and gradients; the default method."""

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.nets import SegResNetDS
from torch import Tensor, nn

from upfield.catalogue.methods import built_in
from upfield.methods.start import Start
from upfield.methods.supervised import Supervised
from upfield.methods.upsampling import folded, unfolded

FACTS = built_in("upfield")
# Residual blocks of the encoder by level, as in nnU-Net's residual-encoder presets (Isensee et al. 2024).
BLOCKS = (1, 3, 4, 6, 6, 6, 6)


class Folded(nn.Module):
    """A network that sees the voxels of each cell (a, b, c) as channels: (B, C, aX, bY, cZ) -> (B, 1, aX, bY, cZ).

    No convolution runs at full resolution, where few channels take most of the time (Shi et al. 2016).
    """

    def __init__(self, network: nn.Module, cell: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.cell = network, cell

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on cells."""
        return unfolded(self.network(folded(x, self.cell)), self.cell)


class ResidualEncoderUNet(Supervised):
    """MONAI's SegResNetDS (Myronenko 2018): residual encoder, light decoder, skips that are added, linear output.

    `blocks` is the most residual blocks that a level of the encoder has. `flat_levels` is how many levels leave each
    axis alone, neither halving it nor looking along it: for thick voxels and few slices. With `fold` the first halving
    is no convolution: two voxels along each axis that is halved become channels. With `fitted_start` it learns the
    difference from a `Start`. Batch norm, whose statistics are fixed at prediction, so that a voxel's value does not
    depend on the window that it is predicted in.
    """

    def __init__(
        self,
        *,
        base: int,
        levels: int,
        flat_levels: Sequence[int],
        blocks: int,
        fold: bool,
        fitted_start: bool,
        in_channels: int = 1,
        **shared: Any,
    ) -> None:
        cell = tuple(1 if flat or not fold else 2 for flat in flat_levels)
        flat = [max(levels - fold, 0) for levels in flat_levels]
        network: nn.Module = SegResNetDS(
            init_filters=base,
            in_channels=(in_channels + fitted_start) * math.prod(cell),
            out_channels=math.prod(cell),
            act=("leakyrelu", {"negative_slope": 0.01}),
            norm="batch",
            blocks_down=tuple(min(blocks, deep) for deep in BLOCKS[: levels + 1 - fold]),
            upsample_mode="deconv",
            # Voxel sizes by which MONAI leaves the coarser axes alone for as many levels.
            resolution=tuple(2.0**level for level in flat) if any(flat) else None,
        )
        if fold:
            network = Folded(network, cell)
        start = Start([bool(flat) for flat in flat_levels]) if fitted_start else None
        super().__init__(network, in_channels=in_channels, outputs=math.prod(cell), start=start, **shared)
        self.divisor = FACTS.divisor({"levels": levels})


METHOD = ResidualEncoderUNet
