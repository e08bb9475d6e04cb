"""Learning-rate schedules: functions from the epoch (a float, 0 at the start) and the number of epochs to a factor."""

import math
from collections.abc import Callable

Schedule = Callable[[float, float], float]


def constant() -> Schedule:
    """Factor 1 for ever."""
    return lambda epoch, epochs: 1.0


def exponential(rate: float) -> Schedule:
    """`rate` to the power of the epoch."""
    return lambda epoch, epochs: rate**epoch


def inverse_time(rate: float) -> Schedule:
    """1 / (1 + rate * epoch)."""
    return lambda epoch, epochs: 1 / (1 + rate * epoch)


def linear_to_zero(decay_epoch: float) -> Schedule:
    """1 until `decay_epoch`, then a straight line to 0 at the last epoch; 1 throughout if training ends before."""
    if decay_epoch < 0:
        raise ValueError(f"decay_epoch is {decay_epoch:g}; expected at least 0")
    return lambda epoch, epochs: min((epochs - epoch) / (epochs - decay_epoch), 1.0) if epochs > decay_epoch else 1.0


def cosine() -> Schedule:
    """Half a period of a cosine, from 1 to 0 at the last epoch (Loshchilov and Hutter 2017)."""
    return lambda epoch, epochs: (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


def polynomial(power: float) -> Schedule:
    """What is left of the training to a power: from 1 to 0 at the last epoch."""
    return lambda epoch, epochs: max(1 - epoch / epochs, 0.0) ** power


def warmed_up(schedule: Schedule, share: float) -> Schedule:
    """`schedule` times a straight line from 0 to 1 over the first `share` of the training."""
    return lambda epoch, epochs: schedule(epoch, epochs) * min(epoch / (share * epochs), 1.0)


def make(kind: str, warmup: float = 0.0, **parameters: float) -> Schedule:
    """A schedule from the `schedule` setting of a method; parameters of other kinds are ignored.

    They may be left over from the preset that the setting was laid on. `warmup` is the share of the training in which
    the rate rises. Raises ValueError for an unknown kind or a missing parameter.
    """
    schedule = _make(kind, **parameters)
    return warmed_up(schedule, warmup) if warmup else schedule


def _make(
    kind: str, rate: float | None = None, decay_epoch: float | None = None, power: float | None = None
) -> Schedule:
    if kind == "constant":
        return constant()
    if kind == "cosine":
        return cosine()
    if kind == "polynomial" and power is not None:
        return polynomial(power)
    if kind in ("exponential", "inverse_time") and rate is not None:
        return exponential(rate) if kind == "exponential" else inverse_time(rate)
    if kind == "linear_to_zero" and decay_epoch is not None:
        return linear_to_zero(decay_epoch)
    raise ValueError(
        f"schedule.kind is {kind!r}; expected constant, cosine, polynomial (with power), exponential (with rate),"
        " inverse_time (with rate) or linear_to_zero (with decay_epoch)"
    )
