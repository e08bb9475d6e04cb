"""Pictures of a validation slice, written while a method is trained.

Drawn by matplotlib through `Figure`: no pyplot, no display.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from upfield.files import atomic
from upfield.image.nifti import Array
from upfield.image.pictures import png


def write(path: Path, panels: Mapping[str, Array]) -> None:
    """Write a training preview, atomically; the window is the 1 to 99 percentile of the truth, or else of all."""
    shown = [panels["truth"]] if "truth" in panels else list(panels.values())
    low, high = np.percentile(np.concatenate([np.ravel(panel) for panel in shown]), (1, 99))
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
    return png(figure)
