"""Learning-rate schedules: functions from the epoch (a float, 0 at the start) to a factor of the rate."""

from collections.abc import Callable

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """Factor 1 for ever."""
    return lambda epoch: 1.0


def exponential(rate: float) -> Schedule:
    """`rate` to the power of the epoch."""
    return lambda epoch: rate**epoch


def inverse_time(rate: float) -> Schedule:
    """1 / (1 + rate * epoch)."""
    return lambda epoch: 1 / (1 + rate * epoch)


def linear_to_zero(decay_epoch: float, total_epochs: float) -> Schedule:
    """1 until `decay_epoch`, then a straight line to 0 at `total_epochs`, 0 from there on."""
    if not 0 <= decay_epoch < total_epochs:
        raise ValueError(f"decay_epoch is {decay_epoch:g}; expected at least 0 and below total_epochs {total_epochs:g}")
    return lambda epoch: min(max((total_epochs - epoch) / (total_epochs - decay_epoch), 0.0), 1.0)


def make(
    kind: str, rate: float | None = None, decay_epoch: float | None = None, total_epochs: float | None = None
) -> Schedule:
    """A schedule from the `schedule` setting of a method; parameters of other kinds are ignored.

    They may be left over from the preset that the setting was laid on. Raises ValueError for an unknown kind or a
    missing parameter.
    """
    if kind == "constant":
        return constant()
    if kind in ("exponential", "inverse_time") and rate is not None:
        return exponential(rate) if kind == "exponential" else inverse_time(rate)
    if kind == "linear_to_zero" and decay_epoch is not None and total_epochs is not None:
        return linear_to_zero(decay_epoch, total_epochs)
    raise ValueError(
        f"schedule.kind is {kind!r}; expected constant, exponential (with rate), inverse_time (with rate)"
        " or linear_to_zero (with decay_epoch and total_epochs)"
    )
