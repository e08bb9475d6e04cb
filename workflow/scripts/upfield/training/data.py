"""From patch stores to batches on the training device."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from upfield.catalogue.methods import RUNTIME_OPTIONS
from upfield.methods.base import Batch, Method
from upfield.patches import Patches

# Processes that read patches while a GPU computes; a CPU has no time to spare for them.
GPU_WORKERS = 4


@dataclass(frozen=True)
class Options:
    """What the `train` and `patches` blocks of a study say, for one model."""

    epochs: int
    max_steps: int | None
    seed: int
    device: str
    precision: str
    save_every: int
    # Share of the old in the moving average of the weights; 0 for none.
    ema: float
    # Batches whose gradients make one step.
    accumulate: int
    # Epochs without a better validation after which training ends.
    patience: int | None
    # Factor of the learning rate by name of a module.
    layer_lr: Mapping[str, float]
    # Processes that read patches; None for as many as suit the device.
    workers: int | None
    # Processes that train together; only those who start them look at it.
    processes: int
    # Steps between lines in the log (None: no lines), epochs between previews (0: none).
    log_every: int | None
    preview_every: int
    # Voxels of the working grid; (X, Y, 1) for a 2-D method, which is validated on whole slices.
    patch: tuple[int, int, int]
    patch_val: tuple[int, int, int]
    per_volume: int
    per_volume_val: int
    foreground: float
    brain_share: float
    # Of the arithmetic; set before torch is loaded, and not looked at here.
    threads: int | None = None

    def decisive(self) -> dict[str, Any]:
        """What the weights depend on."""
        return {key: value for key, value in asdict(self).items() if key not in RUNTIME_OPTIONS}


def load(
    method: Method, patches: Patches, indices: Sequence[int], device: torch.device, workers: int | None
) -> DataLoader[Batch]:
    """The patches of `indices` (wrapped around the end) in batches, on the CPU."""
    # A patch depends on its index alone, so workers change nothing but the speed.
    usual = GPU_WORKERS if device.type == "cuda" else 0
    return DataLoader(
        patches,
        batch_size=method.batch_size,
        sampler=[index % len(patches) for index in indices],
        num_workers=usual if workers is None else workers,
        pin_memory=device.type == "cuda",
        # Of its own: an iterator draws from it, and resuming amid an epoch would shift torch's for ever.
        generator=torch.Generator(),
    )


def to_device(method: Method, batch: Batch, device: torch.device) -> Batch:
    """A batch as the method takes it, where the method is."""
    return {name: to_input_shape(method, value).to(device, non_blocking=True) for name, value in batch.items()}


def to_input_shape(method: Method, value: Tensor) -> Tensor:
    """An image as the method takes it: a 2-D method's slices (..., X, Y, 1) without their last axis."""
    return value.squeeze(-1) if method.dims == 2 and value.ndim > 1 else value
