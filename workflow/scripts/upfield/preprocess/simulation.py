"""The step that makes the source of a simulated pair from its target."""

from collections.abc import Mapping
from typing import Any

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.preprocess.derivatives import excluded, save_image
from upfield.simulation.degradation import degrade, require_magnitudes
from upfield.step import step


@step(version=4, memory=(500, 45), minutes=(0.2, 0.03))
def simulate(target: str, simulated: str, settings: Mapping[str, Any], participant: str) -> None:
    """Make the source scan of `pairing: simulated` from a target scan.

    A target that is excluded is copied; so is one that is no magnitude image, and the copy is excluded.
    """
    metadata: dict[str, Any] = {"Sources": [target], "Simulated": True, "Simulation": dict(settings)}
    image = nifti.load(target)
    if excluded(target) is None:
        try:
            require_magnitudes(image)
            image = degrade(image, settings, participant)
        except ScanError as error:
            metadata["Excluded"] = str(error)
    save_image(image, simulated, metadata)
