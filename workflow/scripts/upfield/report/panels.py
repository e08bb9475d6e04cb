"""Slices through a subject's images as PNG bytes, one pixel per voxel: nothing outside the brain is ever drawn.

The page places the panels at their size in millimetres. A head can be recognised by its face, so voxels outside
the brain mask are dropped right after loading, and without a usable mask there is no picture at all.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from upfield import nifti
from upfield.errors import ScanError
from upfield.nifti import Array, Volume


@dataclass(frozen=True)
class SubjectImages:
    """NIfTI files of one subject, all on one native grid.

    `source` is the input resampled to that grid (the identity baseline), `truth` the target, `mask` the target's
    brain (non-zero is brain), `outputs` one image per method in the intensities of the target. In an unpaired study
    there is no truth, and the grid and the mask are the source's.
    """

    participant_id: str
    source: Path
    truth: Path | None
    mask: Path
    outputs: dict[str, Path]


@dataclass(frozen=True)
class Layer:
    """One image to cut: `data` in RAS+ order, the intensities (low, high) that become the ends of the colour scale."""

    data: Array
    bounds: tuple[float, float]
    coloured: bool = False


@dataclass(frozen=True)
class Cut:
    """One orthogonal slice through some layers: PNG bytes by layer, the rest as in `Plane`."""

    name: str
    position: str
    size: tuple[float, float]
    marks: tuple[str, str]
    panels: dict[str, bytes]


@dataclass(frozen=True)
class Plane:
    """One orthogonal slice through every image: PNG bytes by panel, and how to place them.

    `name` is axial, coronal or sagittal; `position` the world coordinate of the slice with its axis, such as
    "z = 12 mm"; `size` width and height in mm; `marks` the body sides at the left and right edges. `outputs` and
    `errors` are keyed by method.
    """

    name: str
    position: str
    size: tuple[float, float]
    marks: tuple[str, str]
    source: bytes
    truth: bytes | None
    outputs: dict[str, bytes]
    errors: dict[str, bytes]


@dataclass(frozen=True)
class SubjectView:
    """All planes of a subject with one intensity `window` and one error scale (-`error` to +`error`).

    `failures` tells, by method, why an image cannot be shown; `pixel` is the in-plane pixel size in mm if panels
    had to be reduced, else None.
    """

    planes: list[Plane]
    window: tuple[float, float]
    error: float
    failures: dict[str, str]
    pixel: float | None


def scale_bar(colours: str) -> bytes:
    """PNG, 256 x 1 pixels, of the map `colours` from low (left) to high (right): "grey" or "error"."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return _encode(ramp, colours == "error")


def subject_view(images: SubjectImages, pixels: float) -> SubjectView:
    """Cut the images through the middle of the brain mask, in RAS+ order, cropped to the mask with a margin.

    Only voxels inside the mask count: outside it grey panels are black and errors zero. The window is the 0.5-99.5
    percentile range of the truth, for every panel; the error scale is the 98th percentile of |output - truth| over
    all methods. Without a truth the source stands for it: errors are what a method changed. Panels keep one pixel per
    voxel unless together they exceed `pixels`. Raises ScanError if the source, the truth or the mask cannot be read,
    the mask is empty, or their grids differ.
    """
    truth = _oriented("truth", images.truth) if images.truth else _oriented("input", images.source)
    grid = truth.grid
    source = _oriented("input", images.source)
    mask = _oriented("brain mask", images.mask)
    for what, volume in (("input", source), ("brain mask", mask)):
        if not volume.grid.matches(grid):
            raise ScanError(f"the {what} is not on the grid of the truth")
    inside = mask.data > 0
    if not inside.any():
        raise ScanError("the mask is empty")
    low, high = map(float, np.percentile(truth.data[inside], [0.5, 99.5]))

    failures, outputs, errors = {}, {}, {}
    for method, path in images.outputs.items():
        try:
            output = nifti.reorient(nifti.load(path))
            if not output.grid.matches(grid):
                raise ScanError(f"its grid {output.data.shape} is not that of the truth {truth.data.shape}")
        except ScanError as error:
            failures[method] = str(error)
            continue
        outputs[method] = np.where(inside, output.data, low)
        errors[method] = np.where(inside, output.data - truth.data, 0)
    scale = max((float(np.percentile(np.abs(e[inside]), 98)) for e in errors.values()), default=0.0) or 1.0

    layers = {"source": Layer(np.where(inside, source.data, low), (low, high)),
              "truth": Layer(np.where(inside, truth.data, low), (low, high))}  # fmt: skip
    layers |= {f"output {m}": Layer(data, (low, high)) for m, data in outputs.items()}
    layers |= {f"error {m}": Layer(data, (-scale, scale), coloured=True) for m, data in errors.items()}
    found, pixel = cuts(layers, mask.with_data(inside), pixels)
    planes = [
        Plane(
            name=cut.name,
            position=cut.position,
            size=cut.size,
            marks=cut.marks,
            source=cut.panels["source"],
            truth=cut.panels["truth"] if images.truth else None,
            outputs={m: cut.panels[f"output {m}"] for m in outputs},
            errors={m: cut.panels[f"error {m}"] for m in errors},
        )
        for cut in found
    ]
    return SubjectView(planes, (low, high), scale, failures, pixel)


def cuts(layers: Mapping[str, Layer], mask: Volume, pixels: float) -> tuple[list[Cut], float | None]:
    """Axial, coronal and sagittal slices of images on the grid of a boolean `mask` in RAS+ order, cropped to it.

    Through the middle of the mask; nothing is masked here. Also returns the size of a pixel in mm if panels had to be
    reduced to stay below `pixels` together, else None. Raises ScanError for an empty mask.
    """
    grid = mask.grid
    box = nifti.bounding_box(mask.data, margin=np.ceil(4 / grid.spacing).astype(int))
    middle = (box[0] + box[1]) // 2
    world = (grid.affine @ np.append(middle, 1))[:3]
    extent = (box[1] - box[0]) * grid.spacing
    area = sum(np.prod(np.delete(box[1] - box[0], axis)) for axis in range(3)) * len(layers)
    reduction = max(float(np.sqrt(area / pixels)), 1.0)

    def cut(layer: Layer, axis: int) -> bytes:
        index = [slice(a, b) for a, b in zip(*box, strict=True)]
        index[axis] = slice(middle[axis], middle[axis] + 1)
        flat = np.flipud(layer.data[tuple(index)].squeeze(axis).T)
        return _encode(_bytes(flat, layer.bounds, reduction), layer.coloured)

    result = []
    for name, axis, marks in (("Axial", 2, "LR"), ("Coronal", 1, "LR"), ("Sagittal", 0, "PA")):
        width, height = np.delete(extent, axis)
        result.append(
            Cut(
                name=name,
                position=f"{'xyz'[axis]} = {round(world[axis])} mm".replace("-", "−"),
                size=(round(float(width), 2), round(float(height), 2)),
                marks=(marks[0], marks[1]),
                panels={key: cut(layer, axis) for key, layer in layers.items()},
            )
        )
    return result, float(grid.spacing.min() * reduction) if reduction > 1 else None


def _oriented(what: str, path: Path) -> Volume:
    """An image or a mask in RAS+ order. Raises ScanError that says what it is."""
    try:
        return nifti.reorient(nifti.load(path))
    except ScanError as error:
        raise ScanError(f"the {what} cannot be used ({error})") from None


def _bytes(image: Array, bounds: tuple[float, float], reduction: float) -> Array:
    """A 2-D image mapped from `bounds` to 0..255, reduced by averaging over `reduction` pixels per axis."""
    if reduction > 1:
        size = [max(round(n / reduction), 1) for n in image.shape[::-1]]
        image = np.asarray(Image.fromarray(image.astype(np.float32)).resize(tuple(size), Image.Resampling.BOX))
    span = max(bounds[1] - bounds[0], 1e-30)
    return np.clip((image - bounds[0]) / span * 255 + 0.5, 0, 255).astype(np.uint8)


def _encode(values: Array, coloured: bool) -> bytes:
    """PNG of (rows, columns) bytes: grey, or through the error colours (blue, black at zero, orange)."""
    picture = Image.fromarray(values)
    if coloured:
        import seaborn

        colours = seaborn.color_palette("icefire", 256)
        picture.putpalette([round(255 * part) for colour in colours for part in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
