"""The one function behind which all ways of brain extraction stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.brain.tool import tools


def extract(volume: Volume, settings: Mapping[str, Any], given: Sequence[str] = ()) -> Array:
    """Brain mask of a scan: boolean (X, Y, Z) on the scan's own grid, checked.

    `settings` is a study's `preprocess.brain`. `given` are masks found for the scan, for tools that take them. Raises
    ScanError if nothing like a brain is found.
    """
    # Imported here: what finds pieces takes a while to load, and planning does without it.
    from upfield.preprocess.brain import plausibility

    method = settings["method"]
    return plausibility.checked(tools()[method].extract(volume, settings, given), volume.grid, method)
