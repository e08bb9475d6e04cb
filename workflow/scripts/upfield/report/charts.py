"""Charts of what stands behind the leaderboard (ranks, agreement with the target, lesions, uncertainty), PNG bytes."""

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.ticker import MaxNLocator

from upfield.report.figures import BASELINE, CYCLE, INK, NETWORK, PAPER, canvas, png


def ranks(table: pd.DataFrame) -> bytes:
    """PNG of mean ranks, 1 is best: `table` has metrics (as labels) in rows and methods in columns."""
    import seaborn

    wide, high = 2.1 + 0.78 * table.shape[1], 1.1 + 0.27 * len(table)
    with canvas((wide, high)) as figure:
        axis = figure.subplots()
        colours = seaborn.light_palette(NETWORK, as_cmap=True, reverse=True)
        seaborn.heatmap(
            table, ax=axis, cmap=colours, vmin=1, vmax=max(table.shape[1], 2), annot=True, fmt=".1f", cbar=False,
            linewidths=1.5, linecolor=PAPER, annot_kws={"fontsize": 8.5},
        )  # fmt: skip
        axis.set(xlabel="", ylabel="")
        axis.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axis.set_xticks(axis.get_xticks(), table.columns, rotation=28, ha="left", rotation_mode="anchor")
        axis.set_yticks(axis.get_yticks(), table.index, rotation=0)
        return png(figure)


def bland_altman(
    values: pd.DataFrame, agreement: pd.DataFrame, methods: Sequence[str], networks: Collection[str]
) -> bytes:
    """PNG with a row per method and a column per region: output minus target against their mean.

    `values` and `agreement` are rows of one quantity, in ml, of `metrics/quantities.tsv` and `metrics/agreement.tsv`.
    The line is the bias, dashed lines the limits of agreement; the dotted line is no difference. Networks share the
    scales of a column, and so do the others: beside what these are off by, networks would be a line.
    """
    import seaborn

    regions = list(dict.fromkeys(values["region"]))
    with canvas((0.6 + 2.3 * len(regions), 0.5 + 1.55 * len(methods))) as figure:
        axes = figure.subplots(len(methods), len(regions), squeeze=False)
        for alike in (True, False):
            rows = [row for row, method in zip(axes, methods, strict=True) if (method in networks) is alike]
            for first, *others in zip(*rows, strict=True):
                for axis in others:
                    axis.sharex(first)
                    axis.sharey(first)
        for row, method in zip(axes, methods, strict=True):
            for axis, region in zip(row, regions, strict=True):
                part = values[(values["method"] == method) & (values["region"] == region)]
                mean, difference = (part["output"] + part["truth"]) / 2, part["output"] - part["truth"]
                axis.axhline(0, color=BASELINE, linewidth=0.9, linestyle=":", zorder=1)
                axis.plot(mean, difference, "o", markersize=4, color=NETWORK, alpha=0.8, zorder=3)
                found = agreement[(agreement["method"] == method) & (agreement["region"] == region)]
                for line in found.itertuples():
                    axis.axhline(line.bias, color=INK, linewidth=1.1, zorder=2)
                    for limit in (line.limit_low, line.limit_high):
                        axis.axhline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
                axis.xaxis.set_major_locator(MaxNLocator(3))
                axis.yaxis.set_major_locator(MaxNLocator(4))
                axis.set_title(f"{method}, {region}", loc="left", fontsize=8.5)
        seaborn.despine(figure)
        figure.supxlabel("mean of output and target (ml)", fontsize=9.5, color=INK)
        figure.supylabel("output − target (ml)", fontsize=9.5, color=INK)
        return png(figure)


def lesions(table: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """PNG with a panel per radius: how much of each lesion is in the output, 1 as in the target, 0 painted over.

    `table` are rows of `metrics/lesions.tsv`; dark and bright lesions apart, a large mark is the mean of a method.
    """
    import seaborn

    kinds = (("darker", table["contrast"] < 0, CYCLE[0], -0.13), ("brighter", table["contrast"] > 0,
             CYCLE[1], 0.13))  # fmt: skip
    radii = sorted(table["radius_mm"].unique())
    with canvas((1.4 + 2.0 * len(radii), 1.0 + 0.42 * len(methods))) as figure:
        axes = figure.subplots(1, len(radii), squeeze=False, sharex=True, sharey=True)[0]
        for axis, radius in zip(axes, radii, strict=True):
            for mark in (0, 1):
                axis.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            for name, kind, colour, offset in kinds:
                shown = table[kind & (table["radius_mm"] == radius)]
                for place, method in enumerate(methods):
                    part = shown.loc[shown["method"] == method, "recovered"].dropna()
                    level = place + offset
                    axis.plot(part, [level] * len(part), "o", markersize=3.2, color=colour, alpha=0.5, zorder=2)
                    if len(part):
                        axis.plot(part.mean(), level, "D", markersize=5.5, color=colour, zorder=3,
                                  label=name if place == 0 else None)  # fmt: skip
            axis.set_title(f"radius {radius:g} mm", loc="left", fontsize=9.5)
            axis.set(ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)), yticklabels=methods)
            axis.grid(visible=False, axis="y")
            axis.tick_params(axis="y", length=0)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        # Above the panels, where no lesion lies under it.
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=2, fontsize=8, labelcolor=INK, frameon=False)
        seaborn.despine(figure, left=True)
        figure.supxlabel("share of the lesion’s contrast in the output", fontsize=9.5, color=INK)
        return png(figure)


def reliability(table: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """PNG with a panel for each method: RMSE against predicted standard deviation, both in % of the target's range.

    Thin lines are participants, points the means over them of each bin; on the dashed line the two are equal.
    """
    import seaborn

    columns = min(math.ceil(math.sqrt(len(methods))), 3)
    rows = -(-len(methods) // columns)
    shown: Mapping[str, pd.DataFrame] = {m: table[table["method"] == m] for m in methods}
    # One scale for all, from 0: how far a curve is from the line is what matters.
    top = 105 * float(table[["predicted", "rmse"]].max().max())
    with canvas((0.5 + 2.5 * columns, 0.4 + 2.5 * rows)) as figure:
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axis in axes[len(methods) :]:
            axis.set_axis_off()
        for axis, (method, part) in zip(axes, shown.items(), strict=False):
            axis.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            for _, values in part.groupby("participant_id"):
                line = 100 * values.sort_values("bin")[["predicted", "rmse"]]
                axis.plot(line["predicted"], line["rmse"], color=BASELINE, linewidth=0.7, alpha=0.45)
            mean = 100 * part.groupby("bin")[["predicted", "rmse"]].mean()
            axis.plot(mean["predicted"], mean["rmse"], marker="o", markersize=4, linewidth=1.4, color=NETWORK)
            axis.set(xlim=(0, top), ylim=(0, top), aspect="equal")
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.set_title(method, loc="left", fontsize=9.5)
        for axis in axes[max(len(methods) - columns, 0) : len(methods)]:
            axis.xaxis.set_tick_params(labelbottom=True)
        seaborn.despine(figure)
        figure.supxlabel("predicted standard deviation (% of range)", fontsize=9.5, color=INK)
        figure.supylabel("RMSE (% of range)", fontsize=9.5, color=INK)
        return png(figure)


def perception(table: pd.DataFrame, methods: Sequence[str], networks: Collection[str]) -> bytes:
    """PNG: PSNR against sharpness, means over participants of every method's output and, hollow, of a sample.

    Sharpness, 1 as in the target, has a logarithmic scale: half and twice are equally wrong.
    """
    import seaborn

    means = table.groupby(["method", "image"])[["psnr", "sharpness"]].mean()
    with canvas((6.6, 3.6)) as figure:
        axis = figure.subplots()
        axis.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        middle = float(means["psnr"].min() + means["psnr"].max()) / 2

        def point(text: str, at: pd.Series, colour: str, up: int, inside: str) -> None:
            axis.plot(*at, "o", markersize=6, color=colour, markerfacecolor=inside)
            side, shift = ("right", -6) if at["psnr"] > middle else ("left", 6)
            axis.annotate(text, tuple(at), (shift, up), textcoords="offset points", fontsize=8, color=INK, ha=side)

        for method in methods:
            colour = NETWORK if method in networks else BASELINE
            output = means.loc[(method, "output")]
            if (method, "sample") in means.index:
                drawn = means.loc[(method, "sample")]
                axis.plot(*zip(output, drawn, strict=True), color=colour, linewidth=0.9)
                point("a sample", drawn, colour, -11, PAPER)
            point(method, output, colour, 4, colour)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:.3g}")
        axis.margins(0.12)
        seaborn.despine(figure)
        axis.set_xlabel("PSNR (dB): nearer to the target", fontsize=9.5)
        axis.set_ylabel("sharpness; 1 as the target", fontsize=9.5)
        return png(figure)
