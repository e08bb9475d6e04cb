"""Cells of the table `samples` that name no file as they stand: understood, or one clear line."""

from pathlib import Path

import numpy as np
import pytest
from upfield import bids
from upfield.bids.samples import read_samples
from upfield.image import nifti
from upfield.image.nifti import Volume


@pytest.fixture
def row(tmp_path, monkeypatch):
    """Write a table with one scan as its source, and return that scan, looked at, with why it cannot be used."""
    folder = tmp_path / "home" / "lab scans"
    data = np.random.default_rng(0).uniform(1, 100, (6, 7, 8)).astype(np.float32)
    nifti.save(Volume(data, np.eye(4)), folder / "a.nii.gz")
    (folder / "circle").symlink_to("circle")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "real.nii.gz").symlink_to("a.nii.gz")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def read(cell):
        table = folder / "samples.tsv"
        table.write_text(f"participant_id\tsource\n01\t{cell}\n")
        (scan,) = read_samples(table, {"source": "T1w"}, "converted")
        return scan if scan.problem else bids.inspect(scan)

    read.folder = folder
    return read


@pytest.mark.parametrize(
    "cell",
    [
        "a.nii.gz", "./a.nii.gz", "{folder}/a.nii.gz", "~/lab scans/a.nii.gz", "~//lab scans/a.nii.gz", "real.nii.gz",
        "file://{folder}/a.nii.gz", "file://{address}/a.nii.gz", "FILE://localhost{address}/a.nii.gz", r".\a.nii.gz",
        r"..\lab scans\a.nii.gz",
    ],
)  # fmt: skip
def test_cells_that_are_understood(row, cell):
    scan = row(cell.format(folder=row.folder, address=str(row.folder).replace(" ", "%20")))
    assert scan.problem == "" and scan.shape == (6, 7, 8)
    assert scan.path == str(row.folder / "a.nii.gz")


def test_a_folder_may_be_called_like_a_home(row):
    (row.folder / "~").mkdir()
    (row.folder / "a.nii.gz").rename(row.folder / "~/a.nii.gz")
    assert row("~/a.nii.gz").problem == ""


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("http://lab.org/a.nii.gz", "download"),
        ("https://lab.org/a.nii.gz?x=1", "download"),
        ("s3://bucket/a.nii.gz", "download"),
        ("gs://bucket/a b.nii.gz", "download"),
        ("sftp://user@host/a.nii.gz", "download"),
        ("file:///nowhere/a.nii.gz", "does not exist"),
        ("~/b.nii.gz", "does not exist"),
        ("~nobody-of-this-name/a.nii.gz", "nobody has here"),
        ("$HOME/lab scans/a.nii.gz", "$HOME"),
        ("$DATA/a.nii.gz", "write the path out"),
        ("%USERPROFILE%\\a.nii.gz", "write the path out"),
        ("a.nii.gz/b.nii.gz", "takes for a folder is a file"),
        ("circle", "leads back to itself"),
        ("one", "leads back to itself"),
        ("circle/a.nii.gz", "leads back to itself"),
        ("x" * 300 + ".nii.gz", "longer than the file system"),
        ("b.nii.gz", "does not exist"),
        ("/b.nii.gz", "does not exist"),
    ],
)
def test_cells_that_are_not_say_why(row, cell, words):
    problem = row(cell).problem
    assert words in problem and "\n" not in problem and len(problem) < 200, problem
    assert "cannot be read" not in problem


def test_scans_near_the_root_have_a_dataset():
    """Whose label it is goes by the dataset; a table may name a file that is less deep than BIDS has it."""
    scan = bids.Scan("sub-01", "source", "/a.nii.gz", "sub-01/ses-1/anat", "sub-01_ses-1", "T1w")
    assert scan.root == "/"
    assert bids.Scan("sub-01", "source", "/d/sub-01/anat/a.nii", "sub-01/anat", "sub-01", "T1w").root == str(Path("/d"))
