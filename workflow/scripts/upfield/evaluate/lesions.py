"""The lesion test: synthetic lesions in the source of a test participant, and how much of them is in the output.

A network that learned from healthy brains may paint over what it does not know. So lesions of known place, size and
contrast are put into the source and, for reference, into the target; both are processed again as before, and the change
that the lesion makes in the output is compared with the change that it makes in the target.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from upfield.bids import sidecar
from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate import metrics
from upfield.evaluate.case import Case, Said, on_grid
from upfield.files import digest, read_json, write_json, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.image.transforms import Transform
from upfield.predict.enhance import enhance
from upfield.predict.interpolate import interpolate
from upfield.preprocess.derivatives import scaling_of
from upfield.step import step

LESIONS = [
    "participant_id", "method", "fold", "seed", "lesion", "radius_mm", "contrast", "x_mm", "y_mm", "z_mm",
    "truth_change", "output_change", "recovered", "elsewhere",
]  # fmt: skip
# Radii in mm and relative change of intensity: every combination once, the largest placed first.
RADII = (6.0, 4.0, 2.5)
CONTRASTS = (-0.3, 0.3)
# Between two lesions, and between a lesion and the edge of the brain, mm.
GAP = 4.0
# Width of a lesion's edge, mm.
EDGE = 1.0


@dataclass(frozen=True)
class Lesion:
    """A ball: centre in the target's world (x, y, z), radius in mm, relative change of intensity at its middle."""

    centre: tuple[float, float, float]
    radius: float
    contrast: float

    def profile(self, grid: Grid) -> Array:
        """How much of it is in each voxel, 0 to 1, shape of the grid: falls over `EDGE` mm, or a voxel if larger."""
        distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(_world(grid), self.centre, strict=True)))
        edge = max(EDGE, float(grid.spacing.max()))
        return np.clip((self.radius - distance) / edge + 0.5, 0, 1)


def place(brain: Volume, seed: int, participant: str) -> list[Lesion]:
    """Lesions well inside a brain, apart from each other; a lesion for which there is no room is left out.

    `brain` is a boolean mask. The places depend on the mask, `seed` and `participant` alone.
    """
    random = np.random.default_rng(int(digest([seed, participant]), 16))
    spacing = brain.grid.spacing
    depth = ndimage.distance_transform_edt(np.pad(brain.data, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    placed: list[Lesion] = []
    for radius in RADII:
        for contrast in CONTRASTS:
            free = depth >= radius + GAP
            for other in placed:
                free &= _distance(brain.grid, other.centre) >= radius + other.radius + GAP
            room = np.argwhere(free)
            if not len(room):
                logging.warning("no room for a lesion of %g mm", radius)
                continue
            voxel = room[random.integers(len(room))]
            x, y, z = (brain.affine @ np.append(voxel, 1.0))[:3]
            placed.append(Lesion((float(x), float(y), float(z)), radius, contrast))
    return placed


def field(lesions: Sequence[Lesion], grid: Grid) -> Volume:
    """Relative change of intensity that the lesions make, on a grid."""
    change = np.zeros(grid.shape, np.float32)
    for lesion in lesions:
        change += (lesion.contrast * lesion.profile(grid)).astype(np.float32)
    return Volume(change, grid.affine)


def insert(image: Volume, change: Volume, transform: Transform | None = None) -> Volume:
    """An image with lesions: multiplied by 1 + `change`, pulled onto it through `transform` as by `resample`."""
    own = nifti.resample(change, image.grid, transform, order=1)
    return image.with_data((image.data * (1 + own.data)).astype(np.float32))


@step(version=2, memory=(2000, 500), minutes=(1, 3), threads=2)  # Every network once more.
def lesion_test(
    case: Said,
    source: str,
    source_mask: str,
    transform: str,
    inverse: str,
    source_preprocessed: str,
    target_preprocessed: str,
    models: Mapping[str, Sequence[str]],
    network_inputs: Mapping[str, Sequence[str]],
    lesions: str,
    seed: int,
    inference: Mapping[str, Any],
    memory: int | None = None,
    to_template: str | None = None,
    from_template: str | None = None,
) -> None:
    """Write every lesion of one test participant by every method, columns `LESIONS`; no rows if it was excluded.

    Parameters
    ----------
    source, source_mask, transform, inverse, source_preprocessed, target_preprocessed
        The pair, as for `predict.interpolate`; the inverse leads from the source's world to the target's.
    to_template, from_template
        Transforms of the target, where networks work in a template's space.
    models, network_inputs
        By method: the files of its weights (for those that have any); its preprocessed source, a file for each
        contrast (for networks). The lesions are in the first contrast alone.
    seed
        Of the places.
    inference, memory
        How networks are run, see `Inference`.

    """
    said = Case.of(case)
    if said.excluded is not None:
        write_tsv(lesions, pd.DataFrame(columns=LESIONS))
        return
    assert said.reference is not None
    placed = place(said.brain_mask, seed, said.participant)
    change = field(placed, said.reference_image.grid)
    outputs: dict[str, Array] = {}
    with tempfile.TemporaryDirectory() as folder:
        altered, output = str(Path(folder) / "source.nii.gz"), str(Path(folder) / "output.nii.gz")
        nifti.save(insert(nifti.load(source), change, nifti.read_transform(inverse)), altered)
        moves = [path for path in (to_template, transform) if path is not None]
        for method in said.outputs:
            if method in MODEL_FREE:
                interpolate(
                    source=altered,
                    source_mask=source_mask,
                    target=said.reference,
                    transform=transform,
                    source_preprocessed=source_preprocessed,
                    target_preprocessed=target_preprocessed,
                    prediction=output,
                    method=method,
                    models=models.get(method, []),
                )
            else:
                first, *others = network_inputs[method]
                shown = str(Path(folder) / "input.nii.gz")
                _alter_input(first, source, altered, shown, moves, scaling_of(source_preprocessed).scale)
                enhance(
                    source=altered,
                    target=said.reference,
                    transform=transform,
                    target_preprocessed=target_preprocessed,
                    network_input=[shown, *others],
                    models=models[method],
                    prediction=output,
                    method=method,
                    inference=inference,
                    memory=memory,
                    from_template=from_template,
                )
            outputs[method] = on_grid(output, said.brain_mask.grid, said.mask)
    write_tsv(lesions, changes(said, placed, outputs))


def changes(case: Case, placed: Sequence[Lesion], outputs: Mapping[str, Array]) -> pd.DataFrame:
    """What lesions change: in the outputs by method, (X, Y, Z), against those of the case, and in the target.

    Returns
    -------
    participant_id, method, fold, seed, lesion, radius_mm, contrast, x_mm, y_mm, z_mm
        Which lesion; its place in the target's world.
    truth_change, output_change
        Mean change of intensity in the core of the lesion (where at least half of it is), as a share of R, the data
        range of the target.
    recovered
        output_change / truth_change: 1 if the output shows the lesion as the target does, 0 if it was painted over,
        above 1 if it was exaggerated. That of `identity` is what the source itself lets through.
    elsewhere
        Root mean square change of the output farther than `GAP` mm from every lesion, as a share of R: what lesions
        change where there are none. The same for all lesions of a method.

    """
    target, grid = case.reference_image, case.reference_image.grid
    data_range = metrics.reference_range(target.data, case.brain)
    cores = [lesion.profile(grid) >= 0.5 for lesion in placed]
    far = case.brain.copy()
    for lesion in placed:
        far &= _distance(grid, lesion.centre) > lesion.radius + GAP
    in_target = target.data * field(placed, grid).data / data_range
    rows = []
    for method, output in outputs.items():
        in_output = (output - case.output(method)) / data_range
        elsewhere = float(np.sqrt(np.mean(np.square(in_output[far], dtype=np.float64)))) if far.any() else np.nan
        for number, (lesion, core) in enumerate(zip(placed, cores, strict=True), start=1):
            before, after = (float(part[core].mean(dtype=np.float64)) for part in (in_target, in_output))
            which = [*case.row(method), number, lesion.radius, lesion.contrast, *lesion.centre]
            rows.append([*which, before, after, after / before if before else np.nan, elsewhere])
    return pd.DataFrame(rows, columns=LESIONS)


def _alter_input(clean: str, source: str, altered: str, path: str, moves: Sequence[str], scale: float) -> None:
    """Write a preprocessed source with the lesions: the `clean` one, plus what they add, interpolated likewise.

    `source` and `altered` are the native source without and with lesions, `moves` the transforms to it, `scale` that of
    its normalization. Preprocessing is linear once the two numbers of the normalization are fixed, and those are kept.
    """
    before, after, known = nifti.load(source), nifti.load(altered), nifti.load(clean)
    added, through = after.with_data(after.data - before.data), [nifti.read_transform(file) for file in moves]
    moved = nifti.cut_out(added, known.grid, through) or nifti.resample(added, known.grid, through, order=3)
    nifti.save(known.with_data((known.data + moved.data / scale).astype(np.float32)), path)
    # The landmarks of Nyúl's method stand in it: those of the clean image.
    write_json(sidecar(path), read_json(sidecar(clean)))


def _world(grid: Grid) -> list[Array]:
    """World coordinates of every voxel, three arrays that broadcast to the grid's shape or have it."""
    indices = np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij", sparse=True)
    return [
        sum((grid.affine[row, axis] * indices[axis] for axis in range(3)), start=np.asarray(grid.affine[row, 3]))
        for row in range(3)
    ]


def _distance(grid: Grid, centre: Sequence[float]) -> Array:
    """Distance of every voxel from a point of the world, mm."""
    return np.sqrt(sum((axis - c) ** 2 for axis, c in zip(_world(grid), centre, strict=True)))
