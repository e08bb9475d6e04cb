"""Right: every method, forward and one training step, on the device against the CPU in fp32."""

import copy
import gc

import torch
from upfield.methods import Batch, Method

from gpubench.bench import Bench, distance
from gpubench.cases import (
    METHODS,
    NEARNESS,
    SCALES,
    Stepper,
    build,
    make_batch,
    moved,
    settings,
    shape_of,
    size_of,
    tf32,
)

# How far, relative to the norm, outputs (and losses) and gradients may be from those of the CPU in fp32. Where the
# arithmetic is the same but for the order of sums, only rounding is left. TF32 and fp16 have 10 bits of mantissa, bf16
# has 7. Batch norms over few values multiply what is rounded; at 0.8 a gradient still points downhill. Gradients of a
# generator come after a step of its discriminator, whose Adam turns the sign of what is near 0.
BOUNDS = {"fp32": (1e-4, 5e-3), "tf32": (5e-3, 5e-2), "bf16": (3e-2, 0.8), "fp16": (5e-3, 0.2)}
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(bench: Bench) -> None:
    """Compare each method in each precision: norm of the difference of outputs and of gradients, and of the loss."""
    for name in bench.while_time(METHODS):
        form = bench.form
        method = build(settings(name, small=form.small, batch=None))
        shape = shape_of(method, form.agree_cube, form.agree_slice)
        batch = make_batch(method, shape, form.agree_batch)
        bench.found(f"{name}", size=size_of(method), batch=f"{form.agree_batch} x {' x '.join(map(str, shape))}")
        reference = _outcome(method, batch, torch.device("cpu"), torch.float32, channels_last=False)
        kinds = ["fp32", "tf32", "bf16", "fp16"] if bench.cuda else ["fp32", "bf16", "fp16"]
        for kind in bench.while_time(kinds, f"{name} {{}}".format):
            with tf32(kind != "fp32"):
                other = _outcome(method, batch, torch.device(bench.job.device), DTYPES[kind], channels_last=True)
            _compare(bench, f"{name} {kind}", reference, other, *BOUNDS[kind])
        gc.collect()


Outcome = tuple[torch.Tensor, dict[str, float], dict[str, torch.Tensor]]


def _outcome(method: Method, batch: Batch, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Outcome:
    """Output, losses and gradients of a copy of the method; in fp16 at the first loss scale that does not overflow."""
    for scale in SCALES if dtype == torch.float16 else SCALES[:1]:
        stepper = Stepper(copy.deepcopy(method), device, dtype, channels_last, scale)
        output = stepper.forward(batch["source"])
        losses = stepper.step(moved(batch, device))
        gradients = stepper.gradients()
        if all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            break
    return output, losses, gradients


def _compare(bench: Bench, what: str, one: Outcome, other: Outcome, bound: float, gradient_bound: float) -> None:
    output = distance({"": other[0]}, {"": one[0]})
    gradient = distance(other[2], one[2])
    # How near output and target are; what a discriminator says after its own first step hangs on signs near 0.
    key = next(name for name in NEARNESS if name in one[1])
    loss = abs(other[1][key] - one[1][key]) / one[1][key]
    # Written so that NaN is wrong.
    right = output <= bound and gradient <= gradient_bound and loss <= bound
    values = {"output": output, "gradient": gradient, "loss": loss, "bounds": [bound, gradient_bound]}
    bench.found(what, right, **values)
