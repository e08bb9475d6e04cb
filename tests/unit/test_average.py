"""Several acquisitions of one head as one scan."""

from pathlib import Path

import numpy as np
import pytest
from upfield.bids import sidecar
from upfield.errors import PassingError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Grid
from upfield.phantom import anatomy
from upfield.preprocess.average import average


def rigid(degrees, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = anatomy.rotation(np.array(degrees))
    matrix[:3, 3] = anatomy.CENTRE + np.array(shift) - matrix[:3, :3] @ anatomy.CENTRE
    return matrix


@pytest.fixture
def acquire(head, tmp_path):
    """Write one more acquisition of the phantom: another pose, gain and noise of its own."""

    def write(number, pose, gain=1.0, noise=12.0):
        grid = Grid(head.high.grid.shape, pose @ head.high.affine)
        image = nifti.resample(head.high, grid, np.eye(4), order=3)
        noisy = image.data + np.random.default_rng(number).normal(0, noise, image.data.shape)
        path = tmp_path / f"sub-01_run-{number}_T1w.nii.gz"
        nifti.save(image.with_data((gain * noisy).astype(np.float32)), path)
        return str(path)

    return write


def test_the_mean_of_two_has_less_noise_and_lies_on_the_first(head, acquire, tmp_path):
    runs = [acquire(1, np.eye(4)), acquire(2, rigid((4, -3, 2), (3, -2, 4)), gain=3.0)]
    output = tmp_path / "sub-01_desc-average_T1w.nii.gz"
    average(runs, output, seed=42)
    made, one = nifti.load(output), nifti.load(runs[0])
    assert made.grid.matches(head.high.grid)
    inside = head.brain.data > 0
    left = [np.abs(image.data - head.high.data)[inside].mean() for image in (made, one)]
    # Half the variance would be 0.71 of the noise; what interpolation blurs comes on top or below.
    assert left[0] < 0.85 * left[1]
    assert made.data[inside].mean() == pytest.approx(head.high.data[inside].mean(), rel=0.02)
    facts = read_json(sidecar(output))
    assert facts["Averaged"] == 2 and len(facts["Sources"]) == 2 and "LeftOut" not in facts


def test_what_is_no_acquisition_of_this_head_is_left_out(acquire, tmp_path):
    runs = [acquire(1, np.eye(4)), acquire(2, np.eye(4), noise=4000.0), str(tmp_path / "sub-01_run-3_T1w.nii.gz")]
    Path(runs[2]).write_bytes(b"broken")
    output = tmp_path / "sub-01_desc-average_T1w.nii.gz"
    average(runs, output, seed=42)
    facts = read_json(sidecar(output))
    assert facts["Averaged"] == 1
    assert "expected at least 0.8" in facts["LeftOut"]["sub-01_run-2_T1w.nii.gz"]
    assert "cannot be read" in facts["LeftOut"]["sub-01_run-3_T1w.nii.gz"]
    np.testing.assert_array_equal(nifti.load(output).data, nifti.load(runs[0]).data)


def test_an_acquisition_that_is_not_there_now_is_not_left_out_for_ever(acquire, tmp_path, refused):
    runs = [acquire(1, np.eye(4)), acquire(2, np.eye(4))]
    output, away = tmp_path / "sub-01_desc-average_T1w.nii.gz", Path(runs[1]).rename(tmp_path / "away.nii.gz")
    with refused(runs[1], "not there", "run the same command again", kind=PassingError):
        average(runs, output, seed=42)
    assert not output.exists() and not sidecar(output).exists()
    away.rename(runs[1])
    average(runs, output, seed=42)
    assert read_json(sidecar(output))["Averaged"] == 2


def test_an_excluded_first_acquisition_excludes_the_mean(acquire, tmp_path):
    run, output = acquire(1, np.eye(4)), tmp_path / "sub-01_desc-average_T1w.nii.gz"
    write_json(sidecar(run), {"Excluded": "dcm2niix made 0 images"})
    average([run], output, seed=42)
    assert read_json(sidecar(output))["Excluded"] == "dcm2niix made 0 images"
