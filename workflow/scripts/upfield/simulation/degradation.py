"""The kinds of simulated sources; the one code path for training and test data.

Every degradation takes a whole volume in floating point and returns a volume with the right affine, so that what a
model is trained on is what it is tested on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.files import digest
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.simulation import protocol, simple

# Share of the absolute signal that may be negative.
NEGATIVE = 0.05


def used(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `simulate` block of a study, without the ranges where its kind draws nothing from them.

    Nor what is drawn while training: what a source does not depend on is no reason to make it anew.
    """
    left = {"redraw"} if settings["kind"] == "acquisition" else {"redraw", "ranges"}
    return {key: value for key, value in settings.items() if key not in left}


def require_magnitudes(volume: Volume) -> None:
    """Raise ScanError if an image is not of magnitudes: noise and lower contrast are defined from 0 upwards.

    Values below 0 that interpolation leaves beside edges, or denoising in the background, are few and small.
    """
    below = -float(volume.data[volume.data < 0].sum(dtype=np.float64))
    share = below / max(float(np.abs(volume.data).sum(dtype=np.float64)), 1e-30)
    if share > NEGATIVE:
        raise ScanError(
            f"intensities down to {float(volume.data.min()):.4g}, {share:.0%} of the signal below 0; a scan can be"
            " simulated from magnitudes alone: give the image before it was z-scored or shifted"
        )


def degrade(volume: Volume, settings: Mapping[str, Any], participant: str) -> Volume:
    """Make a source scan from `volume` as the `simulate` block of a study says.

    The random numbers depend on `settings["seed"]` and `participant` alone. The result is in RAS+ axis order.
    """
    generator = np.random.default_rng(int(digest([settings["seed"], participant]), 16))
    return KINDS[settings["kind"]](nifti.reorient(volume), settings, generator)


def acquisition(volume: Volume, settings: Mapping[str, Any], generator: np.random.Generator) -> Volume:
    """An MR acquisition of the volume, its numbers drawn from `settings["ranges"]` where they are not the usual ones.

    See `protocol.Acquisition` and `protocol.ULTRA_LOW_FIELD`.
    """
    # Imported here: it pulls in torch, which planning does not need.
    from upfield.simulation.acquisition import scanned

    drawn = protocol.one_of(protocol.protocols(settings["ranges"]), generator)
    data = simple.flattened(volume.data, settings["contrast"], simple.brightest(volume.data))
    return scanned(volume.with_data(data), drawn, generator)


KINDS: Mapping[str, Callable[[Volume, Mapping[str, Any], np.random.Generator], Volume]] = {
    "lowfield": simple.lowfield,
    "gaussian": simple.gaussian,
    "kspace": simple.kspace,
    "inplane": simple.inplane,
    "acquisition": acquisition,
}
