"""Plans for cards of several sizes: the memory that is foreseen against what training steps really take."""

from typing import Any

import torch
from upfield import methods
from upfield.catalogue.methods import built_in
from upfield.plan import decide
from upfield.plan import device as devices
from upfield.plan.fingerprint import Fingerprint
from upfield.training.average import Average

from gpubench.bench import Bench
from gpubench.cases import PLANNED, Stepper, make_batch, moved, settings

# Forty heads at 1 mm.
EDGES = (168, 208, 176)
HEADS = Fingerprint(
    pairs=40, channels=1, spacing=(1.0, 1.0, 1.0), shape=EDGES, largest=EDGES, brain=(140, 172, 136),
    brain_voxels=1_500_000, noise=(0.05, 0.02), gap=0.1,
)  # fmt: skip
# The peak is asked to be between these shares of the memory that was named, where memory limits the plan at all.
LOW, HIGH = 0.8, 1.0
STEPS, WARMED = 6, 3


def run(bench: Bench) -> None:
    """Plan for each size; on a card that has as much, take steps within it and measure."""
    for limit in bench.while_time(bench.form.plan_sizes, lambda one: f"a plan for {one} GB"):
        where = devices.of("auto", f"{limit}GB", threads=1, job=0)
        plan = decide.plan(HEADS, where, settings(PLANNED, small=False, batch=None), built_in(PLANNED).defaults)
        chosen, foreseen = plan["settings"], plan["predicted"]
        bench.found(
            f"plan for {limit} GB", foreseen["memory"] <= limit * 1e9, base=chosen["base"], levels=chosen["levels"],
            patch="x".join(map(str, chosen["patch"])), batch=chosen["batch_size"], gb=foreseen["memory"] / 1e9,
            step_s=foreseen["step_seconds"], hours=foreseen["hours"],
        )  # fmt: skip
        if bench.cuda and torch.cuda.get_device_properties(0).total_memory >= limit * 1e9:
            _measure(bench, limit, plan)


def _measure(bench: Bench, limit: int, plan: dict[str, Any]) -> None:
    device, total = torch.device("cuda"), torch.cuda.get_device_properties(0).total_memory
    context = devices.RESIDENT["cuda"]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(min((limit * 1e9 - context) / total, 1.0))
    try:
        method = methods.build(plan["settings"])
        stepper = Stepper(method, device, torch.bfloat16, True)
        average = Average(stepper.method, 0.99)
        batch = moved(make_batch(method, plan["settings"]["patch"], method.batch_size), device)
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for step in range(STEPS):
            if step == WARMED:
                started.record()
            stepper.step(batch)
            average.update(step + 1)
        ended.record()
        torch.cuda.synchronize()
        seconds = started.elapsed_time(ended) / 1e3 / (STEPS - WARMED)
        share = (torch.cuda.max_memory_reserved() + context) / (limit * 1e9)
        bench.found(
            f"within {limit} GB", LOW <= share <= HIGH, share=share, step_s=seconds,
            rate_over_foreseen=plan["predicted"]["step_seconds"] / seconds,
        )  # fmt: skip
    except torch.OutOfMemoryError:
        bench.found(f"within {limit} GB", False, error="out of memory")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
