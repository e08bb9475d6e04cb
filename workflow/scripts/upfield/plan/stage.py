"""The stage `plan`: a method's plan for a fold, as a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.bids import sidecar
from upfield.catalogue.methods import facts
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.patches import usable
from upfield.plan import decide, device, fingerprint
from upfield.preprocess.derivatives import excluded
from upfield.step import step


@step(version=1, memory=(1500, 30), minutes=(1, 0.05))
def write_plan(
    train_stores: Sequence[str],
    sources: Sequence[str],
    targets: Sequence[str],
    plan: str,
    settings: Mapping[str, Any],
    train: Mapping[str, Any],
    job: int,
    cores: int,
    method: str,
    fold: str,
    grid: Mapping[str, Any] | None = None,
) -> None:
    """Write what a method is trained with in a fold.

    `train_stores` are patch stores of the training pairs, `sources` and `targets` their preprocessed images, `settings`
    the method's (those that are None are planned), `train` the study's block, `job` the bytes that a training without a
    card may hold, `cores` how many compute in it, and `grid` the working grid, where that was planned. Raises
    UpfieldError if memory does not suffice, or if no pair can be used.
    """
    stores = usable(train_stores)
    spacings = [nifti.load(path).grid.spacing for path in targets if excluded(path) is None]
    own = [read_json(sidecar(path)).get("NativeVoxelSize") for path in sources if excluded(path) is None]
    voxels = [voxel for voxel in own if voxel is not None]
    found = fingerprint.of(
        stores,
        np.median(spacings, axis=0).tolist(),
        np.median(voxels, axis=0).tolist() if voxels else None,
    )
    where = device.of(train["device"], train["memory"], cores, job, train["precision"], train["processes"])
    planned = decide.plan(found, where, settings, facts(method).defaults, train["hours"])
    write_json(plan, {"method": method, "fold": fold, **({"grid": grid} if grid else {}), **planned})
