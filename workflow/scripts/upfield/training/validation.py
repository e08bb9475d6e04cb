"""What is looked at after every epoch: errors on fixed validation patches, and a picture."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from upfield.methods.base import Method
from upfield.patches import Patches, Sampling, Store
from upfield.training.data import Options, load, to_device, to_input_shape
from upfield.training.device import autocast
from upfield.training.log import RunningMean

# Depth of the slab that a preview is predicted in, voxels.
PREVIEW_DEPTH = 16


class Validator:
    """A method in evaluation mode on the stores of the validation participants.

    The epoch is kept in which the value called `criterion` is lowest.
    """

    criterion: ClassVar[str]

    def __init__(
        self, method: Method, stores: Sequence[Store], options: Options, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.method, self.stores, self.options = method, list(stores), options
        self.device, self.dtype = device, dtype

    def measure(self) -> dict[str, float]:
        """What a row of the history says, `criterion` among it; names begin with `val_`."""
        raise NotImplementedError

    def preview(self) -> dict[str, np.ndarray]:
        """Panels (X, Y) of one validation volume, by title."""
        raise NotImplementedError


class Validation(Validator):
    """Outputs against their targets."""

    criterion = "val_mae"

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Mean absolute error and PSNR in the brain, over the same patches every time."""
        options = self.options
        sampling = Sampling(options.patch_val, options.per_volume_val, 1.0, options.seed, self.method.scale)
        patches = Patches(self.stores, sampling, 0)
        means = RunningMean()
        self.method.eval()
        for batch in load(self.method, patches, range(len(patches)), self.device, options.workers):
            batch = to_device(self.method, batch, self.device)
            with autocast(self.device, self.dtype):
                output = self.method(batch["source"]).float()
            for i in range(len(output)):
                inside = batch["mask"][i] > 0
                error = (output[i] - batch["target"][i])[inside]
                mse = float((error**2).mean())
                psnr = 10 * np.log10(float(batch["range"][i]) ** 2 / max(mse, 1e-12))
                means.add({"mae": float(error.abs().mean()), "psnr": float(psnr)})
        self.method.train()
        return means.means("val_")

    @torch.no_grad()
    def preview(self) -> dict[str, np.ndarray]:
        """The method's panels of the middle axial slice of the first validation volume, each (X, Y).

        The voxels of a panel that is coarser than the target are repeated.
        """
        store, scale = self.stores[0], self.method.scale
        unit = self.method.unit
        depth = -(-PREVIEW_DEPTH // unit[2]) * unit[2] if self.method.dims == 3 else 1
        shape = [-(-size // multiple) * multiple for size, multiple in zip(store.shape[:2], unit, strict=False)]
        low = (store.shape[2] - depth) // 2 // scale[2] * scale[2]
        box = store.read((0, 0, low), (*shape, depth), scale)
        pair = [to_input_shape(self.method, box[side][None]).to(self.device) for side in ("source", "target")]
        self.method.eval()
        with autocast(self.device, self.dtype):
            panels = self.method.panels(*pair)
        self.method.train()
        x, y = store.shape[:2]
        return {name: self._whole(image, (*shape, depth))[:x, :y, depth // 2] for name, image in panels.items()}

    @staticmethod
    def _whole(image: Tensor, shape: Sequence[int]) -> np.ndarray:
        """A batch of one image, or of one slice, as (X, Y, Z) of `shape`, voxels repeated."""
        result = image.float().cpu().reshape(*image.shape[2:4], -1)
        for axis, size in enumerate(shape):
            result = result.repeat_interleave(size // result.shape[axis], dim=axis)
        return result.numpy()
