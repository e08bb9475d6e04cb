"""A subject's images as the report may show them: in RAS+ order, cropped to the brain, nothing else left in them.

A head can be recognised by its face, so voxels outside the brain mask are dropped right after loading, and without a
usable mask there is no picture at all, unless the configuration asks for faces.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.preprocess.derivatives import require_usable

MARGIN = 4.0  # mm around the brain mask; black


@dataclass(frozen=True)
class SubjectImages:
    """NIfTI files of one subject, all on one native grid.

    `source` is the input resampled to that grid (the identity baseline), `target` the target, `mask` the target's
    brain (non-zero is brain), `outputs` one image per method in the intensities of the target, `uncertainties` their
    standard deviations where there are any. In an unpaired study there is no target, and the grid and the mask are the
    source's.
    """

    participant_id: str
    source: Path
    target: Path | None
    mask: Path
    outputs: dict[str, Path]
    uncertainties: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectVolumes:
    """Arrays of one shape (X, Y, Z), x to the right, y to the front, z upwards.

    `source`, `target` and `outputs` hold the lower end of `window` wherever nothing may be shown, `errors` (output
    minus target) and `uncertainties` zero. `window` is the 0.5-99.5 percentile range of the target in the brain,
    `error` the 98th percentile of |output - target| in the brain, the largest over methods, `uncertainty` that of the
    standard deviations. Without a target the source stands for it: errors are what a method changed. `mask` is what
    may be shown, with its grid. `failures` tells, by method, why an image cannot be shown.
    """

    source: Array
    target: Array | None
    outputs: dict[str, Array]
    errors: dict[str, Array]
    uncertainties: dict[str, Array]
    window: tuple[float, float]
    error: float
    uncertainty: float
    mask: Volume
    failures: dict[str, str]


def read(images: SubjectImages, faces: bool = False) -> SubjectVolumes:
    """Load a subject's images and leave only the brain in them; the whole head if `faces`.

    Raises ScanError if the source, the target or the mask cannot be read, the mask is empty, or their grids differ.
    """
    target = _oriented("target", images.target) if images.target else _oriented("input", images.source)
    grid = target.grid
    source = _oriented("input", images.source)
    mask = _oriented("brain mask", images.mask)
    for what, volume in (("input", source), ("brain mask", mask)):
        if not volume.grid.matches(grid):
            raise ScanError(f"the {what} is not on the grid of the target")
    brain = mask.data > 0
    if not brain.any():
        raise ScanError("the mask is empty")
    low, high = nifti.bounding_box(brain, margin=np.ceil(MARGIN / grid.spacing).astype(int))
    if faces:
        low, high = np.zeros(3, int), np.array(grid.shape)
    box = tuple(map(slice, low, high))
    inside = brain[box]
    shown = np.ones_like(inside) if faces else inside
    darkest, brightest = map(float, np.percentile(target.data[brain], [0.5, 99.5]))

    failures: dict[str, str] = {}
    outputs, errors, uncertainties = {}, {}, {}
    for method, path in images.outputs.items():
        try:
            require_usable(path)
            output = _on_grid(path, target)[box]
            std = _on_grid(images.uncertainties[method], target)[box] if method in images.uncertainties else None
        except ScanError as error:
            failures[method] = str(error)
            continue
        outputs[method] = np.where(shown, output, darkest)
        errors[method] = np.where(shown, output - target.data[box], 0)
        if std is not None:
            uncertainties[method] = np.where(shown, std, 0)
    return SubjectVolumes(
        source=np.where(shown, source.data[box], darkest),
        target=np.where(shown, target.data[box], darkest) if images.target else None,
        outputs=outputs,
        errors=errors,
        uncertainties=uncertainties,
        window=(darkest, brightest),
        error=_scale(errors, inside),
        uncertainty=_scale(uncertainties, inside),
        mask=Volume(shown, nifti.crop(grid, low, high).affine),
        failures=failures,
    )


def _scale(volumes: dict[str, Array], inside: Array) -> float:
    """The 98th percentile of the absolute values in the brain, the largest over methods; 1 if there is none."""
    return max((float(np.percentile(np.abs(v[inside]), 98)) for v in volumes.values()), default=0.0) or 1.0


def _on_grid(path: Path, target: Volume) -> Array:
    """Values of an image on the grid of the target. Raises ScanError if it is on another one."""
    volume = nifti.reorient(nifti.load(path))
    if not volume.grid.matches(target.grid):
        raise ScanError(f"its grid {volume.data.shape} is not that of the target {target.data.shape}")
    return volume.data


def _oriented(what: str, path: Path) -> Volume:
    """An image or a mask in RAS+ order. Raises ScanError that says what it is."""
    try:
        return nifti.reorient(nifti.load(path))
    except ScanError as error:
        raise ScanError(f"the {what} cannot be used ({error})") from None
