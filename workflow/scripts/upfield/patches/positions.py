"""Where voxels lie in a brain: what tells a network sides and places in a small patch."""

from collections.abc import Sequence

import numpy as np

from upfield.image.nifti import Array


def positions(shape: Sequence[int], low: Array, high: Array) -> Array:
    """Where each voxel lies in a brain that ends at voxels `low` (inclusive) and `high` (exclusive), (3, X, Y, Z).

    -1 to 1 between the edges along each axis, float32; beyond them it goes on.
    """
    lines = [
        (2 * (np.arange(size) + 0.5) - a - b) / max(b - a, 1)
        for size, a, b in zip(shape, low.tolist(), high.tolist(), strict=True)
    ]
    return np.stack(np.meshgrid(*lines, indexing="ij")).astype(np.float32)
