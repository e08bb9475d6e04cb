"""What is looked at after every epoch of an unpaired training: no output has a target."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from upfield.image.nifti import Array
from upfield.methods.base import Batch, Method
from upfield.patches import SOURCE, TARGET, Patches, Sampling, Store, require
from upfield.training.data import Options, load, to_device, to_input_shape
from upfield.training.device import autocast
from upfield.training.log import RunningMean
from upfield.training.validation import Validator

QUANTILES = np.linspace(0, 1, 501)


class UnpairedValidation(Validator):
    """Runs a method in evaluation mode on the participants that are not for the test.

    The epoch is kept whose `val_score` is lowest: distance of intensities + distance of sharpness between outputs and
    scans of the target scanner, both cohorts whole (training and validation). How people of one scanner differ is
    larger than what is left of a difference between scanners: the distance between one or two of each would be
    chance. That structure is not lost is for the losses to see to; `val_cycle` tells of it.
    """

    criterion = "val_score"

    def __init__(
        self,
        method: Method,
        stores: Sequence[Store],
        options: Options,
        device: torch.device,
        dtype: torch.dtype,
        taught: Sequence[Store],
    ) -> None:
        """`taught`: the stores of the training participants. Raises UpfieldError if a cohort has nobody in `stores`."""
        super().__init__(method, stores, options, device, dtype)
        self.held_out, self.taught = _by_side(stores), _by_side(taught)
        require(self.held_out)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Cycle error and distances over the same patches every time, all in the brain and in normalized units.

        `val_cycle`: mean |A to B to A - A| of the validation participants. `val_intensity`, `val_sharpness`:
        1-Wasserstein distance between A to B and B of the intensities, and of the sizes of the in-plane Laplacian,
        which noise raises and blur lowers. `val_score`: the sum of both distances.
        """
        cycle = RunningMean()

        def there_and_back(batch: Batch) -> Tensor:
            output, back = self._both_ways(batch[SOURCE])
            cycle.add({"cycle": float((back - batch[SOURCE]).abs()[batch["mask"] > 0].mean())})
            return output

        self.method.eval()
        held_out = self._seen(self.held_out[SOURCE], there_and_back)
        taught = self._seen(self.taught[SOURCE], lambda batch: self._run(self.method.forward, batch[SOURCE]))
        self.method.train()
        outputs = _quantiles([*held_out, *taught])
        distances = {
            f"val_{name}": float(np.abs(values - there).mean())
            for name, values, there in zip(("intensity", "sharpness"), outputs, self._reference, strict=True)
        }
        return {**cycle.means("val_"), **distances, self.criterion: sum(distances.values())}

    @cached_property
    def _reference(self) -> Array:
        """What outputs are compared with; the same all through the training."""
        return _quantiles(self._seen([*self.held_out[TARGET], *self.taught[TARGET]], lambda batch: batch[TARGET]))

    def _batches(self, store: Store) -> Iterator[Batch]:
        options = self.options
        sampling = Sampling(options.patch_val, options.per_volume_val, 1.0, options.seed, self.method.scale)
        patches = Patches([store], sampling, 0)
        for batch in load(self.method, patches, range(len(patches)), self.device, options.workers):
            yield to_device(self.method, batch, self.device)

    def _seen(self, stores: Sequence[Store], image: Callable[[Batch], Tensor]) -> list[Array]:
        """Of each brain the quantiles of its intensities and of the size of its Laplacian, (2, Q)."""
        people = []
        for store in stores:
            intensity, sharpness = [], []
            for batch in self._batches(store):
                shown, mask = image(batch), batch["mask"] > 0
                detail, interior = laplacian(shown, mask)
                intensity.append(shown[mask].cpu().numpy())
                sharpness.append(detail[interior].cpu().numpy())
            people.append(np.stack([np.quantile(np.concatenate(part), QUANTILES) for part in (intensity, sharpness)]))
        return people

    @torch.no_grad()
    def preview(self) -> dict[str, Array]:
        """The middle axial slice of a validation volume of each scanner, there and back, each (X, Y)."""
        self.method.eval()
        panels = {}
        for a, b, side in (("A", "B", SOURCE), ("B", "A", TARGET)):
            store = self.held_out[side][0]
            unit = self.method.unit
            shape = [-(-size // multiple) * multiple for size, multiple in zip(store.shape, unit, strict=True)]
            depth = 1 if self.method.dims == 2 else shape[2]
            low = (store.shape[2] - depth) // 2
            box = store.read((0, 0, low), (shape[0], shape[1], depth))[side]
            start = to_input_shape(self.method, box[None]).to(self.device)
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
        there = self._run(first, image)
        return there, self._run(second, there)

    def _run(self, direction: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        with autocast(self.device, self.dtype):
            return direction(image).float()


def _by_side(stores: Sequence[Store]) -> dict[str, list[Store]]:
    """The stores that hold a source, and those that hold a target; those of pairs are both."""
    return {side: [store for store in stores if side in store.sides] for side in (SOURCE, TARGET)}


def _quantiles(people: Sequence[Array]) -> Array:
    """Quantiles (2, Q) of a cohort from those of its people, who all have the same weight."""
    return np.quantile(np.concatenate(people, axis=1), QUANTILES, axis=1).T


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
