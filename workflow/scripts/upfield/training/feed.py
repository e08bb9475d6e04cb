"""From patch stores to batches on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

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
    # Voxels of the working grid; a whole slice (X, Y, 1) for a 2-D method.
    patch: tuple[int, int, int]
    per_volume: int
    per_volume_val: int
    foreground: float


def load(method: Method, patches: Patches, indices: Sequence[int], device: torch.device) -> DataLoader[Batch]:
    """The patches of `indices` (wrapped around the end) in batches, on the CPU."""
    # A patch depends on its index alone, so workers change nothing but the speed.
    return DataLoader(
        patches,
        batch_size=method.batch_size,
        sampler=[index % len(patches) for index in indices],
        num_workers=GPU_WORKERS if device.type == "cuda" else 0,
        pin_memory=device.type == "cuda",
        # Of its own: an iterator draws from it, and resuming amid an epoch would shift torch's for ever.
        generator=torch.Generator(),
    )


def to_device(method: Method, batch: Batch, device: torch.device) -> Batch:
    """A batch as the method takes it, where the method is."""
    return {name: as_taken(method, value).to(device, non_blocking=True) for name, value in batch.items()}


def as_taken(method: Method, value: Tensor) -> Tensor:
    """An image as the method takes it: a 2-D method's slices (..., X, Y, 1) without their last axis."""
    return value.squeeze(-1) if method.dims == 2 and value.ndim > 1 else value
