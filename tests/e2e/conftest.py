"""Running the workflow as a user would, from the repository's root, and a small dataset to run it on."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import ndimage
from upfield.image import nifti
from upfield.image.nifti import Grid, Volume
from upfield.phantom import anatomy

from tests import forked

ROOT = Path(__file__).resolve().parents[2]
# Studies of tests share a working folder and no output. A Snakemake that ends removes the folder of all locks there,
# and another that is about to write its own would fail.
ALONE = ("--nocolor", "--nolock")


def run_snakemake(*arguments: str, here: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Snakemake with two cores, or all steps in one process; output and errors come back together."""
    if here or "--dry-run" in arguments:
        cores = [] if here else ["--cores", "2"]
        return forked.run([*cores, *ALONE, *arguments], ROOT, together=True, here=here, timeout=1500)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *ALONE, *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500)


def bids_errors(root: Path) -> list[str]:
    """What the BIDS validator calls an error in a dataset; skips where there is no validator."""
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([validator, "--json", str(root)], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [f"{row['code']} {row.get('location', '')}" for row in issues if row.get("severity") == "error"]


class Study:
    """A configuration in a file and the ways to run it."""

    def __init__(self, folder: Path, config: dict) -> None:
        # One thread: tests run side by side.
        train = {"threads": 1, **config.get("train", {})}
        self.config = config | {"output_dir": str(folder / "results"), "train": train}
        self.file = folder / "study.yaml"
        self.root = folder / "results" / config["study"]
        self.write()

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config))

    def run(self, *arguments: str, here: bool = False) -> str:
        done = run_snakemake("--configfile", str(self.file), *arguments, here=here)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> Counter[str]:
        """Jobs by rule that a dry run would start; empty if there is nothing to do."""
        output = self.run("--dry-run", *arguments)
        counts = re.search(r"Job stats:\n.*?\n-+.*?\n(.*?)\ntotal", output, re.S)
        if counts is None:
            assert "Nothing to be done" in output, output[-3000:]
            return Counter()
        return Counter({line.split()[0]: int(line.split()[1]) for line in counts.group(1).splitlines()})


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Callable[[dict], Study]:
    """Make a study with its own output folder."""
    return lambda config: Study(tmp_path_factory.mktemp(config["study"]), config)


def head(number: int, grid: Grid, contrast: float, alike: bool = False, texture_of: int | None = None) -> Volume:
    """A textured ball of 74 mm (212 cm3) in the world, the same on any grid; `contrast` bends its intensities.

    With `alike` all numbers have the same texture, each around a centre of its own; or it is that of `texture_of`.
    """
    random = np.random.default_rng(0 if alike else number if texture_of is None else texture_of)
    texture = ndimage.gaussian_filter(random.normal(size=(48, 48, 48)), 2.5)
    fine = Volume((texture / np.abs(texture).max()).astype(np.float32), np.diag([2.0, 2, 2, 1]))
    fine.affine[:3, 3] = -47 + number
    moved = nifti.resample(fine, grid)
    where = np.tensordot(grid.affine[:3, :3], np.indices(grid.shape), axes=1) + grid.affine[:3, 3][:, None, None, None]
    inside = np.sqrt(((where - number) ** 2).sum(0)) < 37
    return moved.with_data(np.where(inside, 400 + 300 * np.tanh(contrast * moved.data), 0).astype(np.float32))


def grid_of(number: int, spacing: tuple[float, float, float], flip: bool) -> Grid:
    shape = np.ceil(96 / np.array(spacing)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = anatomy.rotation(np.array([5.0, -8 + number, 12])) @ np.diag(
        np.array(spacing) * [1 - 2 * flip, 1, 1]
    )
    affine[:3, 3] = number - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def write_balls(data: Path, people: int, first: int = 1, t2w: bool = False, alike: bool = False) -> Path:
    """Write a BIDS dataset of so many participants: balls in a poor session `low` and a good session `high`.

    With `t2w` the poor session has a second, inverted contrast on a grid of its own, all but the last participant's.
    With `alike` all have one anatomy.
    """
    data.mkdir(exist_ok=True)
    (data / "dataset_description.json").write_text(json.dumps({"Name": "Balls", "BIDSVersion": "1.10.0"}))
    for number in range(first, first + people):
        for session, spacing, contrast in (("low", (2.5, 2.5, 4.0), 0.5), ("high", (2.0, 2.5, 2.5), 2.0)):
            path = data / f"sub-{number:02d}/ses-{session}/anat/sub-{number:02d}_ses-{session}_T1w.nii.gz"
            nifti.save(head(number, grid_of(number, spacing, session == "high"), contrast, alike), path)
        if t2w and number < first + people - 1:
            path = data / f"sub-{number:02d}/ses-low/anat/sub-{number:02d}_ses-low_T2w.nii.gz"
            nifti.save(head(number, grid_of(number, (4.0, 2.5, 2.5), True), -1.5, alike), path)
    return data


def small_study(data: Path, results: str, spacing: float, per_volume: int) -> dict:
    """The configuration of a study of three balls, `unet3d` alone, as far as it is the same whoever runs it."""
    return {
        "study": "small",
        "output_dir": results,
        "source": {"bids_dir": str(data), "entities": {"session": "low"}},
        "target": {"bids_dir": str(data), "entities": {"session": "high"}},
        "preprocess": {
            "spacing": spacing, "n4": False, "brain": {"method": "none"}, "registration": {"transform": "none"},
        },
        "splits": {"fractions": {"train": 0.34, "val": 0.33, "test": 0.33}},
        "patches": {"size": 16, "per_volume": per_volume, "per_volume_val": 2},
        "evaluate": {"regions": False, "segmentation": False, "audit": False},
    }  # fmt: skip


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Callable[..., Path]:
    """Write balls into a folder of their own."""
    return lambda *people, **options: write_balls(tmp_path_factory.mktemp("bids"), *people, **options)
