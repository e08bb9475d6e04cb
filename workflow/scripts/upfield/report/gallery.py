"""Pictures of a pair that a person can judge in two seconds: brain masks, and how source and target lie together.

Slices are cut and annotated by nilearn. A head can be recognised by its face, so nothing farther than 10 mm from the
brain mask is ever drawn: enough to see whether a mask cuts into the brain or takes skull with it, and no face.
"""

import gc
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from nilearn.plotting import plot_anat
from nilearn.plotting.displays import OrthoSlicer
from PIL import Image

from upfield.files import atomic
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.image.transforms import Transform
from upfield.preprocess.derivatives import excluded
from upfield.quality import PICTURES, pair
from upfield.quality.pair import Brain
from upfield.step import step

# mm around the brain that is drawn.
RIM = 10.0
# mm, edge of a field of the checkerboard.
FIELD = 24.0
# Where a brain is cut, as shares of its extent along an axis.
CUTS = (0.2, 0.4, 0.6, 0.8)
CONTOUR = "#ff9d3b"


@step(version=0, memory=(400, 60), minutes=(0.3, 0.02))
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
    # nilearn collects garbage dozens of times; what is there already need not be looked through each time.
    gc.freeze()
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
    moves = nifti.read_transform(transform)
    _write(written["before"], edges(brains["source"], brains["target"], np.eye(4)))
    _write(written["after"], edges(brains["source"], brains["target"], moves))
    _write(written["checkerboard"], checkerboard(brains["source"], brains["target"], moves))


def mask_contours(image: Volume, mask: Volume) -> bytes:
    """WebP: four slices along each axis, the brain mask as a contour."""
    image, mask = nifti.reorient(image), nifti.reorient(mask)
    inside = mask.data > 0
    low, high = np.percentile(image.data[inside], (0.5, 99.5))
    box = nifti.bounding_box(inside, np.ceil(RIM / image.grid.spacing).astype(int))
    part = tuple(map(slice, *box))
    affine = nifti.crop(image.grid, *box).affine
    shown = np.where(nifti.dilated(mask.with_data(inside), RIM), image.data, min(low, 0.0))[part]
    picture, outline = (nifti.to_nibabel(Volume(data, affine)) for data in (shown, inside[part].astype(np.float32)))
    corners = [(image.affine @ np.append(corner, 1.0))[:3] for corner in nifti.bounding_box(inside)]
    figure = Figure(figsize=(6.4, 4.8), facecolor="black")
    for row, axis in enumerate("xyz"):
        start, end = (corner[row] for corner in corners)
        cuts = [start + share * (end - start) for share in CUTS]
        display = plot_anat(
            picture, display_mode=axis, cut_coords=cuts, figure=figure, axes=(0.0, row / 3, 1.0, 1 / 3),
            vmin=min(low, 0.0), vmax=high, annotate=False, draw_cross=False, colorbar=False, black_bg=True,
        )  # fmt: skip
        display.add_contours(outline, levels=[0.5], colors=[CONTOUR], linewidths=1.0)
    return _webp(figure)


def edges(source: Brain, target: Brain, transform: Transform) -> bytes:
    """WebP: the source brain on the target's grid, with the edges of the target brain drawn over it."""
    where = pair.grid(target)
    meeting = pair.meet(source, target, where, transform)
    figure, display = _ortho(Volume(meeting.source, where.affine), Volume(meeting.target, where.affine))
    display.add_edges(nifti.to_nibabel(Volume(meeting.target, where.affine)), color=CONTOUR)
    return _webp(figure)


def checkerboard(source: Brain, target: Brain, transform: Transform) -> bytes:
    """WebP: fields of 24 mm from the source and the target in turn, each in its own window: folds should run on."""
    where = pair.grid(target)
    meeting = pair.meet(source, target, where, transform)
    fields = [np.arange(size) * step // FIELD for size, step in zip(where.shape, where.spacing, strict=True)]
    odd = sum(np.meshgrid(*fields, indexing="ij")) % 2 == 1
    shown = np.where(odd, _windowed(meeting.source), _windowed(meeting.target))
    figure, _ = _ortho(Volume(shown, where.affine), Volume(meeting.target, where.affine))
    return _webp(figure)


def _windowed(data: Array) -> Array:
    """0.5 to 99.5 percentile of what is not background, as 0 to 1."""
    values = data[data != 0]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return np.clip((data - low) / max(high - low, 1e-6), 0, 1) * (data != 0)


def _ortho(shown: Volume, target: Volume) -> tuple[Figure, OrthoSlicer]:
    """One slice along each axis through the middle of the target's brain."""
    low, high = nifti.bounding_box(target.data != 0)
    middle = (target.affine @ np.append((low + high) / 2, 1.0))[:3]
    figure = Figure(figsize=(7.2, 2.6), facecolor="black")
    window = _windowed(shown.data)
    display = plot_anat(
        nifti.to_nibabel(shown.with_data(window)), display_mode="ortho", cut_coords=middle.tolist(), figure=figure,
        vmin=0.0, vmax=1.0, draw_cross=False, colorbar=False, black_bg=True,
    )  # fmt: skip
    return figure, display


def _words(text: str) -> bytes:
    figure = Figure(figsize=(5.4, 1.2), facecolor="black")
    figure.text(0.5, 0.5, text, color="white", ha="center", va="center", wrap=True, fontsize=9)
    return _webp(figure)


def _webp(figure: Figure) -> bytes:
    buffer, result = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="black")
    Image.open(buffer).convert("RGB").save(result, "WEBP", quality=70, method=6)
    return result.getvalue()


def _write(path: str | Path, picture: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(picture)
