"""What is looked at after every epoch of an unpaired training: there is no truth to compare an output with."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from upfield.nifti import Array
from upfield.patches import SOURCE, TARGET, Sampling, UnpairedPatches
from upfield.training.device import autocast
from upfield.training.feed import as_taken, load, to_device
from upfield.training.log import Means
from upfield.training.validation import Check

QUANTILES = np.linspace(0, 1, 501)


class UnpairedValidation(Check):
    """Runs a method both ways in evaluation mode on the stores of the validation participants.

    The epoch is kept whose `score` is lowest: cycle error + distance of intensities + distance of sharpness. The first
    is low if the way back is found, so that structure was not lost; the others if outputs cannot be told from scans of
    the target scanner, in brightness and contrast and in sharpness and noise. All are in normalised units.
    """

    criterion = "val_score"

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Cycle error and distances over the same patches every time, all in the brain, and their sum.

        `val_cycle`: mean |A to B to A - A|. `val_intensity`, `val_sharpness`: 1-Wasserstein distance between A to B and
        B of the intensities, and of the sizes of the in-plane Laplacian, which noise raises and blur lowers.
        """
        options = self.options
        sampling = Sampling(options.patch_val, options.per_volume_val, 1.0, options.seed, self.method.scale)
        patches = UnpairedPatches(self.stores, sampling, 0)
        cycle = Means()
        seen: dict[str, list[Array]] = {name: [] for name in ("output", "target", "output_detail", "target_detail")}
        self.method.eval()
        for batch in load(self.method, patches, range(len(patches)), self.device, options.workers):
            batch = to_device(self.method, batch, self.device)
            output, back = self._both_ways(batch["source"])
            inside, there = batch["mask"] > 0, batch["target_mask"] > 0
            cycle.add({"cycle": float((back - batch["source"]).abs()[inside].mean())})
            for name, image, mask in (("output", output, inside), ("target", batch["target"], there)):
                seen[name].append(image[mask].cpu().numpy())
                detail, interior = laplacian(image, mask)
                seen[f"{name}_detail"].append(detail[interior].cpu().numpy())
        self.method.train()
        values = {
            **cycle.means("val_"),
            "val_intensity": _distance(seen["output"], seen["target"]),
            "val_sharpness": _distance(seen["output_detail"], seen["target_detail"]),
        }
        return {**values, self.criterion: sum(values.values())}

    @torch.no_grad()
    def preview(self) -> dict[str, Array]:
        """The middle axial slice of a validation volume of each scanner, there and back, each (X, Y)."""
        self.method.eval()
        panels = {}
        for a, b, side in (("A", "B", SOURCE), ("B", "A", TARGET)):
            store = next(store for store in self.stores if side in store.sides)
            unit = self.method.unit
            shape = [-(-size // multiple) * multiple for size, multiple in zip(store.shape, unit, strict=True)]
            depth = 1 if self.method.dims == 2 else shape[2]
            low = (store.shape[2] - depth) // 2
            box = store.read((0, 0, low), (shape[0], shape[1], depth))[side]
            start = as_taken(self.method, box[None]).to(self.device)
            there, back = (image.cpu().reshape(box.shape) for image in self._both_ways(start, side == TARGET))
            x, y = store.shape[:2]
            for name, image in ((a, box), (f"{a}→{b}", there), (f"{a}→{b}→{a}", back)):
                panels[name] = image[0, :x, :y, depth // 2].numpy()
        self.method.train()
        return panels

    def _both_ways(self, image: Tensor, target: bool = False) -> tuple[Tensor, Tensor]:
        """An image of the source (or target) brought to the other scanner, and back."""
        forward, reverse = self.method.forward, self.method.reverse
        first, second = (reverse, forward) if target else (forward, reverse)
        with autocast(self.device, self.dtype):
            there = first(image).float()
            return there, second(there).float()


def laplacian(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Size of the in-plane Laplacian of (B, 1, X, Y[, Z]), 4 neighbours, and where all of them are in the mask."""
    result, interior = torch.zeros_like(images), mask.clone()
    for axis in (2, 3):
        inner = images.shape[axis] - 2
        result.narrow(axis, 1, inner).add_(images.diff(n=2, dim=axis))
        interior.narrow(axis, 1, inner).logical_and_(mask.narrow(axis, 0, inner) & mask.narrow(axis, 2, inner))
        for end in (0, -1):
            interior.select(axis, end).zero_()
    return result.abs(), interior


def _distance(one: Sequence[Array], other: Sequence[Array]) -> float:
    """1-Wasserstein distance of pooled values: the mean difference of their quantiles."""
    first, second = (np.quantile(np.concatenate(values), QUANTILES) for values in (one, other))
    return float(np.abs(first - second).mean())
