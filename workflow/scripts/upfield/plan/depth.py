"""How deep a network is: all of a plan that is known before scans are prepared, and without torch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield.errors import UpfieldError
from upfield.foreign import read_object

Triple = tuple[int, int, int]

# Voxels that the deepest level sees of a patch, at least, and halvings at most.
BOTTOM, DEEPEST = 4, 4
# An axis is halved less often if its voxels are so many times thicker, or if there are so few of them.
THICK, FEW = 2.0, 16
# The box around an adult brain, or head, with its margin, mm along right, anterior, superior.
BOXES = {"brain": (150, 190, 160), "head": (190, 240, 240)}


def depth(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, Triple]:
    """Halvings of volumes of `shape` (voxels) and `spacing` (mm), and how many of them leave each axis alone.

    As many as leave a few voxels at the bottom of the longest axis; an axis of thick voxels, or of few slices, is
    halved only as often as brings its voxels, or its slices, to those of the others.
    """
    finest = min(spacing)
    levels = max(min(int(math.log2(max(shape) / BOTTOM)), DEEPEST), 1)
    flat = []
    for edge, voxel in zip(shape, spacing, strict=True):
        coarse = round(math.log2(voxel / finest)) if voxel / finest >= THICK else 0
        shallow = levels - int(math.log2(max(edge / BOTTOM, 1))) if edge < FEW else 0
        flat.append(min(max(coarse, shallow), levels))
    x, y, z = flat
    return levels, (x, y, z)


def foreseen(method: str, fold: str, pairs: int, region: str, shape: Sequence[int], voxel: Sequence[float]) -> str:
    """What is known of a plan that is not made yet, in a line: `shape` and `voxel` (mm) are those of the working grid.

    Of both nothing may be known: they are empty then.
    """
    said = f"plan of {method}, fold {fold}, not made yet: {pairs} training pairs"
    if shape:
        box = [min(count, round(edge / size)) for count, edge, size in zip(shape, BOXES[region], voxel, strict=True)]
        levels, flat = depth(box, voxel)
        thin = f", {max(flat)} of them not through the slices" if any(flat) else ""
        said += f", {region}s of about {times(box)} voxels of {times(voxel)} mm, up to {levels} halvings{thin}"
    return f"{said}; the rest follows when the scans are prepared (target `plan`)"


def read_summary(path: str | Path) -> str:
    """A plan in a line, from its file. Raises UpfieldError, one line, if it is damaged."""
    plan = read_object(path)
    try:
        return summary(plan)
    except (KeyError, TypeError, ValueError):
        raise UpfieldError(f"{path} is no plan any more; delete it, and it is made again") from None


def summary(plan: Mapping[str, Any]) -> str:
    """A plan in a line."""
    settings, predicted, device = plan["settings"], plan["predicted"], plan["device"]
    patch = times(settings["patch"])
    where = "a card" if device["kind"] == "cuda" else "no card"
    return (
        f"plan of {plan['method']}, fold {plan['fold']}: {settings['base']} channels, {settings['levels']} halvings,"
        f" {settings['batch_size']} patches of {patch} voxels in a batch, {predicted['steps']} steps;"
        f" about {predicted['memory'] / 1e9:.2g} of {device['memory'] / 1e9:.3g} GB ({where}) and"
        f" {predicted['hours']:.2g} h"
    )


def times(sizes: Sequence[float]) -> str:
    """Sizes along axes as text: 1 x 1.5 x 2."""
    return " x ".join(f"{size:g}" for size in sizes)
