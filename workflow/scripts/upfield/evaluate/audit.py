"""The hallucination audit: where an output differs from the target by more than it should, and what is there.

Residuals are standardized: by the predicted standard deviation where a prediction has one, else by the spread of the
residual itself. What stands out and holds together is compared in three images: a structure that is in the output but
in neither input nor target was added; one that is in both but not in the output was removed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from upfield.evaluate import metrics
from upfield.evaluate.case import Case, Said
from upfield.files import write_tsv
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.quality.judging import NORMAL
from upfield.step import step

STRUCTURES = [
    "participant_id", "method", "fold", "seed", "structure", "kind", "x_mm", "y_mm", "z_mm", "volume_ml", "peak_z",
    "contrast_output", "contrast_truth", "contrast_input",
]  # fmt: skip
AUDIT = [
    "participant_id", "method", "fold", "seed", "standardised_by", "share_beyond", "added", "removed", "changed",
    "added_ml", "removed_ml", "changed_ml",
]  # fmt: skip
KINDS = ("added", "removed", "changed")
# Standardised residuals beyond this hold together as structures.
THRESHOLD = 4.0
# Smaller ones are noise, ml.
SMALLEST = 0.05
# A predicted standard deviation below this share of the residual's own spread is not believed.
FLOOR = 0.25
# An image shows a structure if it differs from its surroundings by this share of R,
VISIBLE = 0.05
# and does not if by less than this share of what the other image shows.
GONE = 0.5
# Surroundings of a structure: this far around it, mm.
SHELL = 3.0


class Shown(NamedTuple):
    """Images in which structures are compared, (X, Y, Z) on one grid."""

    output: Array
    reference: Array
    source: Array


@step(version=2, memory=(350, 60), minutes=(0.1, 0.1))
def audit(case: Said, summary: str, structures: str, maps: str) -> None:
    """Write what `audited` gives of a test participant."""
    for path, table in zip((summary, structures), audited(Case.of(case), maps), strict=True):
        write_tsv(path, table)


def audited(case: Case, maps: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary by method (`AUDIT`) and every structure (`STRUCTURES`) of one participant; no rows if it was excluded.

    The output of `identity` is the input on the target's grid and scale. `maps` is the folder for the standardized
    residuals, `<method>.nii.gz`, 0 outside the brain.

    `standardised_by` is uncertainty or spread; `share_beyond` the share of the brain beyond the threshold; added,
    removed and changed count structures, `_ml` their volumes; contrasts are shares of R, structure minus surroundings.
    """
    Path(maps).mkdir(parents=True, exist_ok=True)
    if case.excluded is not None:
        return pd.DataFrame(columns=AUDIT), pd.DataFrame(columns=STRUCTURES)
    target, brain = case.reference_image, case.brain
    data_range = metrics.reference_range(target.data, brain)
    source = case.output("identity")
    summary, found = [], []
    for method in case.outputs:
        output = case.output(method)
        expected = case.uncertainty(method) if method in case.uncertainties else None
        z = standardized(output - target.data, brain, expected)
        nifti.save(target.with_data(z), Path(maps) / f"{method}.nii.gz")
        own = structures_in(z, brain, Shown(output, target.data, source), data_range, target)
        by_kind = [own[own["kind"] == kind] for kind in KINDS]
        counts, sizes = [len(part) for part in by_kind], [float(part["volume_ml"].sum()) for part in by_kind]
        beyond = float((np.abs(z[brain]) > THRESHOLD).mean())
        by = "spread" if expected is None else "uncertainty"
        summary.append([*case.row(method), by, beyond, *counts, *sizes])
        found += [[*case.row(method), number, *row] for number, row in enumerate(own.to_numpy().tolist(), start=1)]
    return pd.DataFrame(summary, columns=AUDIT), pd.DataFrame(found, columns=STRUCTURES)


def standardized(residual: Array, brain: Array, expected: Array | None) -> Array:
    """Residual / its expected size, (X, Y, Z) float32, 0 outside the brain.

    The `expected` size is a predicted standard deviation, but no less than a quarter of the residual's own robust
    spread (1.4826 median absolute deviations in the brain); without it that spread everywhere.
    """
    inside = residual[brain]
    spread = NORMAL * float(np.median(np.abs(inside - np.median(inside))))
    if spread == 0:
        spread = float(inside.std()) or 1.0
    size: Any = spread if expected is None else np.maximum(expected, FLOOR * spread)
    return np.where(brain, residual / size, 0).astype(np.float32)


def structures_in(z: Array, brain: Array, images: Shown, data_range: float, grid: Volume) -> pd.DataFrame:
    """Connected parts of |z| beyond the threshold, one sign each, the largest first: the columns after `structure`.

    The contrast of a structure in an image is its mean minus that of the brain within `SHELL` mm around it.
    """
    ml = float(abs(np.linalg.det(grid.affine[:3, :3]))) / 1000
    margin = np.ceil(SHELL / grid.grid.spacing).astype(int)
    everything = np.ones((3, 3, 3), bool)
    beyond = np.abs(z) > THRESHOLD
    rows = []
    for sign in (1, -1):
        labels, _ = ndimage.label(brain & (sign * z > THRESHOLD), everything)
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            if (labels[place] == number).sum() * ml < SMALLEST:
                continue
            box = tuple(
                slice(max(part.start - more, 0), part.stop + more) for part, more in zip(place, margin, strict=True)
            )
            part = labels[box] == number
            near = ndimage.distance_transform_edt(~part, sampling=grid.grid.spacing) <= SHELL
            around = near & brain[box] & ~beyond[box]
            contrasts = [
                float(image[box][part].mean() - image[box][around].mean()) / data_range if around.any() else 0.0
                for image in images
            ]
            middle = np.argwhere(part).mean(axis=0) + [side.start for side in box]
            x, y, z_mm = (grid.affine @ np.append(middle, 1.0))[:3]
            peak = float(sign * np.max(sign * z[box][part]))
            rows.append([kind(*contrasts), x, y, z_mm, part.sum() * ml, peak, *contrasts])
    table = pd.DataFrame(rows, columns=STRUCTURES[5:])
    return table.sort_values(["volume_ml", "x_mm", "y_mm", "z_mm"], ascending=False, ignore_index=True)


def kind(output: float, reference: float, source: float) -> str:
    """`added`, `removed` or `changed`, from the contrasts of a structure in the three images."""

    def shown(contrast: float, like: float) -> bool:
        """Whether an image shows what another one shows with the contrast `like`."""
        return contrast * np.sign(like) >= GONE * abs(like)

    if abs(output) >= VISIBLE and not shown(reference, output) and not shown(source, output):
        return "added"
    if abs(reference) >= VISIBLE and shown(source, reference) and not shown(output, reference):
        return "removed"
    return "changed"
