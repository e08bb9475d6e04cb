"""Data: heads that are made, or given as NIfTI, and the patch stores of both with a simulated low field."""

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from upfield.errors import UpfieldError
from upfield.files import read_yaml
from upfield.image import nifti
from upfield.image.intensity import robust_range
from upfield.image.nifti import Array, Scale, Volume
from upfield.patches import write_store
from upfield.preprocess.grid import SOURCE_MARGIN, normalized, working_grid
from upfield.simulation.degradation import degrade
from upfield.study import config

from gpubench.bench import Bench

# Half axes of the brain and of the head in mm, and the field of view.
BRAIN, HEAD, VIEW = (66.0, 82.0, 62.0), (78.0, 96.0, 82.0), (168.0, 204.0, 176.0)
# Coarse sources of the super-resolution methods: scale and how they are reduced.
REDUCED: Mapping[Scale, Mapping[str, Any]] = {
    (4, 4, 4): {"kind": "gaussian", "factor": 4, "blur": 0.5, "seed": 42},
    (4, 4, 1): {"kind": "inplane", "factor": 4, "seed": 42},
}
# More are not needed, and take time to prepare.
MOST_HEADS = 40
# To train, to validate and to test.
LEAST_HEADS = 3
MASK = "_desc-brain_mask.nii.gz"


def run(bench: Bench) -> None:
    """Write for each head its store, and target, source and mask as images, into the work folder."""
    form, folder = bench.form, bench.job.work
    given = [] if bench.job.data is None else found_in(bench.job.data)
    jobs: list[tuple[Any, ...]] = [(path, folder, form.spacing) for path in given] or [
        (seed, folder, form.spacing) for seed in range(form.heads)
    ]
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    # Nothing has touched the GPU in this process, so that it may be forked.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"))
    waiting = [pool.submit(_prepared, *job) for job in jobs]
    wait(waiting, timeout=max(bench.left(), 0))
    # What is not ready when the part's time is over is left out; the runner ends its processes.
    pool.shutdown(wait=False, cancel_futures=True)
    done = [future.result() for future in waiting if future.done() and not future.cancelled()]
    if len(done) < LEAST_HEADS:
        raise UpfieldError(f"{len(done)} of {len(jobs)} heads were ready in time; expected {LEAST_HEADS} at least")
    if len(done) < len(jobs):
        bench.left_out(f"{len(jobs) - len(done)} heads", "no time left")
    kind = "made" if not given else "given, low field simulated"
    bench.found(
        f"{len(done)} heads {kind}", spacing_mm=form.spacing, grid=list(done[0][1]),
        brains_from_masks=sum(known for _, _, known in done), heads=[name for name, _, _ in done] if given else "none",
    )  # fmt: skip


def found_in(folder: Path) -> list[Path]:
    """Heads in a folder, in order. Raises UpfieldError if there are fewer than three: to train, validate and test."""
    paths = sorted(path for ending in ("*.nii", "*.nii.gz") for path in folder.rglob(ending))
    heads = [path for path in paths if "_mask.nii" not in path.name][:MOST_HEADS]
    if len(heads) < LEAST_HEADS:
        raise UpfieldError(f"--data {folder} holds {len(heads)} NIfTI heads; expected {LEAST_HEADS} at least")
    return heads


def stores(folder: Path) -> list[str]:
    """The stores that `run` wrote, in order. Raises UpfieldError if it wrote too few."""
    found = sorted(str(path) for path in folder.glob("head-*.safetensors"))
    if len(found) < LEAST_HEADS:
        raise UpfieldError("the part `heads` made no data for this one")
    return found


def parts_of(folder: Path) -> dict[str, list[str]]:
    """The stores to train with, to validate with and to test with: all but the last two, and one each."""
    *train, val, test = stores(folder)
    return {"train": train, "val": [val], "test": [test]}


def _prepared(head: Path | int, folder: Path, spacing: float) -> tuple[str, tuple[int, ...], bool]:
    """One head, which is a file or the seed of one to make; its name, its grid, and whether it had a mask."""
    known = True
    if isinstance(head, int):
        volume, mask = make_head(head, spacing)
        name = f"{head:03d}"
    else:
        volume = nifti.reorient(nifti.load(head))
        name = head.name.split(".")[0]
        beside = head.with_name(name.rsplit("_", 1)[0] + MASK)
        known = beside.is_file()
        mask = nifti.reorient(nifti.load_mask(beside)).data if known else whole_head(volume.data)
        if min(volume.grid.spacing) < 0.75 * spacing:
            # Nothing finer than the form's voxels is looked at, and a whole head takes long.
            grid = nifti.regrid(volume, spacing)
            volume, mask = nifti.resample(volume, grid), nifti.mask_on(volume.with_data(mask), grid)
    _store(volume, mask, folder, name, spacing)
    return name, volume.data.shape, known


def whole_head(data: Array) -> Array:
    """What is brighter than air, without holes, the largest piece: where there is no mask of the brain."""
    low, high = np.percentile(data, (1, 99))
    bright = ndimage.binary_opening(data > low + 0.12 * (high - low))
    pieces, count = ndimage.label(bright)
    if not count:
        raise UpfieldError("no head was found: expected an image that is brighter inside than around it")
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(pieces == largest))


def make_head(seed: int, spacing: float) -> tuple[Volume, Array]:
    """A head of ellipsoids with folds, ventricles, texture and scalp, T1-weighted, and its brain; of nobody."""
    random = np.random.default_rng([seed, 77])
    shape = tuple(int(-(-view // spacing)) for view in VIEW)
    axes = [(np.arange(n) - (n - 1) / 2) * spacing for n in shape]
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    size = random.uniform(0.95, 1.05, 3)

    def radius(half: tuple[float, float, float]) -> Array:
        return np.sqrt(sum((at / (h * s)) ** 2 for at, h, s in zip((x, y, z), half, size, strict=True)))

    phase = random.uniform(0, 2 * np.pi, 6)
    folds = np.sin(x / 4.5 + phase[0]) * np.sin(y / 5 + phase[1]) + np.sin(z / 4 + phase[2]) * np.sin(y / 6 + phase[3])
    depth, head = radius(BRAIN), radius(HEAD)
    brain = depth < 1
    data = np.where(head < 1, 0.75, 0.0)
    data[(head < 0.93) & ~brain] = 0.12
    data[brain] = 0.55
    data[brain & (depth + 0.05 * folds < 0.86)] = 0.9
    data[brain & (depth + 0.03 * folds > 0.965)] = 0.25
    for side in (-1, 1):
        ventricle = ((x - side * 11) / 7) ** 2 + (y / 27) ** 2 + ((z - 8) / 9) ** 2 < 1
        data[ventricle] = 0.22
    noise = ndimage.gaussian_filter(random.normal(0, 1, shape), 1.2 / spacing)
    data = ndimage.gaussian_filter(data, 0.5) * (1 + 0.05 * noise / noise.std())
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return Volume((1000 * np.clip(data, 0, None)).astype(np.float32), affine), brain


def _store(volume: Volume, mask: Array, folder: Path, name: str, spacing: float) -> None:
    """Target, simulated sources and mask on one working grid, by the library's preprocessing."""
    simulate = read_yaml(config.ROOT / "config" / "config.yaml")["simulate"]
    inside = volume.with_data(mask)
    # Multiples of 4, so that what super-resolution methods are shown covers whole blocks.
    grid = working_grid(inside, spacing, (4, 4, 4))
    target, scaling = normalized(volume, mask, grid, None, "percentile")
    low = degrade(volume, simulate, name)
    source = _normalized(low, inside, grid)
    reduced = {}
    for scale, how in REDUCED.items():
        reduced[scale] = _normalized(degrade(volume, how, name), inside, nifti.coarsen(grid, scale)).data
    bottom, top = robust_range(volume.data, mask)
    brain = nifti.mask_on(inside, grid)
    path = folder / f"head-{name}.safetensors"
    # For the baselines: the scan as the low field gave it, the place it is interpolated to, and what it should be.
    nifti.save(low, folder / f"head-{name}_low.nii.gz")
    nifti.save(target, folder / f"head-{name}_target.nii.gz")
    nifti.save(target.with_data(brain.astype(np.uint8)), folder / f"head-{name}_mask.nii.gz", np.uint8)
    # Last: a head with a store is complete.
    write_store(path, source.data, target.data, brain, (top - bottom) / scaling.scale, reduced)


def _normalized(image: Volume, brain: Volume, grid: nifti.Grid) -> Volume:
    """A simulated scan on a grid, normalized by the brain, which is where it was in the scan it was made from."""
    inside = nifti.mask_on(brain, image.grid)
    return normalized(image, inside, grid, None, "percentile", SOURCE_MARGIN)[0]
