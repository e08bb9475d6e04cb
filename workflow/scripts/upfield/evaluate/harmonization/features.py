"""What a scan looks like, as numbers that a classifier could recognise the scanner by.

Appearance is not anatomy: a classifier that saw how large a brain is would tell two cohorts apart after any
harmonization. No feature is a size, a count or a volume, and tissues are described by their own intensities. Two
things remain that are not the scanner's doing: quantiles of a slab shift with the share of each tissue in it, and
folding shows in the gradients. Cohorts that differ in age or disease therefore keep an AUC above 0.5.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage, stats

from upfield.errors import ScanError
from upfield.evaluate.harmonization.anatomy import interior_of
from upfield.image import nifti
from upfield.image.nifti import Array

COLUMNS = ["participant_id", "scanner", "method", "block", "feature", "value"]
WHOLE = "brain"
# Slabs that a brain is cut into: several samples of a person for the classifier, each with all tissues in it.
BLOCKS = 6
# Interior voxels of a slab, and voxels of a tissue in it, below which its statistics are noise.
SMALLEST_BLOCK, SMALLEST_TISSUE = 64, 20
# The distribution of a brain's intensities as equally likely values: percentiles 0.5, 1.5, ... 99.5.
LEVELS = (np.arange(100) + 0.5) / 100
PERCENTILES = [f"percentile_{100 * level:04.1f}" for level in LEVELS]


def appearance(image: Array, mask: Array, tissues: Mapping[str, Array], spacing: Sequence[float]) -> pd.DataFrame:
    """Appearance of one scan: rows of block, feature, value.

    Parameters
    ----------
    image
        (X, Y, Z), normalized values.
    mask
        (X, Y, Z) boolean, the brain.
    tissues
        Masks from dark to bright, as `metrics.tissue_regions` finds them in this very image. Those of another image
        would not do, not even of the same person: its noise is not the same, so tissues found in one scan are wider
        distributed in another, and a perfect harmonization would be told from the target by that.
    spacing
        Voxel edges in mm.

    Block `brain` has the percentiles of its intensities (0.5, 1.5, ... 99.5). Blocks 1 to 6, slabs along z of equal
    brain volume, have: 5, 25, 50, 75 and 95 % quantile, standard deviation and skewness of the intensities; mean and
    standard deviation in each tissue (of the whole brain's, where a slab has too little of it); mean and standard
    deviation of the gradient (per mm); and the median absolute Laplacian, which noise raises and blur lowers.

    Raises ScanError for values that are not finite and for a brain too small to be cut.

    """
    mask = np.asarray(mask, dtype=bool)
    if not mask.any():
        raise ScanError("the brain mask is empty")
    box = tuple(map(slice, *nifti.bounding_box(mask, margin=1)))
    inside, data = mask[box], np.asarray(image[box], dtype=np.float64)
    if not np.isfinite(data[inside]).all():
        raise ScanError("the image has NaN or infinite values inside the brain mask")
    data = np.where(inside, data, 0)
    classes = [np.asarray(tissue, dtype=bool)[box] & inside for tissue in tissues.values()]
    if not all(tissue.any() for tissue in classes):
        raise ScanError("a tissue class has no voxel in the brain mask")
    interior = interior_of(inside)
    gradient = np.sqrt(np.sum(np.square(np.gradient(data, *spacing)), axis=0))
    laplacian = np.abs(ndimage.laplace(data))
    rows = [(WHOLE, name, value) for name, value in zip(PERCENTILES, np.quantile(data[inside], LEVELS), strict=True)]
    slab = slabs(inside)
    for block in range(BLOCKS):
        here = inside & (slab == block)
        core = interior & here
        if core.sum() < SMALLEST_BLOCK:
            raise ScanError(f"the brain is too small to be cut into {BLOCKS} slabs along z")
        values = {f"q{level:02d}": np.quantile(data[here], level / 100) for level in (5, 25, 50, 75, 95)}
        values |= {"sd": data[here].std(), "skewness": stats.skew(data[here])}
        for number, tissue in enumerate(classes, start=1):
            local = tissue & here
            chosen = data[local if local.sum() >= SMALLEST_TISSUE else tissue]
            values |= {f"tissue{number}_mean": chosen.mean(), f"tissue{number}_sd": chosen.std()}
        values |= {"gradient_mean": gradient[core].mean(), "gradient_sd": gradient[core].std()}
        values["laplacian"] = np.median(laplacian[core])
        # A slab without any contrast has no skewness.
        rows += [(str(block + 1), name, float(np.nan_to_num(value))) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["block", "feature", "value"])


def scans(values: pd.DataFrame, scanner: str, method: str) -> tuple[list[str], Array, Array]:
    """Participants, features (N, blocks, F) and intensities (N, Q) of the scans of one scanner and method.

    `values` has `COLUMNS`; participants and features are sorted. N is 0 if there is none, Q is 0 without percentiles.
    """
    chosen = values[(values["scanner"] == scanner) & (values["method"] == method)]
    people = sorted(chosen["participant_id"].unique())
    whole = chosen[chosen["block"] == WHOLE]
    parts = chosen[chosen["block"] != WHOLE].pivot(index=["participant_id", "block"], columns="feature", values="value")
    features = parts.sort_index().to_numpy().reshape(len(people), -1, parts.shape[1]) if people else np.empty((0, 0, 0))
    levels = whole.pivot(index="participant_id", columns="feature", values="value").sort_index().to_numpy()
    return people, features, levels if len(levels) else np.empty((len(people), 0))


def slabs(mask: Array) -> Array:
    """The slab of each slice along z, shape (1, 1, Z): equal shares of the mask's voxels, whole slices."""
    counts = mask.sum(axis=(0, 1))
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    return np.minimum((BLOCKS * middle).astype(int), BLOCKS - 1)[None, None, :]
