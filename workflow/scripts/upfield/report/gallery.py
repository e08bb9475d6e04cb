"""Pictures of a pair that a person can judge: brain masks, and how source and target lie together.

Mosaics of slices lie side by side in millimetres, left on the left. A head can be recognised by its face, so nothing
farther than 10 mm from the brain mask is ever drawn: enough to see whether a mask cuts into the brain or takes skull
with it, and no face.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from skimage.feature import canny

from upfield.files import atomic
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.image.pictures import webp
from upfield.preprocess.derivatives import excluded
from upfield.quality import PICTURES, pair
from upfield.quality.pair import Meeting
from upfield.step import step

# mm around the brain that is drawn.
RIM = 10.0
# mm, edge of a field of the checkerboard.
FIELD = 24.0
# Slices in a row, and rows along x, y and z. A brain of one row is cut at 0.2 to 0.8 of its extent.
COLUMNS, ROWS = 4, (1, 1, 2)
# Slices of a thin slab that are drawn, of more every second, third, ...
SLAB = 16
CONTOUR = "#ff9d3b"
# Inches, a hundred pixels each, that a picture is wide; mm between slices.
WIDTH, GAP = 9.6, 6.0


@dataclass(frozen=True)
class Slice:
    """A slice to draw: `shown` (U, V), 0 to 1, U to the right and V upwards, and an outline or edges over it."""

    shown: Array
    spacing: Array
    left_right: bool
    outline: Array | None = None
    edges: Array | None = None

    @property
    def extent(self) -> Array:
        """Its size in mm."""
        return np.array(self.shown.shape) * self.spacing

    def draw(self, axes: Axes, corner: Array) -> None:
        """Draw it with its lower left corner there, mm."""
        ends = corner + self.extent
        frame = (corner[0], ends[0], corner[1], ends[1])
        axes.imshow(self.shown.T, cmap="gray", vmin=0, vmax=1, origin="lower", extent=frame)
        if self.edges is not None:
            painted = np.ma.masked_equal(self.edges.T.astype(float), 0)
            axes.imshow(painted, cmap=ListedColormap([CONTOUR]), origin="lower", extent=frame)
        if self.outline is not None and self.outline.any():
            places = [start + (np.arange(n) + 0.5) * mm
                      for start, n, mm in zip(corner, self.shown.shape, self.spacing, strict=True)]  # fmt: skip
            axes.contour(*places, self.outline.T.astype(float), levels=[0.5], colors=[CONTOUR], linewidths=1.0)
        if self.left_right:
            for letter, x, side in (("L", frame[0], "left"), ("R", frame[1], "right")):
                axes.text(x, frame[3], letter, color="white", fontsize=8, ha=side, va="top")


@step(version=2, memory=(450, 60), minutes=(0.4, 0.03))
def draw(
    source: str,
    source_mask: str,
    target: str,
    target_mask: str,
    transform: str,
    pictures: Sequence[str | Path],
    template_mask: str | None = None,
    to_template: str | None = None,
) -> None:
    """Draw the `pictures` of one pair, WebP, in the order of `PICTURES`.

    Files are as for `quality.stage.assess`; a template's are not drawn. A scan without a brain, and a pair that could
    not be registered, get a picture that says so.
    """
    written = dict(zip(PICTURES, pictures, strict=True))
    brains = {}
    for side, path, brain in (("source", source, source_mask), ("target", target, target_mask)):
        image, mask = nifti.load(path), nifti.load_mask(brain)
        if not mask.data.any():
            _write(written[f"{side}-mask"], _words(excluded(brain) or "no brain"))
            continue
        _write(written[f"{side}-mask"], mask_contours(image, mask))
        brains[side] = pair.brain(image, mask)
    reason = excluded(transform)
    if len(brains) < 2 or reason is not None:
        for name in PICTURES[2:]:
            _write(written[name], _words(reason or "no pair to show"))
        return
    where = pair.grid(brains["target"])
    before, after = (
        pair.meet(brains["source"], brains["target"], where, way)
        for way in (np.eye(4), nifti.read_transform(transform))
    )
    _write(written["before"], edges(before, where))
    _write(written["after"], edges(after, where))
    _write(written["checkerboard"], checkerboard(after, where))


def mask_contours(image: Volume, mask: Volume) -> bytes:
    """WebP: slices along each axis, see `cuts`, the brain mask as a contour."""
    image, mask = nifti.reorient(image), nifti.reorient(mask)
    inside = mask.data > 0
    low, high = np.percentile(image.data[inside], (0.5, 99.5))
    low = min(float(low), 0.0)
    part = tuple(map(slice, *nifti.bounding_box(inside, np.ceil(RIM / image.grid.spacing).astype(int))))
    inside, data = inside[part], image.data[part]
    near = nifti.dilated(Volume(inside, image.affine), RIM)
    shown = np.where(near, np.clip((data - low) / max(float(high) - low, 1e-6), 0, 1), 0.0)
    return _picture(
        [
            [_slice(shown, image.grid, axis, cut, outline=inside) for cut in row]
            for axis, row in cuts(inside, image.grid)
        ]
    )


def cuts(inside: Array, grid: Grid) -> list[tuple[int, list[int]]]:
    """Where a brain is cut: an axis and at most `COLUMNS` indices for each row of a mosaic, from the top.

    Axial slices first, evenly through the brain; of a thin slab every slice, up to `SLAB`. `inside` is the mask, in
    RAS+ order, and may be cropped from what `grid` describes.
    """
    first, last = nifti.bounding_box(inside)
    rows = []
    for axis in (2, 1, 0):
        number = ROWS[axis] * COLUMNS
        if axis == grid.slab_axis:
            every = -(-(last[axis] - first[axis]) // SLAB)
            chosen = np.arange(first[axis], last[axis], every)
        else:
            chosen = first[axis] + np.arange(1, number + 1) / (number + 1) * (last[axis] - first[axis])
        unique = list(dict.fromkeys(int(cut) for cut in chosen))
        rows += [(axis, unique[start : start + COLUMNS]) for start in range(0, len(unique), COLUMNS)]
    return rows


def edges(meeting: Meeting, where: Grid) -> bytes:
    """WebP: the source brain on the grid where both meet, with the edges of the target brain drawn over it."""
    return _ortho(_windowed(meeting.source), meeting.target, where, edges=True)


def checkerboard(meeting: Meeting, where: Grid) -> bytes:
    """WebP: fields of 24 mm from the source and the target in turn, each in its own window: folds should run on."""
    fields = [np.arange(size) * step // FIELD for size, step in zip(where.shape, where.spacing, strict=True)]
    odd = sum(np.meshgrid(*fields, indexing="ij")) % 2 == 1
    shown = np.where(odd, _windowed(meeting.source), _windowed(meeting.target))
    return _ortho(shown, meeting.target, where)


def _windowed(data: Array) -> Array:
    """0.5 to 99.5 percentile of what is not background, as 0 to 1."""
    values = data[data != 0]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return np.clip((data - low) / max(high - low, 1e-6), 0, 1) * (data != 0)


def _ortho(shown: Array, target: Array, where: Grid, edges: bool = False) -> bytes:
    """Slices along each axis through the target's brain, with the target's edges if asked."""
    windowed = _windowed(target) if edges else None
    return _picture(
        [[_slice(shown, where, axis, cut, edges=windowed) for cut in row] for axis, row in cuts(target != 0, where)]
    )


def _slice(
    shown: Array, grid: Grid, axis: int, index: int, outline: Array | None = None, edges: Array | None = None
) -> Slice:
    """A slice across an axis of arrays in RAS+ order; its edges are those of `edges` there."""
    return Slice(
        shown.take(index, axis),
        np.delete(grid.spacing, axis),
        axis > 0,
        None if outline is None else outline.take(index, axis),
        None if edges is None else canny(edges.take(index, axis), sigma=1.0),
    )


def _picture(rows: Sequence[Sequence[Slice]]) -> bytes:
    """WebP of rows of slices, all at one scale."""
    widths = [sum(part.extent[0] + GAP for part in row) - GAP for row in rows]
    heights = [max(part.extent[1] for part in row) for row in rows]
    bottom = sum(heights) + GAP * (len(rows) - 1)
    top = bottom
    figure = Figure(figsize=(WIDTH, WIDTH * (top + GAP) / (max(widths) + GAP)), facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row, width, height in zip(rows, widths, heights, strict=True):
        bottom -= height
        corner = (max(widths) - width) / 2
        for part in row:
            part.draw(axes, np.array([corner, bottom + (height - part.extent[1]) / 2]))
            corner += part.extent[0] + GAP
        bottom -= GAP
    axes.set(xlim=(-GAP / 2, max(widths) + GAP / 2), ylim=(-GAP / 2, top + GAP / 2), aspect="equal")
    return webp(figure)


def _words(text: str) -> bytes:
    figure = Figure(figsize=(5.4, 1.2), facecolor="black")
    figure.text(0.5, 0.5, text, color="white", ha="center", va="center", wrap=True, fontsize=9)
    return webp(figure)


def _write(path: str | Path, picture: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(picture)
