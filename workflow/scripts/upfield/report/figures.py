"""Every picture of the report, as PNG bytes; the same inputs give the same bytes.

Charts are drawn by matplotlib through `Figure` (no pyplot, no display) once per colour theme. Image panels are
plain PNGs with one pixel per voxel: the page places them at their size in millimetres. seaborn is imported only
where a chart is drawn, so that the training loop can import `triptych` for little.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from upfield import nifti
from upfield.errors import ScanError
from upfield.files import atomic
from upfield.metrics import LABELS

Array = NDArray[Any]


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: `paper` behind, `ink` for text, `rule` for grid lines, `model` and `baseline` marks."""

    paper: str
    ink: str
    rule: str
    model: str
    baseline: str
    cycle: tuple[str, ...]


# The papers equal --paper in style.css, so that a chart has no visible edge on the page.
LIGHT = Theme("#ffffff", "#22262b", "#e3e5e8", "#0b5c9e", "#6b7178", ("#0b5c9e", "#b4541a", "#2b7d4f", "#7a4b9c"))
DARK = Theme("#16191d", "#dde1e6", "#31363d", "#74b3ea", "#9aa2ab", ("#74b3ea", "#eb9a62", "#79c99a", "#c29be0"))


@dataclass(frozen=True)
class SubjectImages:
    """NIfTI files of one subject, all on one native grid.

    `source` is the input resampled to that grid (the identity baseline), `truth` the target, `mask` the brain
    (non-zero is brain), `outputs` one image per method in the intensities of the target.
    """

    participant_id: str
    source: Path
    truth: Path
    mask: Path
    outputs: dict[str, Path]


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
    truth: bytes
    outputs: dict[str, bytes]
    errors: dict[str, bytes]


@dataclass(frozen=True)
class SubjectView:
    """All planes of a subject with one intensity `window` and one error scale (-`error` to +`error`).

    `failures` tells, by method, why an image cannot be shown; `notes` are remarks for the caption; `pixel` is
    the in-plane pixel size in mm if panels had to be reduced, else None.
    """

    planes: list[Plane]
    window: tuple[float, float]
    error: float
    failures: dict[str, str]
    notes: list[str]
    pixel: float | None


def write_triptych(path: Path, panels: Mapping[str, Array]) -> None:
    """Write a training preview, atomically; the window is the truth's 1 to 99 percentile."""
    low, high = np.percentile(panels["truth"], (1, 99))
    with atomic(path) as temporary:
        temporary.write_bytes(triptych(panels, (float(low), float(max(high, low + 1e-6)))))


def triptych(panels: Mapping[str, Array], window: tuple[float, float]) -> bytes:
    """PNG of 2-D panels side by side, titled by their keys, in one grey window (low, high).

    Each panel is (A, B) as cut from an array in RAS+ order: the first axis points right, the second up.
    """
    ratios = [np.shape(panel)[0] / np.shape(panel)[1] for panel in panels.values()]
    height, title_height = 2.2, 0.25
    figure = Figure(figsize=(height * sum(ratios), height + title_height), facecolor="black")
    top = height / (height + title_height)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=top, wspace=0.02)
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)[0]
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(np.asarray(panel).T, origin="lower", cmap="gray", vmin=window[0], vmax=window[1])
        axis.set_title(title, color="white", fontsize=9)
        axis.set_axis_off()
    return _png(figure)


def subject_values(
    values: pd.DataFrame, summary: pd.DataFrame, models: Sequence[str], label: str, theme: Theme
) -> bytes:
    """PNG of one metric: a row per method, a point per subject, a line joining each subject, mean and interval.

    Parameters
    ----------
    values
        Participants in rows, methods in columns in the order to draw; NaN where a subject has no value.
    summary
        Indexed by method: mean, ci_low, ci_high.
    models
        Methods drawn as models; the others are drawn as baselines.

    """
    import seaborn

    methods = list(values.columns)
    with _chart(theme, (5.4, 0.8 + 0.42 * len(methods))) as figure:
        axis = figure.subplots()
        for row in values.to_numpy():
            axis.plot(row, range(len(methods)), color=theme.baseline, linewidth=0.7, alpha=0.45, zorder=1)
        long = values.melt(var_name="method", value_name="value").dropna()
        palette = {m: theme.model if m in models else theme.baseline for m in methods}
        seaborn.stripplot(
            long, x="value", y="method", order=methods, hue="method", palette=palette, jitter=False, size=4.5,
            alpha=0.6, legend=False, ax=axis, zorder=2,
        )  # fmt: skip
        for place, method in enumerate(methods):
            if method not in summary.index:
                continue
            mean, low, high = summary.loc[method, ["mean", "ci_low", "ci_high"]].astype(float)
            level = place + 0.22
            axis.plot([low, high], [level, level], color=palette[method], linewidth=1.8, zorder=3)
            shape = "D" if method in models else "s"
            face = palette[method] if method in models else theme.paper
            axis.plot(mean, level, shape, markersize=6, color=palette[method], markerfacecolor=face, zorder=4)
        axis.set(xlabel=label, ylabel="", ylim=(len(methods) - 0.45, -0.5))
        axis.grid(visible=False, axis="y")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        seaborn.despine(figure, left=True)
        axis.tick_params(axis="y", length=0)
        return _png(figure)


def training_curves(history: pd.DataFrame, best_epoch: int | None, theme: Theme) -> bytes:
    """PNG of a `history.tsv`: training losses, each validation metric and the learning rates against the epoch.

    A dashed line marks the best epoch. Positive quantities that span more than a factor of 30 get a log axis.
    """
    import seaborn

    groups = [("Training losses", [c for c in history if c.startswith("train_")])]
    groups += [(f"Validation {LABELS.get(c[4:], c[4:])}", [c]) for c in history if c.startswith("val_")]
    groups += [("Learning rate", [c for c in history if c.startswith("lr_")])]
    groups = [(title, columns) for title, columns in groups if columns]
    rows = max((len(groups) + 1) // 2, 1)
    with _chart(theme, (5.8, 2.0 * rows)) as figure:
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis, (title, columns) in zip(axes, groups, strict=False):
            for column in columns:
                name = column.split("_", 1)[1].replace("_", " ")
                marker = "." if len(history) < 30 else ""
                axis.plot(history["epoch"], history[column], marker=marker, linewidth=1.3, label=name)
            shown = history[columns].to_numpy(dtype=float)
            shown = shown[np.isfinite(shown)]
            if shown.size and 0 < 30 * shown.min() < shown.max():
                axis.set_yscale("log")
            else:
                axis.ticklabel_format(axis="y", scilimits=(-3, 4))
            if best_epoch is not None:
                axis.axvline(best_epoch, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(title, loc="left", fontsize=9.5)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(columns) > 1:
                axis.legend(frameon=False, fontsize=8, labelcolor=theme.ink)
        for axis in axes[max(len(groups) - 2, 0) : len(groups)]:
            axis.set_xlabel("epoch")
        seaborn.despine(figure)
        return _png(figure)


def scale_bar(colours: str) -> bytes:
    """PNG, 256 x 1 pixels, of the map `colours` from low (left) to high (right): "grey" or "error"."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return _encode(ramp, colours == "error")


def subject_view(images: SubjectImages, pixels: float) -> SubjectView:
    """Cut the images through the middle of the brain mask, in RAS+ order, cropped to the mask with a margin.

    The window is the 0.5-99.5 percentile range of the truth inside the mask, for every panel; the error scale is
    the 98th percentile of |output - truth| inside the mask, over all methods. Panels keep one pixel per voxel
    unless together they exceed `pixels`. Raises ScanError if the source or the truth cannot be read.
    """
    truth, source = (nifti.reorient(nifti.load(path)) for path in (images.truth, images.source))
    notes, failures = [], {}
    try:
        mask = nifti.reorient(nifti.load(images.mask)).data > 0
    except ScanError as error:
        mask = np.ones(truth.data.shape, bool)
        notes.append(f"No usable brain mask ({error}): the whole field of view stands in for it.")
    outputs = {}
    for method, path in images.outputs.items():
        try:
            output = nifti.reorient(nifti.load(path))
            if not output.grid.matches(truth.grid):
                raise ScanError(f"its grid {output.data.shape} is not that of the truth {truth.data.shape}")
            outputs[method] = output.data
        except ScanError as error:
            failures[method] = str(error)
    if source.data.shape != truth.data.shape or mask.shape != truth.data.shape:
        raise ScanError("the input, the truth and the mask lie on different grids")
    low, high = np.percentile(truth.data[mask], [0.5, 99.5])
    errors = {method: np.where(mask, data - truth.data, 0) for method, data in outputs.items()}
    scale = max((float(np.percentile(np.abs(e[mask]), 98)) for e in errors.values()), default=0.0) or 1.0

    box = nifti.bounding_box(mask, margin=np.ceil(4 / truth.grid.spacing).astype(int))
    middle = (box[0] + box[1]) // 2
    world = (truth.affine @ np.append(middle, 1))[:3]
    spacing = truth.grid.spacing
    extent = (box[1] - box[0]) * spacing
    area = sum(np.prod(np.delete(box[1] - box[0], axis)) for axis in range(3)) * (2 + 2 * len(outputs))
    reduction = max(float(np.sqrt(area / pixels)), 1.0)

    def cut(data: Array, axis: int, bounds: tuple[float, float], coloured: bool = False) -> bytes:
        index = [slice(a, b) for a, b in zip(*box, strict=True)]
        index[axis] = slice(middle[axis], middle[axis] + 1)
        flat = np.flipud(data[tuple(index)].squeeze(axis).T)
        return _encode(_bytes(flat, bounds, reduction), coloured)

    planes = []
    for name, axis, marks in (("Axial", 2, "LR"), ("Coronal", 1, "LR"), ("Sagittal", 0, "PA")):
        grey = (low, high)
        width, height = np.delete(extent, axis)
        planes.append(
            Plane(
                name=name,
                position=f"{'xyz'[axis]} = {round(world[axis])} mm".replace("-", "−"),
                size=(round(float(width), 2), round(float(height), 2)),
                marks=(marks[0], marks[1]),
                source=cut(source.data, axis, grey),
                truth=cut(truth.data, axis, grey),
                outputs={m: cut(data, axis, grey) for m, data in outputs.items()},
                errors={m: cut(data, axis, (-scale, scale), True) for m, data in errors.items()},
            )
        )
    pixel = float(spacing.min() * reduction) if reduction > 1 else None
    return SubjectView(planes, (float(low), float(high)), scale, failures, notes, pixel)


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


@contextmanager
def _chart(theme: Theme, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of `size` inches, in the theme's colours, under settings that hold only inside the block."""
    import seaborn

    style = seaborn.axes_style("ticks") | {
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "savefig.facecolor": theme.paper,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.edgecolor": theme.baseline,
        "xtick.color": theme.ink, "ytick.color": theme.ink, "grid.color": theme.rule, "axes.grid": True,
        "axes.prop_cycle": cycler(color=theme.cycle), "font.size": 9.5, "font.family": "DejaVu Sans",
        "axes.linewidth": 0.8, "xtick.major.width": 0.8, "ytick.major.width": 0.8,
    }  # fmt: skip
    with mpl.rc_context(style):
        yield Figure(figsize=size, dpi=190, layout="constrained")


def _png(figure: Figure) -> bytes:
    """PNG of a figure with a palette of 256 colours: a quarter of the size, and no difference to see."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    result = io.BytesIO()
    picture.save(result, "PNG", optimize=True)
    return result.getvalue()
