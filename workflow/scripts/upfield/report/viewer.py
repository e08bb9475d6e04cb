"""A subject's volumes for the page's viewer: one sheet of axial slices per image, drawn by sections/images.js.

NiiVue was tried for size: its script alone is 2.3 MB and draws only with WebGL 2, where a browser may have none.
Sheets are WebP, lossy: at quality 80 a voxel costs 0.15 bytes and is off by 4 of 255 grey levels (root mean square,
a real head), a sixth of the error of a good network. Errors are therefore drawn from the same two sheets, unless they
are so small that compression would drown them: then they have sheets of their own.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from skimage.transform import resize_local_mean

from upfield.image.nifti import Array
from upfield.report import panels
from upfield.report.subject import SubjectVolumes

QUALITY = 80
# Errors whose scale is below this share of the window have sheets of their own.
SMALL = 0.1


def view(volumes: SubjectVolumes, voxels: float) -> dict[str, Any]:
    """What images.js draws: `shape`, `spacing` (mm), `start` (world mm of voxel 0), `columns` of a sheet, scales.

    `sheets` are WebP bytes: "input", "output <method>" and, where there are any, "target", "uncertainty <method>" and
    "error <method>".
    Images keep their voxels unless all together exceed `voxels`; then the finest axes are reduced by averaging, and
    `reduced` is the voxel size in mm, otherwise None.
    """
    images: dict[str, tuple[Array, tuple[float, float]]] = {
        "input": (volumes.source, volumes.window),
    }
    if volumes.target is not None:
        images["target"] = (volumes.target, volumes.window)
    images |= {f"output {m}": (data, volumes.window) for m, data in volumes.outputs.items()}
    images |= {f"uncertainty {m}": (data, (0.0, volumes.uncertainty)) for m, data in volumes.uncertainties.items()}
    error = volumes.error / max(volumes.window[1] - volumes.window[0], 1e-30)
    if error < SMALL:
        images |= {f"error {m}": (data, (-volumes.error, volumes.error)) for m, data in volumes.errors.items()}
    grid = volumes.mask.grid
    full, middle = np.array(grid.shape), np.array(grid.shape) // 2
    shape = _shape(full, grid.spacing, voxels / len(images))
    spacing = grid.spacing * full / shape
    start = (grid.affine @ np.append(middle, 1))[:3] - (middle + 0.5) * grid.spacing + 0.5 * spacing
    columns = max(round(float(np.sqrt(shape[2] * shape[1] / shape[0]))), 1)
    return {
        "shape": [int(n) for n in shape],
        "spacing": [round(float(s), 4) for s in spacing],
        "start": [round(float(s), 2) for s in start],
        "columns": columns,
        "error": error,
        "reduced": float(spacing.min()) if (shape < full).any() else None,
        "sheets": {name: _sheet(_reduced(data, shape), bounds, columns) for name, (data, bounds) in images.items()},
    }


def colours() -> Mapping[str, list[int]]:
    """Palettes of the viewer: 256 times red, green, blue."""
    return {name: panels.palette(name) for name in ("error", "uncertainty")}


def _shape(shape: Array, spacing: Array, voxels: float) -> Array:
    """The shape of at most about `voxels` voxels: the same, or with every axis finer than some size made coarser."""
    size = float(spacing.min())
    result = shape
    while np.prod(result) > voxels:
        size *= 1.02
        result = np.maximum(np.rint(shape * np.minimum(spacing / size, 1)).astype(int), 1)
    return result


def _reduced(data: Array, shape: Array) -> Array:
    if tuple(shape) == data.shape:
        return data
    return np.asarray(resize_local_mean(data.astype(np.float32), tuple(shape), preserve_range=True))


def _sheet(data: Array, bounds: tuple[float, float], columns: int) -> bytes:
    """WebP of the axial slices of (X, Y, Z) data, row by row from the lowest; in each, front is up and right right."""
    slices = np.flip(panels.to_bytes(data, bounds), 1).transpose(2, 1, 0)
    depth, height, width = slices.shape
    rows = -(-depth // columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:depth] = slices
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    buffer = io.BytesIO()
    Image.fromarray(sheet).convert("RGB").save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
