"""The plan: from a fingerprint and a device to everything that a network is trained with, each with its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upfield.plan.cost import Cost
from upfield.plan.depth import times
from upfield.plan.device import Device
from upfield.plan.fingerprint import Fingerprint
from upfield.plan.shape import SHALLOW, Costs, Shape, fitted, narrower

# Of the memory: the rest is for what libraries take beside tensors (on a CPU 3 to 20 % more), and gaps between them.
SHARE = {"cpu": 0.83, "cuda": 0.88}
# Steps of a training: for each pair, at least, and at most.
STEPS_EACH, FEWEST, MOST = 2500, 1000, 50_000
# Operations of a training in which the fewest steps were enough; of a longer one half goes into steps, half into width.
SHORT = 45e12
# Hours that a training may take where nothing is said.
HOURS = {"cpu": 1.0, "cuda": 12.0}
# Validations, each at the end of an epoch, and their patches.
EPOCHS, VALIDATION_PATCHES = 50, 12
# Steps that a moving average of the weights looks back, as a share of the training and at most.
AVERAGED_SHARE, AVERAGED = 0.02, 1000
# Learning rate of a batch of two, and the largest. The short training of a CPU gains by more (docs/results.md).
RATE, FASTEST = {"cpu": 3e-3, "cuda": 1e-3}, {"cpu": 4e-3, "cuda": 2e-3}


@dataclass(frozen=True)
class Decision:
    """A setting, and why it is what it is."""

    value: Any
    because: str


def plan(
    fingerprint: Fingerprint,
    device: Device,
    settings: Mapping[str, Any],
    usual: Mapping[str, Any],
    hours: float | None = None,
) -> dict[str, Any]:
    """Everything about how to train, as JSON.

    `settings` are those of the method; what is None there is planned, the rest stays as it is. `usual`
    are the method's defaults, which matter for nothing that is planned. `hours` is how long a training may take, about.

    Returns `settings` (all of the method's), `reasons` (a sentence for each that was planned), `predicted` (bytes at
    the peak, seconds of a step, steps and hours of all), `fingerprint` and `device`. Raises UpfieldError if memory does
    not suffice.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    costs = Costs({**usual, **given}, fingerprint.channels, True, device.dtype)
    limit = SHARE[device.kind] * device.memory - device.resident
    allowed = 3600 * (hours or HOURS[device.kind])
    shape = fitted(fingerprint, limit, costs, given, slow=device.slow)
    useful = min(max(STEPS_EACH * fingerprint.pairs, FEWEST), MOST)
    fewest = FEWEST * math.sqrt(max(allowed * device.rate / SHORT, 1.0))
    # A memory that was named is to be used.
    while device.slow and not device.assumed:
        less = narrower(shape)
        if less is None or not less.keeps(given):
            break
        # More steps are worth smaller patches; a narrower network is worth it only where there would be hardly any.
        enough = useful if (less.base, less.blocks) == (shape.base, shape.blocks) else min(fewest, useful)
        if allowed * device.rate >= enough * costs.about(shape)[1]:
            break
        shape = less
    cost = costs.exact(shape)
    decided = _decisions(fingerprint, device, shape, cost, allowed, useful, given)
    planned = {name: one for name, one in decided.items() if name in settings and settings[name] is None}
    chosen = {**settings, **{name: one.value for name, one in planned.items()}}
    seconds = cost.operations * chosen["accumulate"] / (device.rate * device.processes)
    in_a_step = chosen["batch_size"] * chosen["accumulate"]
    steps = chosen["epochs"] * max(chosen["per_volume"] * fingerprint.pairs // in_a_step, 1)
    return {
        "settings": chosen,
        "reasons": {name: one.because for name, one in planned.items()},
        "predicted": {
            "memory": cost.peak + device.resident,
            "step_seconds": round(seconds, 4),
            "steps": steps,
            "hours": round(steps * seconds / 3600, 2),
        },
        "fingerprint": fingerprint.described(),
        "device": device.described(),
    }


def _decisions(
    fingerprint: Fingerprint,
    device: Device,
    shape: Shape,
    cost: Cost,
    allowed: float,
    useful: int,
    given: Mapping[str, Any],
) -> dict[str, Decision]:
    """Every setting that can be planned; those that are `given` decide on others."""
    pairs, memory = fingerprint.pairs, f"{device.memory / 1e9:.3g} GB"
    accumulate = given.get("accumulate", device.processes)
    affordable = int(allowed * device.rate * device.processes / (cost.operations * accumulate))
    steps = max(min(useful, affordable), 1)
    epochs = given.get("epochs", min(EPOCHS, steps))
    together = shape.batch_size * accumulate
    per_volume = max(int(steps * together / (epochs * pairs)), 1)
    taken = epochs * given.get("per_volume", per_volume) * pairs / together
    back = max(min(AVERAGED_SHARE * taken, AVERAGED), 1.0)
    many = f"{pairs} pair{'s' if pairs > 1 else ''}"
    rate = min(RATE[device.kind] * math.sqrt(together / 2), FASTEST[device.kind])
    at_most = f"; on a CPU {SHALLOW} at most" if device.slow else ""
    whole = all(edge >= size for edge, size in zip(shape.patch, fingerprint.shape, strict=True))
    patch = f"the whole volume (median {times(fingerprint.shape)} voxels)" if whole else "what memory and time allow"
    return {
        "base": Decision(shape.base, f"as wide as {memory}, {device.named} and the patch allow"),
        "levels": Decision(shape.levels, f"{times(fingerprint.shape)} voxels: a few are left at the bottom{at_most}"),
        "flat_levels": Decision(list(shape.flat_levels), _flat(fingerprint, shape)),
        "blocks": Decision(shape.blocks, f"more where memory {'and time suffice' if device.slow else 'suffices'}"),
        "fold": Decision(
            shape.fold,
            "convolutions at full resolution take most of a core's time" if shape.fold else "a card is fast enough",
        ),
        "batch_size": Decision(shape.batch_size, "two, or more where a whole volume leaves memory for it"),
        "patch": Decision(list(shape.patch), patch),
        "epochs": Decision(epochs, "validated so many times"),
        "per_volume": Decision(per_volume, _steps(steps, useful, affordable, many, allowed)),
        "per_volume_val": Decision(VALIDATION_PATCHES, "enough that the best epoch is no accident"),
        "accumulate": Decision(
            accumulate,
            "the batch fits into memory" if accumulate == 1 else f"a batch of each of {accumulate} processes",
        ),
        "ema": Decision(round(1 - 1 / back, 4), f"the mean weights of about {back:.0f} steps vary less"),
        "lr": Decision(
            round(rate, 6), f"{RATE[device.kind]:g} for two patches, times the root of how much larger the batch is"
        ),
        "augmentation": Decision(
            {"flip": 0.5}, "other intensities and turned heads made outputs worse, see docs/results.md"
        ),
    }


def _flat(fingerprint: Fingerprint, shape: Shape) -> str:
    edges, voxels = times(fingerprint.shape), times(fingerprint.spacing)
    if not any(shape.flat_levels):
        return f"voxels of {voxels} mm are about as long along each axis, and there are enough"
    return f"{edges} voxels of {voxels} mm: thick or few ones are not halved as often"


def _steps(steps: int, useful: int, affordable: int, many: str, allowed: float) -> str:
    if steps == affordable and affordable < useful:
        return f"about {steps} steps: what {allowed / 3600:.3g} h suffice for ({useful} would be of use)"
    return f"about {steps} steps: {STEPS_EACH} for each of {many}, {FEWEST} to {MOST}"
