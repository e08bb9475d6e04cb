"""The step that finds the brain of a scan."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.preprocess.brain.extraction import extract
from upfield.preprocess.brain.tool import tools
from upfield.preprocess.derivatives import require_usable, save_image
from upfield.step import step


@step(version=4, memory=(1300, 20), minutes=(0.4, 0.02))
def extract_brain(image: str, mask: str, settings: Mapping[str, Any], given: Sequence[str] = ()) -> None:
    """Write the brain mask of `image`, on its own grid, to `mask`; empty, with a reason, if no brain is found.

    `settings` and `given` as for `brain.extraction.extract`.
    """
    volume = nifti.load(image)
    sources = [str(image), *(given if tools()[settings["method"]].takes_masks else [])]
    metadata: dict[str, Any] = {"Sources": sources, "Type": "Brain", "BrainExtraction": settings["method"]}
    try:
        require_usable(*sources)
        found = extract(volume, settings, given)
    except ScanError as error:
        found = np.zeros(volume.data.shape, dtype=bool)
        metadata["Excluded"] = str(error)
    save_image(volume.with_data(found), mask, metadata, np.uint8)
