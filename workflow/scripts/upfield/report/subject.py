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

MARGIN = 4.0  # mm around the brain mask; black


@dataclass(frozen=True)
class SubjectImages:
    """NIfTI files of one subject, all on one native grid.

    `source` is the input resampled to that grid (the identity baseline), `truth` the target, `mask` the target's
    brain (non-zero is brain), `outputs` one image per method in the intensities of the target, `deviations` their
    standard deviations where there are any. In an unpaired study there is no truth, and the grid and the mask are the
    source's.
    """

    participant_id: str
    source: Path
    truth: Path | None
    mask: Path
    outputs: dict[str, Path]
    deviations: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectVolumes:
    """Arrays of one shape (X, Y, Z), x to the right, y to the front, z upwards.

    `source`, `truth` and `outputs` hold the lower end of `window` wherever nothing may be shown, `errors` (output
    minus truth) and `deviations` zero. `window` is the 0.5-99.5 percentile range of the truth in the brain, `error`
    the 98th percentile of |output - truth| in the brain, the largest over methods, `deviation` that of the standard
    deviations. Without a truth the source stands for it: errors are what a method changed. `mask` is what may be
    shown, with its grid. `failures` tells, by method, why an image cannot be shown.
    """

    source: Array
    truth: Array | None
    outputs: dict[str, Array]
    errors: dict[str, Array]
    deviations: dict[str, Array]
    window: tuple[float, float]
    error: float
    deviation: float
    mask: Volume
    failures: dict[str, str]


def read(images: SubjectImages, faces: bool = False) -> SubjectVolumes:
    """Load a subject's images and leave only the brain in them; the whole head if `faces`.

    Raises ScanError if the source, the truth or the mask cannot be read, the mask is empty, or their grids differ.
    """
    truth = _oriented("truth", images.truth) if images.truth else _oriented("input", images.source)
    grid = truth.grid
    source = _oriented("input", images.source)
    mask = _oriented("brain mask", images.mask)
    for what, volume in (("input", source), ("brain mask", mask)):
        if not volume.grid.matches(grid):
            raise ScanError(f"the {what} is not on the grid of the truth")
    brain = mask.data > 0
    if not brain.any():
        raise ScanError("the mask is empty")
    low, high = nifti.bounding_box(brain, margin=np.ceil(MARGIN / grid.spacing).astype(int))
    if faces:
        low, high = np.zeros(3, int), np.array(grid.shape)
    box = tuple(map(slice, low, high))
    inside = brain[box]
    shown = np.ones_like(inside) if faces else inside
    darkest, brightest = map(float, np.percentile(truth.data[brain], [0.5, 99.5]))

    failures: dict[str, str] = {}
    outputs, errors, deviations = {}, {}, {}
    for method, path in images.outputs.items():
        try:
            output = _on_grid(path, truth)[box]
            spread = _on_grid(images.deviations[method], truth)[box] if method in images.deviations else None
        except ScanError as error:
            failures[method] = str(error)
            continue
        outputs[method] = np.where(shown, output, darkest)
        errors[method] = np.where(shown, output - truth.data[box], 0)
        if spread is not None:
            deviations[method] = np.where(shown, spread, 0)
    return SubjectVolumes(
        source=np.where(shown, source.data[box], darkest),
        truth=np.where(shown, truth.data[box], darkest) if images.truth else None,
        outputs=outputs,
        errors=errors,
        deviations=deviations,
        window=(darkest, brightest),
        error=_scale(errors, inside),
        deviation=_scale(deviations, inside),
        mask=Volume(shown, nifti.crop(grid, low, high).affine),
        failures=failures,
    )


def _scale(volumes: dict[str, Array], inside: Array) -> float:
    """The 98th percentile of the absolute values in the brain, the largest over methods; 1 if there is none."""
    return max((float(np.percentile(np.abs(v[inside]), 98)) for v in volumes.values()), default=0.0) or 1.0


def _on_grid(path: Path, truth: Volume) -> Array:
    """Values of an image on the grid of the truth. Raises ScanError if it is on another one."""
    volume = nifti.reorient(nifti.load(path))
    if not volume.grid.matches(truth.grid):
        raise ScanError(f"its grid {volume.data.shape} is not that of the truth {truth.data.shape}")
    return volume.data


def _oriented(what: str, path: Path) -> Volume:
    """An image or a mask in RAS+ order. Raises ScanError that says what it is."""
    try:
        return nifti.reorient(nifti.load(path))
    except ScanError as error:
        raise ScanError(f"the {what} cannot be used ({error})") from None
