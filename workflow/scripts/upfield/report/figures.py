"""The charts of the report and the previews of training, as PNG bytes; the same inputs give the same bytes.

Drawn by matplotlib through `Figure` (no pyplot, no display). seaborn is imported only where a chart is drawn, so that
the training loop can import `triptych` for little.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from upfield.evaluate.metrics import LABELS
from upfield.image.nifti import Array
from upfield.image.pictures import png

# Behind, for text, for grid lines, for marks of networks and of baselines, and for curves in turn. On a dark page
# style.css turns them over: a chart is drawn once.
PAPER, INK, RULE, NETWORK, BASELINE = "#ffffff", "#22262b", "#e3e5e8", "#0b5c9e", "#6b7178"
CYCLE = (NETWORK, "#b4541a", "#2b7d4f", "#7a4b9c")

# The density of fewer values would be invented.
VIOLIN = 5


def subject_values(values: pd.DataFrame, summary: pd.DataFrame, networks: Sequence[str], label: str) -> bytes:
    """PNG of one metric: a row per method, a point per subject, a line joining each subject, mean and interval.

    From five subjects on the points of a method lie on a violin, their smoothed density. What is infinite has no place
    on the axis: the sign at the right end of a row says that there is such a value.

    Parameters
    ----------
    values
        Participants in rows, methods in columns in the order to draw; NaN where a subject has no value.
    summary
        Indexed by method: mean, ci_low, ci_high.
    networks
        Methods drawn as trained networks; the others are drawn as baselines.

    """
    import seaborn

    methods = list(values.columns)
    infinite = [place for place, method in enumerate(methods) if np.isinf(values[method]).any()]
    values = values.where(np.isfinite(values))
    with canvas((5.4, 0.8 + 0.42 * len(methods))) as figure:
        axis = figure.subplots()
        for row in values.to_numpy():
            axis.plot(row, range(len(methods)), color=BASELINE, linewidth=0.7, alpha=0.45, zorder=1)
        for place in infinite:
            axis.annotate("∞", (1, place), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=11)
        long = values.melt(var_name="method", value_name="value").dropna()
        palette = {m: NETWORK if m in networks else BASELINE for m in methods}
        if len(values) >= VIOLIN and len(long):
            seaborn.violinplot(
                long, x="value", y="method", order=methods, hue="method", palette=palette, inner=None, cut=0,
                density_norm="width", linewidth=0, alpha=0.22, legend=False, ax=axis, zorder=0,
            )  # fmt: skip
        seaborn.stripplot(
            long, x="value", y="method", order=methods, hue="method", palette=palette, jitter=False, size=4.5,
            alpha=0.6, legend=False, ax=axis, zorder=2,
        )  # fmt: skip
        if long.empty:
            axis.set_yticks(range(len(methods)), methods)
        for place, method in enumerate(methods):
            if method not in summary.index or not np.isfinite(summary.loc[method, "mean"]):
                continue
            mean, low, high = summary.loc[method, ["mean", "ci_low", "ci_high"]].astype(float)
            level = place + 0.22
            axis.plot([low, high], [level, level], color=palette[method], linewidth=1.8, zorder=3)
            shape = "D" if method in networks else "s"
            face = palette[method] if method in networks else PAPER
            axis.plot(mean, level, shape, markersize=6, color=palette[method], markerfacecolor=face, zorder=4)
        axis.set(xlabel=label, ylabel="", ylim=(len(methods) - 0.45, -0.5))
        axis.grid(visible=False, axis="y")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        seaborn.despine(figure, left=True)
        axis.tick_params(axis="y", length=0)
        return png(figure)


def training_curves(history: pd.DataFrame, best_epoch: int | None) -> bytes:
    """PNG of a `history.tsv`: training losses, each validation metric and the learning rates against the epoch.

    A dashed line marks the best epoch. Positive quantities that span more than a factor of 30 get a log axis.
    """
    import seaborn

    groups = [("Training losses", [c for c in history if c.startswith("train_")])]
    groups += [(f"Validation {LABELS.get(c[4:], c[4:])}", [c]) for c in history if c.startswith("val_")]
    groups += [("Learning rate", [c for c in history if c.startswith("lr_")])]
    groups = [(title, columns) for title, columns in groups if columns]
    rows = max((len(groups) + 1) // 2, 1)
    with canvas((5.8, 2.0 * rows)) as figure:
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
                axis.axvline(best_epoch, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(title, loc="left", fontsize=9.5)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(columns) > 1:
                _headroom(axis, 0.13 * ((len(columns) + 1) // 2))
                axis.legend(
                    loc="upper right", ncols=2, fontsize=8, labelcolor=INK, facecolor=PAPER,
                    edgecolor="none", columnspacing=1, handlelength=1.2, borderpad=0.1,
                )  # fmt: skip
        for axis in axes[max(len(groups) - 2, 0) : len(groups)]:
            axis.set_xlabel("epoch")
        seaborn.despine(figure)
        return png(figure)


def scanner_auc(rows: Sequence[Mapping[str, Any]], networks: Sequence[str]) -> bytes:
    """PNG of the scanner classifier's AUC: a row per method, point and interval, a dashed line at chance.

    `rows` have a `method` and `cells["scanner_auc"]` with value, ci_low, ci_high; see `report.sections.harmonization`.
    """
    import seaborn

    with canvas((5.4, 0.9 + 0.42 * len(rows))) as figure:
        axis = figure.subplots()
        axis.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        lowest = 0.45
        for place, row in enumerate(rows):
            cell, network = row["cells"]["scanner_auc"], row["method"] in networks
            colour = NETWORK if network else BASELINE
            axis.plot([cell.ci_low, cell.ci_high], [place, place], color=colour, linewidth=1.8, zorder=2)
            face = colour if network else PAPER
            axis.plot(cell.value, place, "D" if network else "s", markersize=6.5, color=colour, markerfacecolor=face)
            lowest = min(lowest, np.nanmin([cell.value, cell.ci_low]) - 0.03)
        axis.set(xlabel="scanner AUC (0.5: cannot tell, 1: always right)", ylim=(len(rows) - 0.5, -0.5))
        axis.set(xlim=(lowest, 1.03), yticks=range(len(rows)), yticklabels=[row["method"] for row in rows])
        axis.grid(visible=False, axis="y")
        seaborn.despine(figure, left=True)
        axis.tick_params(axis="y", length=0)
        return png(figure)


def intensity_densities(intensities: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """PNG of intensity distributions in the brain: per method, the source after it beside the target as it is.

    `intensities` are rows of `scanner`, `method`, `participant_id` and `value`, equally likely values of each scan;
    those of the target have method `identity`. Thick lines are cohorts, thin ones participants.
    """
    import seaborn

    target = intensities[(intensities.scanner == "target") & (intensities.method == "identity")]
    low, high = np.percentile(intensities["value"], (0.2, 99.8))
    grid = np.linspace(low - 0.08 * (high - low), high + 0.08 * (high - low), 200)
    columns = min(len(methods), 2)
    rows = -(-len(methods) // columns)
    with canvas((5.4, 2.0 * rows + 0.3)) as figure:
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axis in axes[len(methods) :]:
            axis.set_axis_off()
        for axis, method in zip(axes, methods, strict=False):
            source = intensities[(intensities.scanner == "source") & (intensities.method == method)]
            for part, colour, name in ((target, CYCLE[1], "target"), (source, NETWORK, "source")):
                for _, values in part.groupby("participant_id"):
                    axis.plot(grid, _density(values, grid), color=colour, linewidth=0.5, alpha=0.35)
                axis.plot(grid, _density(part, grid), color=colour, linewidth=1.9, label=name)
            axis.set_title("before" if method == "identity" else f"after {method}", loc="left", fontsize=9.5)
            axis.set(yticks=[], ylim=(0, None))
            axis.grid(visible=False, axis="y")
        axes[0].legend(fontsize=8, labelcolor=INK, facecolor=PAPER, edgecolor="none", borderpad=0.1)
        for axis in axes[max(len(methods) - columns, 0) : len(methods)]:
            axis.set_xlabel("normalized intensity")
            axis.xaxis.set_tick_params(labelbottom=True)
        seaborn.despine(figure, left=True)
        return png(figure)


def _density(rows: pd.DataFrame, grid: Array) -> Array:
    """Smoothed density of `value` on `grid`; NaN where values do not differ."""
    from scipy.stats import gaussian_kde

    values = rows["value"].to_numpy(dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return np.full(len(grid), np.nan)
    return np.asarray(gaussian_kde(values, 0.15)(grid))


def _headroom(axis: Axes, share: float) -> None:
    """Keep the upper `share` of an axis free of curves, for a legend."""
    transform = axis.yaxis.get_transform()
    low, high = transform.transform(np.array(axis.get_ylim()))
    axis.set_ylim(top=float(transform.inverted().transform(low + (high - low) / (1 - min(share, 0.6)))))


@contextmanager
def canvas(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of `size` inches, in the colours above, under settings that hold only inside the block."""
    import seaborn

    style = seaborn.axes_style("ticks") | {
        "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": BASELINE,
        "xtick.color": INK, "ytick.color": INK, "grid.color": RULE, "axes.grid": True,
        "axes.prop_cycle": cycler(color=CYCLE), "font.size": 9.5, "font.family": "DejaVu Sans",
        "axes.linewidth": 0.8, "xtick.major.width": 0.8, "ytick.major.width": 0.8,
        # Names of others may have two $ in them, which is no formula.
        "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(style):
        yield Figure(figsize=size, dpi=190, layout="constrained")
