"""Exponential moving average of the weights that enhance."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from upfield.methods.base import Method


def enhancing(method: Method) -> list[str]:
    """Names of the submodules trained by the plan `generator`, or by any plan if none is called so."""
    plans = method.plans()
    chosen = [plans["generator"]] if "generator" in plans else list(plans.values())
    trained = {id(parameter) for plan in chosen for parameter in plan.parameters}
    return [
        name
        for name, child in method.named_children()
        if any(id(parameter) in trained for parameter in child.parameters())
    ]


class Average:
    """Running average of the floating-point state of a method's `enhancing` networks, statistics of norms included.

    After step t (from 1) the average moves by 1 - min(decay, (1 + t) / (10 + t)) towards the weights, so that the
    random weights of the start are soon forgotten.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.method, self.decay = method, decay
        networks = enhancing(method)
        self.values = {
            name: value.detach().clone()
            for name, value in method.state_dict().items()
            if name.split(".")[0] in networks and value.is_floating_point()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, a number from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        state = self.method.state_dict()
        for name, value in self.values.items():
            value.lerp_(state[name], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The method has the averaged weights in the block, and its own again afterwards, equal to the bit."""
        state = self.method.state_dict()
        own = {name: state[name].detach().clone() for name in self.values}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(own)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Continue from the `values` of a checkpoint."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        state = self.method.state_dict()
        for name, value in values.items():
            state[name].copy_(value)
