"""The steps that find transforms: from a source to its target, from a target to a template, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti, transforms
from upfield.image.nifti import Volume
from upfield.image.transforms import Array, Field, Transform
from upfield.preprocess import template as templates
from upfield.preprocess.derivatives import require_usable, save_sidecar
from upfield.step import step


@step(version=4, memory=(330, 15), minutes=(0.4, 0.02))
def register(
    source: str,
    source_mask: str,
    target: str,
    target_mask: str,
    forward: str,
    inverse: str,
    settings: Mapping[str, Any],
) -> None:
    """Find the transform of a source onto its target (`forward`), and its `inverse`.

    `settings` is the `preprocess.registration` of a study. The sidecars hold the reason if registration failed; the
    transforms are then identities.
    """
    _onto((source, source_mask), (target, target_mask), (forward, inverse), settings, ("source", "target"))


@step(version=0, memory=(330, 15), minutes=(0.4, 0.02))
def register_contrast(
    image: str, mask: str, first: str, first_mask: str, forward: str, inverse: str, settings: Mapping[str, Any]
) -> None:
    """The same of a further contrast and the first of its session: rigid, or none where `settings` say so."""
    kind = "none" if settings["transform"] == "none" else "rigid"
    names = ("source", "first")
    _onto((image, mask), (first, first_mask), (forward, inverse), {**settings, "transform": kind}, names)


@step(version=4, memory=(330, 15), minutes=(0.4, 0.02))
def register_to_template(
    image: str,
    mask: str,
    template: str,
    template_mask: str,
    forward: str,
    inverse: str,
    settings: Mapping[str, Any],
    role: str,
    space: str,
) -> None:
    """The same of a target (or a source without one: its `role`) and the template, whose space is called `space`.

    A brain that does not fit the working grid around the template's is excluded, see `template.fits`.
    """
    names = (role, space)
    _onto((image, mask), (template, template_mask), (forward, inverse), settings, names, templates.fits)


def _onto(
    moving: tuple[str, str],
    fixed: tuple[str, str],
    outputs: tuple[str, str],
    settings: Mapping[str, Any],
    names: tuple[str, str],
    accept: Callable[[Volume, Volume, Transform], None] | None = None,
) -> None:
    """One (image, mask) onto another, whose `names` stand in the sidecars.

    `accept`, given both brains and the inverse, raises ScanError for what is not to be used.
    """
    kind = settings["transform"]
    metadata: dict[str, Any] = {"Sources": [*moving, *fixed], "Transform": kind, "Seed": settings["seed"]}
    forward: Array | Field = transforms.identity(kind)
    inverse: Array | Field = transforms.identity(kind)
    try:
        require_usable(moving[1], fixed[1])
        if kind != "none":
            # Imported here: ANTs takes longer to load than most steps to run.
            from upfield.preprocess import registration

            brain, reference = (_stripped(*files) for files in (moving, fixed))
            forward, inverse = registration.register(reference, brain, kind, settings["seed"])
            if accept is not None:
                accept(reference, brain, inverse)
    except ScanError as error:
        metadata["Excluded"] = str(error)
    for path, transform, (start, end) in ((outputs[0], forward, names), (outputs[1], inverse, names[::-1])):
        nifti.write_transform(path, transform)
        what: dict[str, Any] = {
            "Moves": f"images from {start} to {end} (it takes points of the world of {end} to that of {start})",
            "Format": transforms.FORMATS[isinstance(transform, Field)],
        }
        if kind == "rigid":
            what["RotationDegrees"] = round(transforms.rotation_degrees(np.asarray(transform)), 4)
        save_sidecar(path, metadata | what)


def _stripped(image: str, mask: str) -> Volume:
    volume = nifti.load(image)
    inside = nifti.mask_on(nifti.load_mask(mask), volume.grid)
    return volume.with_data(np.where(inside, volume.data, 0).astype(np.float32))
