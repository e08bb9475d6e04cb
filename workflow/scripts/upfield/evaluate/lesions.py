"""The lesion test: synthetic lesions in the source of a test participant, and how much of them is in the output.

A network that learned from healthy brains may paint over what it does not know. So lesions of known place, size and
contrast are put into the source and, for reference, into the truth; both are processed again as before, and the change
that the lesion makes in the output is compared with the change that it makes in the truth.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import ndimage

from upfield.bids import sidecar
from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate import metrics
from upfield.evaluate.subject import load_prediction, seed_label
from upfield.files import digest, read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.image.transforms import Transform
from upfield.predict import outputs as predict
from upfield.preprocess.derivatives import excluded, scaling_of

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


def lesion_test(
    files: Mapping[str, str],
    predictions: Mapping[str, str],
    models: Mapping[str, Sequence[str]],
    network_inputs: Mapping[str, Sequence[str]],
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
    seed: int,
    run: predict.Inference,
) -> pd.DataFrame:
    """Every lesion of one test participant by every method; no rows if the pair was excluded.

    Parameters
    ----------
    files
        `source`, `source_mask`, `target`, `target_mask`: native, bias-corrected; `transform` and `inverse`;
        `source_preproc`, `target_preproc`; in a template's space `to_template` and `from_template`, those of the
        target.
    predictions, models, network_inputs
        By method: its output without lesions; the files of its models (for those that have any); its preprocessed
        source, a file for each contrast (for networks). The lesions are in the first contrast alone.
    seed
        Of the places.
    run
        How networks are run.

    Returns
    -------
    participant_id, method, fold, seed, lesion, radius_mm, contrast, x_mm, y_mm, z_mm
        Which lesion; its place in the target's world.
    truth_change, output_change
        Mean change of intensity in the core of the lesion (where at least half of it is), as a share of R, the data
        range of the truth.
    recovered
        output_change / truth_change: 1 if the output shows the lesion as the truth does, 0 if it was painted over,
        above 1 if it was exaggerated. That of `identity` is what the source itself lets through.
    elsewhere
        Root mean square change of the output farther than `GAP` mm from every lesion, as a share of R: what lesions
        change where there are none. The same for all lesions of a method.

    """
    if any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=LESIONS)
    target, brain = nifti.load(files["target"]), nifti.load_mask(files["target_mask"])
    data_range = metrics.reference_range(target.data, brain.data)
    lesions = place(brain, seed, participant)
    change = field(lesions, target.grid)
    cores = [lesion.profile(target.grid) >= 0.5 for lesion in lesions]
    far = brain.data.copy()
    for lesion in lesions:
        far &= _distance(target.grid, lesion.centre) > lesion.radius + GAP
    in_truth = target.data * change.data / data_range
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        altered = _altered(files, change, Path(folder))
        for method, path in predictions.items():
            output = str(Path(folder) / "output.nii.gz")
            if method in MODEL_FREE:
                predict.interpolate(method, SimpleNamespace(**altered, models=models.get(method, [])), output)
            else:
                first, *others = network_inputs[method]
                network_input = [_altered_input(first, files, altered, Path(folder)), *others]
                names = SimpleNamespace(**altered, models=models[method], network_input=network_input)
                predict.enhance(method, names, output, run)
            clean = load_prediction(path, target, files["target"])
            in_output = (load_prediction(output, target, files["target"]) - clean) / data_range
            elsewhere = float(np.sqrt(np.mean(np.square(in_output[far], dtype=np.float64)))) if far.any() else np.nan
            named = seed_label(seeds.get(method, []))
            for number, (lesion, core) in enumerate(zip(lesions, cores, strict=True), start=1):
                before, after = (float(part[core].mean(dtype=np.float64)) for part in (in_truth, in_output))
                who = [participant, method, fold, named, number, lesion.radius, lesion.contrast, *lesion.centre]
                rows.append([*who, before, after, after / before if before else np.nan, elsewhere])
    return pd.DataFrame(rows, columns=LESIONS)


def _altered(files: Mapping[str, str], change: Volume, folder: Path) -> dict[str, str]:
    """The files of a pair with a source that has the lesions."""
    source = insert(nifti.load(files["source"]), change, nifti.read_transform(files["inverse"]))
    nifti.save(source, folder / "source.nii.gz")
    return {**files, "source": str(folder / "source.nii.gz")}


def _altered_input(clean: str, files: Mapping[str, str], altered: Mapping[str, str], folder: Path) -> str:
    """A preprocessed source with the lesions: the clean one, plus what the lesions add, interpolated likewise.

    Preprocessing is linear once the two numbers of the normalisation are fixed, and those are kept.
    """
    before, after, known = nifti.load(files["source"]), nifti.load(altered["source"]), nifti.load(clean)
    added = after.with_data(after.data - before.data)
    moves = [nifti.read_transform(files[name]) for name in ("to_template", "transform") if name in files]
    moved = nifti.cut_out(added, known.grid, moves) or nifti.resample(added, known.grid, moves, order=3)
    scale = scaling_of(files["source_preproc"]).scale
    path = str(folder / "input.nii.gz")
    nifti.save(known.with_data((known.data + moved.data / scale).astype(np.float32)), path)
    # The landmarks of Nyúl's method stand in it: those of the clean image.
    write_json(sidecar(path), read_json(sidecar(clean)))
    return path


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
