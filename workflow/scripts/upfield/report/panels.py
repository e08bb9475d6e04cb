"""The middle slices of a subject's images as PNG bytes, one pixel per voxel, for paper and for a glance.

The page places the panels at their size in millimetres. What may be drawn is decided in `subject`.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.report.subject import SubjectVolumes

# Pixels of all panels of a page together; see benchmarks/report_size.py.
PIXELS = 3e6


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
    target: bytes | None
    outputs: dict[str, bytes]
    errors: dict[str, bytes]


@dataclass(frozen=True)
class SubjectView:
    """All planes of a subject; `pixel` is the in-plane pixel size in mm if panels had to be reduced, else None."""

    planes: list[Plane]
    pixel: float | None


def scale_bar(colours: str) -> bytes:
    """PNG, 256 x 1 pixels, of the map `colours` from low (left) to high (right): "grey", "error" or "uncertainty"."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return _encode(ramp, None if colours == "grey" else colours)


def palette(colours: str) -> list[int]:
    """256 times red, green, blue: "error" (blue, black at zero, orange) or "uncertainty" (black to white)."""
    import seaborn

    name = {"error": "icefire", "uncertainty": "rocket"}[colours]
    return [round(255 * part) for colour in seaborn.color_palette(name, 256) for part in colour]


def subject_view(volumes: SubjectVolumes, pixels: float) -> SubjectView:
    """The middle slices. Panels keep one pixel per voxel unless together they exceed `pixels`."""
    window, scale = volumes.window, (-volumes.error, volumes.error)
    layers = {"source": Layer(volumes.source, window)}
    if volumes.target is not None:
        layers["target"] = Layer(volumes.target, window)
    layers |= {f"output {m}": Layer(data, window) for m, data in volumes.outputs.items()}
    layers |= {f"error {m}": Layer(data, scale, coloured=True) for m, data in volumes.errors.items()}
    found, pixel = cuts(layers, volumes.mask, pixels)
    planes = [
        Plane(
            name=cut.name,
            position=cut.position,
            size=cut.size,
            marks=cut.marks,
            source=cut.panels["source"],
            target=cut.panels.get("target"),
            outputs={m: cut.panels[f"output {m}"] for m in volumes.outputs},
            errors={m: cut.panels[f"error {m}"] for m in volumes.errors},
        )
        for cut in found
    ]
    return SubjectView(planes, pixel)


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
        return _encode(_bytes(flat, layer.bounds, reduction), "error" if layer.coloured else None)

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


def _bytes(image: Array, bounds: tuple[float, float], reduction: float) -> Array:
    """A 2-D image mapped from `bounds` to 0..255, reduced by averaging over `reduction` pixels per axis."""
    if reduction > 1:
        size = [max(round(n / reduction), 1) for n in image.shape[::-1]]
        image = np.asarray(Image.fromarray(image.astype(np.float32)).resize(tuple(size), Image.Resampling.BOX))
    return to_bytes(image, bounds)


def to_bytes(values: Array, bounds: tuple[float, float]) -> Array:
    """Values mapped from `bounds` to 0..255."""
    span = max(bounds[1] - bounds[0], 1e-30)
    return np.clip((values - bounds[0]) / span * 255 + 0.5, 0, 255).astype(np.uint8)


def _encode(values: Array, colours: str | None) -> bytes:
    """PNG of (rows, columns) bytes: grey, or through a palette."""
    picture = Image.fromarray(values)
    if colours:
        picture.putpalette(palette(colours))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
