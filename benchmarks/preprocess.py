"""Preprocessing of one pair against a plain script that calls ANTs with its defaults, on two cores.

    python benchmarks/preprocess.py <a T1w scan of a whole head>

The pair is made from the scan: at 1 mm, and at 1 mm again after a known turn and shift, each with noise of its own.
Both ways run in this one command, each from NIfTI files to NIfTI files:

- Upfield: brain extraction, N4, rigid registration, one interpolation, normalization; the two scans side by side, as
  `snakemake --cores 2` runs them;
- plain antspyx on two threads: `n4_bias_field_correction` of both, `registration(type_of_transform="Rigid")`, and two
  interpolations, source to target and target to source. No brain extraction, no normalization.

Printed are wall clock and processor seconds, and the mean distance in the brain between where the registration puts a
point and where it belongs. On a machine that does other things as well, trust the processor seconds.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

SETTINGS = {"spacing": 1.0, "normalize": {"method": "percentile"}}
SIDES = ("source", "target")
PLAIN = """
import sys
import ants
folder = sys.argv[1]
source, target = (ants.n4_bias_field_correction(ants.image_read(f"{folder}/{side}.nii.gz")) for side in SIDES)
found = ants.registration(target, source, type_of_transform="Rigid", random_seed=1, outprefix=f"{folder}/plain_")
ants.image_write(ants.apply_transforms(target, source, found["fwdtransforms"]), f"{folder}/plain_source.nii.gz")
ants.image_write(ants.apply_transforms(source, target, found["invtransforms"]), f"{folder}/plain_target.nii.gz")
"""


def make_pair(scan: str, folder: Path) -> np.ndarray:
    """Write source and target; returns the transform from the target's world to the source's, (4, 4)."""
    from upfield.image import nifti
    from upfield.phantom import anatomy

    head = nifti.reorient(nifti.load(scan))
    grid = nifti.regrid(head, 1.0)
    middle = (grid.affine @ np.append((np.array(grid.shape) - 1) / 2, 1.0))[:3]
    turn = np.eye(4)
    turn[:3, :3] = anatomy.rotation(np.array([5.0, -4, 6]))
    turn[:3, 3] = middle + np.array([4.0, -6, 5]) - turn[:3, :3] @ middle
    random = np.random.default_rng(0)
    for side, pose in (("source", turn), ("target", None)):
        moved = nifti.resample(head, grid, pose, order=3)
        noisy = moved.data + random.normal(0, 0.01 * np.percentile(moved.data, 99), moved.data.shape)
        nifti.save(moved.with_data(np.clip(noisy, 0, None).astype(np.float32)), folder / f"{side}.nii.gz")
    return np.linalg.inv(turn)


def prepare(folder: Path, side: str) -> None:
    """Mask and bias correction of one scan."""
    import torch
    from upfield.preprocess import bias, masks

    torch.set_num_threads(1)
    image, mask = str(folder / f"{side}.nii.gz"), str(folder / f"{side}_mask.nii.gz")
    masks.extract_brain(image, mask, {"method": "deepbet"})
    bias.correct_bias(image, mask, str(folder / f"{side}_corrected.nii.gz"), enabled=True)


def register(folder: Path) -> None:
    """Source onto target."""
    from upfield.preprocess.register import register as step

    source, target = ((str(folder / f"{s}_corrected.nii.gz"), str(folder / f"{s}_mask.nii.gz")) for s in SIDES)
    outputs = str(folder / "forward.txt"), str(folder / "inverse.txt")
    step(*source, *target, *outputs, {"transform": "rigid", "seed": 42})


def standardise(folder: Path, side: str) -> None:
    """One scan on the working grid."""
    from upfield.preprocess.standardize import standardize

    files = [str(folder / name) for name in (f"{side}_corrected.nii.gz", f"{side}_mask.nii.gz", "target_mask.nii.gz")]
    transform = str(folder / "forward.txt") if side == "source" else None
    standardize(*files, str(folder / f"{side}_T1w.nii.gz"), SETTINGS, transform)


def upfield(folder: Path) -> None:
    """The whole preprocessing of the pair, two processes at a time."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(prepare, [folder] * 2, SIDES))
        pool.submit(register, folder).result()
        list(pool.map(standardise, [folder] * 2, SIDES))


def plain(folder: Path) -> None:
    """The script that one would write first."""
    environment = os.environ | {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "2"}
    subprocess.run(
        [sys.executable, "-c", PLAIN.replace("SIDES", repr(SIDES)), str(folder)], check=True, env=environment
    )


def seconds(run: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """Wall clock and processor seconds, children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, before = time.monotonic(), used.ru_utime + used.ru_stime
    run(folder)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": time.monotonic() - started, "cpu_s": used.ru_utime + used.ru_stime - before}


def main() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = make_pair(sys.argv[1], folder)
        measured = {run.__name__: seconds(run, folder) for run in (upfield, plain)}
        from upfield.image import nifti, transforms
        from upfield.preprocess import registration

        mask = nifti.load_mask(folder / "target_mask.nii.gz")
        points = transforms.apply_matrix(mask.affine, np.argwhere(mask.data)[::97].T)
        found = {
            "upfield": nifti.read_transform(folder / "forward.txt"),
            "plain": registration.from_ants(next(folder.glob("plain_*GenericAffine.mat"))),
        }
        for way, transform in found.items():
            away = transforms.move(transform, points) - transforms.move(truth, points)
            measured[way]["error_mm"] = float(np.linalg.norm(away, axis=0).mean())
    for way, values in measured.items():
        print(way, json.dumps({key: round(value, 3) for key, value in values.items()}))
    for unit in ("wall_s", "cpu_s"):
        print(f"share of {unit}: {measured['upfield'][unit] / measured['plain'][unit]:.2f}")


if __name__ == "__main__":
    main()
