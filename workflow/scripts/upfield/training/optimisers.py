"""The optimisers of a method, with learning rates by layer, and how they step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from upfield.errors import UpfieldError
from upfield.methods.base import Method
from upfield.training import processes
from upfield.training.muon import Muon


class Optimisers:
    """One Adam (AdamW) for each plan of a method, and one Muon for those of its parameters that want it.

    Gradients of `accumulate` batches are averaged before a step.

    `layer_lr` maps names of modules, such as `generator.head`, to factors of the plan's learning rate; of several
    that hold a parameter the longest name counts. Raises UpfieldError if a module does not exist.
    """

    def __init__(
        self, method: Method, scaler: torch.amp.GradScaler, layer_lr: Mapping[str, float], accumulate: int
    ) -> None:
        self.plans, self.scaler, self.accumulate = method.plans(), scaler, accumulate
        self.gradient_clip = method.gradient_clip
        factors = _factors(method, layer_lr)
        self.steppers: dict[str, dict[str, Optimizer]] = {}
        for name, plan in self.plans.items():
            matrices = {id(matrix) for matrix in plan.matrices}
            rest = _grouped([parameter for parameter in plan.parameters if id(parameter) not in matrices], factors)
            decaying = AdamW(rest, lr=plan.lr, betas=plan.betas, weight_decay=plan.decay) if plan.decay else None
            self.steppers[name] = {name: decaying or Adam(rest, lr=plan.lr, betas=plan.betas)}
            if plan.matrices:
                muon = Muon(_grouped(plan.matrices, factors), lr=plan.lr, weight_decay=plan.decay)
                self.steppers[name][f"{name}_matrices"] = muon
        self.part = 0

    def set_rates(self, epoch: float, epochs: float) -> dict[str, float]:
        """Learning rates as the plans want them at a fraction of the training, by plan."""
        rates = {}
        for name, plan in self.plans.items():
            rates[f"lr_{name}"] = plan.lr * plan.schedule(epoch, epochs)
            for stepper in self.steppers[name].values():
                for group in stepper.param_groups:
                    group["lr"] = rates[f"lr_{name}"] * group["factor"]
        return rates

    def update(self, **losses: Tensor) -> None:
        """See `upfield.methods.base.Update`: every gradient first, then every step, clipped by its norm.

        A step is taken in the last of `accumulate` batches only (`part` counts them from 0).
        """
        for number, (name, loss) in enumerate(losses.items()):
            if self.part == 0:
                for stepper in self.steppers[name].values():
                    stepper.zero_grad(set_to_none=True)
            scaled = self.scaler.scale(loss / self.accumulate)
            scaled.backward(inputs=self.plans[name].parameters, retain_graph=number + 1 < len(losses))
        if self.part + 1 < self.accumulate // processes.count():
            return
        for name in losses:
            processes.add_gradients(self.plans[name].parameters)
        for name in losses:
            for stepper in self.steppers[name].values():
                self.scaler.unscale_(stepper)
            torch.nn.utils.clip_grad_norm_(self.plans[name].parameters, self.gradient_clip)
            for stepper in self.steppers[name].values():
                self.scaler.step(stepper)

    def finish(self) -> None:
        """End a step: only now may the loss scale change, which all gradients of a step must share."""
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold; between steps there is no gradient to keep."""
        return {name: stepper.state_dict() for each in self.steppers.values() for name, stepper in each.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` gave."""
        for each in self.steppers.values():
            for name, stepper in each.items():
                stepper.load_state_dict(state[name])


def _grouped(parameters: Sequence[Tensor], factors: Mapping[int, float]) -> list[dict[str, Any]]:
    """Groups of an optimiser, by their factor of the learning rate."""
    groups: dict[float, list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": part, "factor": factor} for factor, part in groups.items()]


def _factors(method: Method, layer_lr: Mapping[str, float]) -> dict[int, float]:
    """Factor of the learning rate by parameter."""
    modules = dict(method.named_modules())
    result: dict[int, float] = {}
    for name in sorted(layer_lr, key=len):
        if name not in modules or not list(modules[name].parameters()):
            known = ", ".join(key for key, _ in method.named_children())
            raise UpfieldError(
                f"config: train.layer_lr names {name!r}, where there is nothing to train; expected a module such as"
                f" {known}, or a part of one with its dotted name"
            )
        result |= {id(parameter): layer_lr[name] for parameter in modules[name].parameters()}
    return result
