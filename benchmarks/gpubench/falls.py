"""Right: steps in bf16 and fp16 stay finite, and the loss falls."""

import math

import torch
from upfield.methods import Batch

from gpubench.bench import Bench
from gpubench.cases import METHODS, NEARNESS, SCALES, Stepper, build, make_batch, moved, settings, shape_of

# A loss scale that is still too high after so many halvings is 0.
MOST_SKIPPED = 20


def run(bench: Bench) -> None:
    """Each method learns one batch by heart."""
    pairs = [(name, kind) for name in METHODS for kind in ("bf16", "fp16")]
    for name, kind in bench.while_time(pairs, " ".join):
        form = bench.form
        method = build(settings(name, small=form.small, batch=form.batch))
        shape = shape_of(method, form.cube, form.slice)
        device = torch.device(bench.job.device)
        batch = moved(make_batch(method, shape, method.batch_size), device)
        dtype = torch.bfloat16 if kind == "bf16" else torch.float16
        stepper = Stepper(method, device, dtype, channels_last=True, scale=SCALES[0])
        skipped = _skipped(stepper, batch)
        history = [stepper.step(batch) for _ in range(form.steps)]
        key = next(key for key in NEARNESS if key in history[0])
        window = max(form.steps // 10, 1)
        first, last = (
            sum(losses[key] for losses in part) / len(part) for part in (history[:window], history[-window:])
        )
        finite = all(math.isfinite(value) for losses in history for value in losses.values())
        whole = all(bool(parameter.isfinite().all()) for parameter in method.parameters())
        values = {"steps": form.steps, f"{key}_at_first": first, "at_last": last, "finite": finite and whole}
        if kind == "fp16":
            values |= {"skipped_before": skipped, "loss_scale": float(stepper.scaler.get_scale())}
        bench.found(f"{name} {kind}", finite and whole and last < first, **values)


def _skipped(stepper: Stepper, batch: Batch) -> int:
    """How many steps fp16 skips until its loss scale is low enough; none in other precisions."""
    for count in range(MOST_SKIPPED):
        before = stepper.scaler.get_scale()
        if not stepper.scaler.is_enabled():
            return 0
        stepper.step(batch)
        if stepper.scaler.get_scale() >= before:
            return count
    return MOST_SKIPPED
