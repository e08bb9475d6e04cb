"""Learning-rate schedules: functions from the epoch (a float, 0 at the start) and the number of epochs to a factor."""

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


def make(kind: str, rate: float | None = None, decay_epoch: float | None = None) -> Schedule:
    """A schedule from the `schedule` setting of a method; parameters of other kinds are ignored.

    They may be left over from the preset that the setting was laid on. Raises ValueError for an unknown kind or a
    missing parameter.
    """
    if kind == "constant":
        return constant()
    if kind in ("exponential", "inverse_time") and rate is not None:
        return exponential(rate) if kind == "exponential" else inverse_time(rate)
    if kind == "linear_to_zero" and decay_epoch is not None:
        return linear_to_zero(decay_epoch)
    raise ValueError(
        f"schedule.kind is {kind!r}; expected constant, exponential (with rate), inverse_time (with rate)"
        " or linear_to_zero (with decay_epoch)"
    )
