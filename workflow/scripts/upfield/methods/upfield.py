"""`upfield`: a 3-D residual-encoder U-Net, trained inside the brain on L1, SSIM and gradients; the default method."""

from collections.abc import Sequence
from typing import Any

from monai.networks.nets import SegResNetDS

from upfield.catalogue.methods import built_in
from upfield.methods.supervised import Supervised

FACTS = built_in("upfield")
# Residual blocks of the encoder by level, as in nnU-Net's residual-encoder presets (Isensee et al. 2024).
BLOCKS = (1, 3, 4, 6, 6, 6, 6)


class ResidualEncoderUNet(Supervised):
    """MONAI's SegResNetDS (Myronenko 2018): residual encoder, light decoder, skips that are added, linear output.

    `blocks` is the most residual blocks that a level of the encoder has. `flat_levels` is how many levels leave each
    axis alone, neither halving it nor looking along it: for thick voxels and few slices. Batch norm, whose statistics
    are fixed at prediction, so that a voxel's value does not depend on the window that it is predicted in.
    """

    def __init__(
        self, *, base: int, levels: int, flat_levels: Sequence[int], blocks: int, in_channels: int = 1, **shared: Any
    ) -> None:
        network = SegResNetDS(
            init_filters=base,
            in_channels=in_channels,
            out_channels=1,
            act=("leakyrelu", {"negative_slope": 0.01}),
            norm="batch",
            blocks_down=tuple(min(blocks, deep) for deep in BLOCKS[: levels + 1]),
            upsample_mode="deconv",
            # Voxel sizes by which MONAI leaves the coarser axes alone for as many levels.
            resolution=tuple(2.0**flat for flat in flat_levels) if any(flat_levels) else None,
        )
        super().__init__(network, in_channels=in_channels, **shared)
        self.divisor = FACTS.divisor({"levels": levels})


METHOD = ResidualEncoderUNet
