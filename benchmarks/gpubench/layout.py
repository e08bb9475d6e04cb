"""Right: with channels innermost, as the library trains 3-D networks, or not: the same result, and what it is worth."""

import copy
import time

import torch
from upfield.methods import Method

from gpubench.bench import Bench, distance
from gpubench.cases import Stepper, build, make_batch, moved, settings, shape_of, tf32

BOUND = 5e-3
REPEATS = 5


def run(bench: Bench) -> None:
    """`channels_last_3d` against torch's own layout: outputs and gradients in fp32, time of a step in bf16."""
    form, device = bench.form, torch.device(bench.job.device)
    for name in bench.while_time(["unet3d_patchgan", "srgan3d"]):
        method = build(settings(name, small=form.small, batch=form.batch))
        shape = shape_of(method, form.cube, form.slice)
        batch = moved(make_batch(method, shape, method.batch_size), device)
        with tf32(False):
            plain, last = (_stepper(method, device, torch.float32, kind) for kind in (False, True))
            outputs = [{"": stepper.forward(batch["source"])} for stepper in (plain, last)]
            for stepper in (plain, last):
                stepper.step(batch)
            far = {
                "output": distance(outputs[1], outputs[0]),
                "gradient": distance(last.gradients(), plain.gradients()),
            }
        del plain, last
        bench.found(f"{name} fp32, channels_last_3d or not", max(far.values()) <= BOUND, **far, bound=BOUND)
        dtype, kind = (torch.bfloat16, "bf16") if bench.cuda else (torch.float32, "fp32")
        seconds = {channels: _seconds(_stepper(method, device, dtype, channels), batch) for channels in (False, True)}
        bench.found(f"{name} {kind}, a step", ms=1e3 * seconds[True], without_channels_last_ms=1e3 * seconds[False])


def _stepper(method: Method, device: torch.device, dtype: torch.dtype, channels: bool) -> Stepper:
    return Stepper(copy.deepcopy(method), device, dtype, channels)


def _seconds(stepper: Stepper, batch: dict[str, torch.Tensor]) -> float:
    """Of one step, whose losses make it wait for the device; the mean of several after two to warm up."""
    for _ in range(2):
        stepper.step(batch)
    started = time.perf_counter()
    for _ in range(REPEATS):
        stepper.step(batch)
    return (time.perf_counter() - started) / REPEATS
