"""What a training step costs, without taking it: memory and operations of tensors that hold no numbers."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from upfield.methods import Method
from upfield.training import muon
from upfield.training.device import autocast


@dataclass(frozen=True)
class Cost:
    """Of one training step: bytes of all tensors that are there at once, at most, and floating-point operations."""

    peak: int
    operations: int


class _Alive(TorchDispatchMode):
    """Adds up the memory of tensors from when they are made until nobody holds them any more."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        return result

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once however many tensors share it."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def training_step(
    make: Callable[[], Method], shape: Sequence[int], averaged: bool, dtype: torch.dtype = torch.float32
) -> Cost:
    """The cost of one step of the method that `make` builds, on its batch of patches of `shape` (X, Y, Z).

    `averaged`: whether a moving average of its weights is kept. `dtype` is that of its networks in mixed precision.
    Raises what its networks raise if they do not take patches of this shape.
    """
    with FakeTensorMode():
        method = make()
        sizes = {"source": method.in_channels, "target": 1, "mask": 1}
        batch = {name: torch.ones(method.batch_size, channels, *shape) for name, channels in sizes.items()}
        alive, counter = _Alive(), FlopCounterMode(display=False)
        weights = sum(value.numel() * value.element_size() for value in method.parameters())
        with alive, counter, autocast(torch.device("cpu"), dtype):
            for tensor in [*method.parameters(), *method.buffers(), *batch.values()]:
                alive.hold(tensor)

            def update(**losses: Tensor) -> None:
                for loss in losses.values():
                    loss.backward()

            method.training_step(batch, update)
        # Adam's two moments, the average, the weights of the best epoch, and weights in the order that libraries want.
        beside = weights * (4 + averaged)
        stepping = sum(muon.operations(plan.matrices) for plan in method.plans().values())
        return Cost(alive.peak + beside, counter.get_total_flops() + stepping)
