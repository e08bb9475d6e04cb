"""The whole field of view as a region: what papers without a mask report, and background flatters."""

from collections.abc import Sequence

import numpy as np

from upfield.evaluate.metrics.frame import RADIUS, WINDOW, Frame, Pair, Picture
from upfield.evaluate.metrics.structure import similarity
from upfield.image import nifti
from upfield.image.nifti import Array

VOLUME = "volume"
# Those that a mean over more voxels without error changes in a known way; the others have no meaning on background.
NAMES = ("psnr", "ssim", "mae", "mse", "rmse")


class WholeVolume:
    """A skull-stripped reference on its whole field of view: 0 outside the brain, in every image."""

    def __init__(self, reference: Array, brain: Array, data_range: float) -> None:
        """`reference` (X, Y, Z), `brain` its boolean mask, `data_range` as for `Reference`."""
        # Twice the reach of the window: beyond that local SSIM is 1, and need not be computed.
        low, high = nifti.bounding_box(brain, margin=2 * RADIUS)
        self.box = tuple(map(slice, low, high))
        self.brain = brain[self.box]
        self.voxels = brain.size
        self.share = float(np.count_nonzero(brain)) / brain.size
        thin = [axis for axis in range(3) if self.brain.shape[axis] < WINDOW]
        self.frame = Frame(np.ones(self.brain.shape, bool), data_range, 0.0, thin)
        self.image = self._picture(reference)

    def measure(self, output: Array, in_brain: dict[str, float], names: Sequence[str]) -> list[tuple[str, str, float]]:
        """Rows of (region, metric, value) of those of `names` that make sense here.

        `in_brain` holds `mse` and `mae` inside the brain, from which most follow: outside it no image has an error.
        """
        mse = self.share * in_brain["mse"]
        values = {
            "psnr": 10 * np.log10(self.frame.data_range**2 / mse) if mse > 0 else np.inf,
            "mae": self.share * in_brain["mae"],
            "mse": mse,
            "rmse": np.sqrt(mse),
        }
        if "ssim" in names:
            field = similarity(Pair(self._picture(output), self.image))
            values["ssim"] = 1 - float((1 - field).sum()) / self.voxels
        return [(VOLUME, name, float(values[name])) for name in names if name in NAMES]

    def _picture(self, image: Array) -> Picture:
        return Picture(self.frame, np.where(self.brain, image[self.box], 0).astype(np.float64))
