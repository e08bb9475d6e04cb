"""Whether plans hold: 50 random studies and devices, each plan checked; of ten the memory of a training step measured.

python benchmarks/plan.py                       # all, on a CPU; nothing is trained
python benchmarks/plan.py --plans 10 --measured 2

A plan is right if its network is built with its settings and takes a patch, if patches are multiples of what it needs
and no larger than the volumes, if the peak that it foresees is below its memory, if a second time gives the same, and
if no setting is left open. The measured peak of a process that takes two steps is to be 80 to 100 % of the memory that
was named, in ten plans that memory limits; one that has all that is of use (a small slab) may take less. Exits 1 if
anything is not so.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from upfield.catalogue.methods import facts
from upfield.errors import UpfieldError
from upfield.plan import decide
from upfield.plan import device as devices
from upfield.plan import shape as shapes
from upfield.plan.device import Device
from upfield.plan.fingerprint import Fingerprint
from upfield.study import config

METHOD = "upfield"
SEED = 18
# Of the memory that was named, what a training may take at its peak.
LOW, HIGH = 0.8, 1.0
# GB of cards, and of plans whose peak is measured: those that a small machine has.
CARD_SIZES = (2, 4, 6, 8, 11, 12, 16, 24, 40, 80)
MEASURED_SIZES = (1.5, 2, 2.5, 3, 4)
STEP = """
import json, resource, sys
import torch
from upfield import methods
from upfield.training.average import Average
from upfield.training.optimisers import Optimisers

said = json.loads(sys.argv[1])
torch.manual_seed(0)
method = methods.build(said["settings"], said["channels"]).to(memory_format=torch.channels_last_3d).train()
optimisers = Optimisers(method, torch.amp.GradScaler("cpu", enabled=False), {}, 1)
average = Average(method, 0.99)
best = {name: value.clone() for name, value in method.state_dict().items()}
shape = (method.batch_size, 1, *said["settings"]["patch"])
for step in (1, 2):
    batch = {name: torch.rand(shape) for name in ("source", "target")} | {"mask": torch.ones(shape)}
    batch["source"] = batch["source"].repeat(1, said["channels"], 1, 1, 1)
    optimisers.part = 0
    optimisers.set_rates(1.0, 10.0)
    method.training_step(method.augment(batch, (0, step)), optimisers.update)
    optimisers.finish()
    average.update(step)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def study(dice: np.random.Generator) -> Fingerprint:
    """A study as there may be one: whole heads, thick slices, slabs of a few; one to four contrasts."""
    kind = dice.choice(["whole", "thick", "slab"])
    inplane = float(dice.choice([0.5, 0.7, 0.8, 1.0, 1.5, 2.0]))
    through = {"whole": inplane, "thick": inplane * dice.uniform(2, 6), "slab": dice.uniform(3, 7)}[str(kind)]
    spacing = [inplane, inplane, round(float(through), 2)]
    extent = dice.uniform((110, 140, 100), (160, 200, 160))
    shape = [max(int(edge / size), 8) for edge, size in zip(extent, spacing, strict=True)]
    if kind == "slab":
        shape[2] = int(dice.integers(3, 15))
    order = dice.permutation(3)
    edges, sizes = (tuple(values[axis] for axis in order) for values in (shape, spacing))
    return Fingerprint(
        pairs=int(dice.integers(1, 200)), channels=int(dice.integers(1, 5)), spacing=sizes, shape=edges, largest=edges,
        brain=edges, brain_voxels=math.prod(edges) // 2, noise=(0.05, 0.02), gap=0.1,
    )  # fmt: skip


def planned(data: Fingerprint, device: Device) -> dict[str, Any]:
    """The plan of the method as it comes."""
    settings = config.method_settings({"method_overrides": {}}, METHOD)
    return decide.plan(data, device, settings, facts(METHOD).defaults)


def wrong(plan: Mapping[str, Any], data: Fingerprint, device: Device) -> list[str]:
    """What is not right about a plan, apart from its memory as measured."""
    settings, found = plan["settings"], []
    unit = 2 ** settings["levels"]
    if any(value is None for value in settings.values()):
        found.append("a setting is left open")
    if any(edge % unit for edge in settings["patch"]):
        found.append(f"patch {settings['patch']} is no multiple of {unit}")
    if any(edge >= size + 2 * unit for edge, size in zip(settings["patch"], data.shape, strict=True)):
        found.append(f"patch {settings['patch']} is larger than volumes of {data.shape}")
    if plan["predicted"]["memory"] > device.memory:
        found.append(f"foresees {plan['predicted']['memory']} of {device.memory} bytes")
    if set(plan["reasons"]) != set(facts(METHOD).planned):
        found.append("a setting has no reason")
    if json.loads(json.dumps(plan)) != plan:
        found.append("is not what its file would say")
    facts(METHOD).check({"preset": "default", **settings}, METHOD)
    return found


def largest(plan: Mapping[str, Any], data: Fingerprint) -> bool:
    """Whether memory is no limit: the widest network, the whole brain, the largest batch."""
    settings = plan["settings"]
    widest = shapes.widest(settings["levels"], settings["fold"])
    whole = all(edge >= min(size, shapes.LARGE) for edge, size in zip(settings["patch"], data.shape, strict=True))
    return whole and settings["batch_size"] == shapes.MOST_BATCH and settings["base"] == widest


def measured(plan: Mapping[str, Any], channels: int) -> int:
    """Bytes at the peak of a process that takes two steps as planned."""
    said = json.dumps({"settings": plan["settings"], "channels": channels})
    done = subprocess.run([sys.executable, "-c", STEP, said], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the step failed: {done.stderr[-500:]}")
    return int(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each plan; 1 if one is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=50, help="random plans (50)")
    parser.add_argument("--measured", type=int, default=10, help="of as many more the memory is measured (10)")
    given = parser.parse_args(arguments)
    dice, failed, seconds = np.random.default_rng(SEED), 0, []
    number, limited = -1, 0
    while number + 1 < given.plans or limited < given.measured:
        number, data = number + 1, study(dice)
        if measuring := number >= given.plans:
            device = devices.of("cpu", f"{dice.choice(MEASURED_SIZES)}GB", threads=1, job=0)
        else:
            device = devices.of("cuda", f"{dice.choice(CARD_SIZES)}GB", threads=1, job=0)
        memory = device.memory
        begun = time.monotonic()
        try:
            plan = planned(data, device)
            problems = wrong(plan, data, device)
            problems += ["is another the second time"] if number % 10 == 0 and planned(data, device) != plan else []
        except UpfieldError as error:
            print(f"{number + 1}: {data.shape} of {data.spacing} mm, {memory / 1e9:g} GB: {error}  WRONG", flush=True)
            failed += 1
            limited += measuring
            continue
        seconds.append(time.monotonic() - begun)
        shown = {name: plan["settings"][name] for name in ("base", "levels", "flat_levels", "batch_size", "patch")}
        foreseen = plan["predicted"]["memory"] / memory
        line = f"{number + 1}: {data.shape} x {data.channels}, {memory / 1e9:g} GB: {shown}, foresees {foreseen:.2f}"
        if measuring:
            share, free = measured(plan, data.channels) / memory, largest(plan, data)
            line += f", measured {share:.2f}{', the largest that is of use' if free else ''}"
            # What small slabs leave of the memory is no fault, and says nothing: another is measured in their place.
            low = 0.0 if free else LOW
            limited += not free
            problems += [] if low <= share <= HIGH else [f"{share:.2f} of the memory, expected {low} to {HIGH}"]
        failed += bool(problems)
        print(f"{line}{'  WRONG: ' + '; '.join(problems) if problems else ''}", flush=True)
    print(f"{failed} of {number + 1} plans wrong; a plan takes {np.median(seconds):.1f} s (median)")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
