"""The numbers of an MR acquisition, and the ranges that they are drawn from."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from upfield.errors import UpfieldError


@dataclass(frozen=True)
class Acquisition:
    """One acquisition. Lengths are mm; an axis is that of an image in RAS order, 0 right, 1 anterior, 2 superior.

    Attributes
    ----------
    axis
        Across the slices.
    turned
        Whether the readout runs along the second of the two other axes in the place of the first.
    volume
        Whether slices are partitions of a volume (3-D imaging): no gaps, a sinc in the place of a slice profile.
    readout, phase, thickness
        Of what is acquired: voxels in a slice, full width at half maximum of a slice.
    gap
        Between slices, mm; below 0 they overlap.
    softness
        Of the slices' profile: 0 a box, 1 a Gaussian.
    zero_filling
        How much finer the written voxels in a slice are.
    partial_fourier
        Share of the phase lines that are acquired, 0.5 to 1; the others are 0.
    undersampling
        Share of the outer phase lines that are left out.
    readout_filter, phase_filter
        Of k-space, noise included: 0 none, 1 falls to 0 at the edge.
    decay
        T2 blur: by which exponent the signal has fallen at the edge of k-space along the phase axis.
    noise
        Standard deviation in each of real and imaginary part of a voxel as acquired, by the signal's 99th percentile.
    coils
        Receivers, combined by the sum of squares.
    interference
        Amplitude of a radio line by the noise; 0 for none.
    bias
        Natural logarithm of the receive field's largest deviation from 1.
    phase_range
        Radians, the image's phase at most.
    shift
        Displacement by B0 along the readout, mm at most.
    motion
        Standard deviation of the head's position in a shot, mm.
    shots
        Parts in which phase lines are acquired.
    gain
        Scanner units by those of the anatomy.

    """

    axis: int = 2
    turned: bool = False
    volume: bool = False
    readout: float = 1.0
    phase: float = 1.0
    thickness: float = 1.0
    gap: float = 0.0
    softness: float = 0.5
    zero_filling: float = 1.0
    partial_fourier: float = 1.0
    undersampling: float = 0.0
    readout_filter: float = 0.0
    phase_filter: float = 0.0
    decay: float = 0.0
    noise: float = 0.0
    coils: int = 1
    interference: float = 0.0
    bias: float = 0.0
    phase_range: float = 0.0
    shift: float = 0.0
    motion: float = 0.0
    shots: int = 1
    gain: float = 1.0


# Drawn evenly between their logarithms.
LOGARITHMIC = frozenset({"readout", "phase", "thickness", "gain", "noise"})
# Least and greatest values that make sense.
LIMITS: Mapping[str, tuple[float, float]] = {
    "axis": (0, 2), "turned": (0, 1), "volume": (0, 1), "readout": (0.2, 10), "phase": (0.2, 10),
    "thickness": (0.2, 30), "gap": (-5, 30), "softness": (0, 1), "zero_filling": (1, 4), "partial_fourier": (0.5, 1),
    "undersampling": (0, 0.9), "readout_filter": (0, 1), "phase_filter": (0, 1), "decay": (0, 5), "noise": (0, 2),
    "coils": (1, 64), "interference": (0, 100), "bias": (0, 2), "phase_range": (0, 6.3), "shift": (0, 20),
    "motion": (0, 20), "shots": (1, 512), "gain": (1e-6, 1e6),
}  # fmt: skip
Ranges = Mapping[str, Sequence[float]]
# As a configuration gives them: a number for a range that has one value, and a list of several kinds of acquisition.
Kind = Mapping[str, float | Sequence[float]]
Given = Kind | Sequence[Kind]


def drawn(ranges: Ranges, generator: np.random.Generator) -> Acquisition:
    """An acquisition with every setting of `ranges` drawn evenly from its [least, greatest], both included.

    Axes, `coils` and `shots` are whole numbers; `turned` and `volume` are true with a chance between 0 and 1, the mean
    of their range. Numbers are drawn in the order of `Acquisition`, whether or not a range has any width.
    """
    values: dict[str, float | int | bool] = {}
    for field in dataclasses.fields(Acquisition):
        number = float(generator.random())
        if field.name not in ranges:
            continue
        low, high = map(float, ranges[field.name])
        if isinstance(field.default, bool):
            values[field.name] = number < (low + high) / 2
        elif isinstance(field.default, int):
            values[field.name] = min(int(low + number * (high - low + 1)), int(high))
        elif field.name in LOGARITHMIC and low > 0:
            values[field.name] = low * (high / low) ** number
        else:
            values[field.name] = low + number * (high - low)
    return Acquisition(**values)  # type: ignore[arg-type]


def pairs(settings: Kind) -> dict[str, list[float]]:
    """Ranges of which some are given as one number, which is then always taken.

    Raises UpfieldError, one line, for a name that `Acquisition` has not, or a value out of its limits.
    """
    ranges = {}
    for name, given in settings.items():
        if name not in LIMITS:
            raise UpfieldError(f"config: simulate.ranges has {name!r}; expected names among {', '.join(LIMITS)}")
        values = list(given) if isinstance(given, Sequence) else [given, given]
        least, most = LIMITS[name]
        if len(values) != 2 or not least <= values[0] <= values[1] <= most:
            raise UpfieldError(
                f"config: simulate.ranges.{name} is {given}; expected a number, or [least, greatest], from {least:g} to"
                f" {most:g}"
            )
        ranges[name] = [float(value) for value in values]
    return ranges


def protocols(ranges: Given) -> list[Ranges]:
    """The kinds of acquisition that `simulate.ranges` describes, each with the usual ranges where it names none.

    Raises UpfieldError as `pairs`.
    """
    kinds = [ranges] if isinstance(ranges, Mapping) else ranges
    return [{**ULTRA_LOW_FIELD, **pairs(kind)} for kind in kinds]


def one_of(kinds: Sequence[Ranges], generator: np.random.Generator) -> Acquisition:
    """An acquisition of one of several kinds, each as likely."""
    which = int(generator.integers(len(kinds))) if len(kinds) > 1 else 0
    return drawn(kinds[which], generator)


# A head scanner of 0.055 T without shielding, T1w, T2w and FLAIR in slices (Liu et al. 2021,
# https://doi.org/10.1038/s41467-021-27317-1): measured on the k-space of its scans, `benchmarks/simulator.py`.
ULTRA_LOW_FIELD: Ranges = {
    "axis": (2, 2),
    "readout": (1.9, 2.2),
    "phase": (1.3, 2.2),
    "thickness": (5.0, 10.0),
    "gap": (0.0, 1.0),
    "softness": (0.3, 1.0),
    "zero_filling": (1.0, 2.0),
    "partial_fourier": (0.9, 1.0),
    "readout_filter": (0.0, 0.55),
    "phase_filter": (0.0, 0.7),
    "noise": (0.025, 0.08),
    "bias": (0.0, 0.2),
    "phase_range": (0.0, 1.5),
}
