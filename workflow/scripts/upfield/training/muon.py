"""Muon: steps of a layer in all directions at once (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Iterations and coefficients of the polynomial that brings singular values near 1 (Jordan et al.).
ITERATIONS = 4
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Steps of this root mean square are as long as Adam's, whose rates serve then (Liu et al. 2025, arXiv:2502.16982).
LIKE_ADAM = 0.2
TINY = 1e-7


class Muon(Optimizer):
    """Momentum whose singular values are brought near 1, with decoupled weight decay.

    Each parameter is a matrix, its first axis by all others: of a convolution, what each channel is made of. In
    float32, where torch's own rounds to bfloat16, which many processors have no arithmetic for.
    """

    def __init__(self, groups: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient; there is no `closure`."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.flatten(1).float()
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(gradient)
                state["momentum"].lerp_(gradient, 1 - group["momentum"])
                # Nesterov's: as if the next gradient were this one again.
                direction = orthogonalized(gradient.lerp(state["momentum"], group["momentum"]))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                length = LIKE_ADAM * max(direction.shape) ** 0.5
                parameter.add_(direction.reshape(parameter.shape), alpha=-group["lr"] * length)


def orthogonalized(matrix: Tensor) -> Tensor:
    """The matrix (rows, columns) with singular values of about 0.7 to 1.2 in the place of its own; zero stays zero."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    result = wide / (wide.norm() + TINY)
    first, second, third = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = result @ result.T
        result = first * result + (second * square + third * (square @ square)) @ result
    return result if wide is matrix else result.T


def operations(matrices: Iterable[Tensor]) -> int:
    """Floating-point operations of a step of these parameters."""
    total = 0
    for matrix in matrices:
        short, long = sorted((matrix.shape[0], matrix[0].numel()))
        total += ITERATIONS * (4 * short * short * long + 2 * short**3)
    return total
