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
from upfield.preprocess import registration
from upfield.preprocess.average import average, combine


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


def test_an_acquisition_that_is_not_there_now_is_not_left_out_for_ever(acquire, tmp_path, refused, monkeypatch):
    # Both lie where they were acquired: that registrations find poses is tested above.
    monkeypatch.setattr(registration, "register", lambda *_: (np.eye(4), np.eye(4)))
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


# -- thick stacks ----------------------------------------------------------------------------------------------------


MOTION = {0: rigid((3, -2, 2), (2, -1, 2)), 1: rigid((-2, 3, 1), (1, 2, -2)), 2: np.eye(4)}


@pytest.fixture
def cut(head, tmp_path, monkeypatch):
    """Write stacks of the phantom, thick along one axis each, after a motion of the head; registration knows it.

    That registrations find motions is tested where they are, and above.
    """
    motions = {}

    def write(axis, thickness=6.0, gain=1.0):
        spacing = [2.0, 2.0, 2.0]
        spacing[axis] = thickness
        # Slices are turned against each other as well.
        turned = Grid(head.high.grid.shape, rigid((2 * axis, 3 - axis, 1), (0, 0, 0)) @ head.high.affine)
        fine = nifti.resample(head.high, turned, np.eye(4), order=3)
        stack = nifti.resample(fine, nifti.regrid(fine, tuple(spacing)), order=1)
        noise = np.random.default_rng(axis).normal(0, 3, stack.data.shape)
        data = (gain * (stack.data + noise)).clip(0).astype(np.float32)
        path = tmp_path / f"sub-01_acq-{'xyz'[axis]}_T2w.nii.gz"
        nifti.save(nifti.Volume(data, MOTION[axis] @ stack.affine), path)
        motions[data.shape] = MOTION[axis]
        return str(path)

    def known(first, other, transform, seed):
        matrix = motions.get(other.data.shape, np.eye(4))
        return matrix, np.linalg.inv(matrix)

    monkeypatch.setattr(registration, "register", known)
    return write


def brain_error(head, path):
    made = nifti.load(path)
    inside = head.brain.data > 0
    moved = nifti.resample(made, head.high.grid, order=3).data
    return float(np.sqrt(np.mean((moved - head.high.data)[inside] ** 2)))


def test_stacks_cut_along_three_axes_have_the_detail_of_each(head, cut, tmp_path):
    stacks = [cut(2), cut(0, gain=2.0), cut(1)]
    errors = {}
    for name, images in (("one", stacks[:1]), ("all", stacks)):
        combine(images, str(tmp_path / f"{name}.nii.gz"), seed=42)
        errors[name] = brain_error(head, tmp_path / f"{name}.nii.gz")
    average(stacks, str(tmp_path / "mean.nii.gz"), seed=42)
    made = nifti.load(tmp_path / "all.nii.gz")
    np.testing.assert_allclose(made.grid.spacing, 2.0)
    assert errors["all"] < 0.6 * errors["one"]
    assert errors["all"] < 0.8 * brain_error(head, tmp_path / "mean.nii.gz")
    inside = nifti.mask_on(head.brain, made.grid)
    assert made.data[inside].mean() == pytest.approx(head.high.data[head.brain.data > 0].mean(), rel=0.02)
    assert made.data.min() >= 0
    facts = read_json(sidecar(tmp_path / "all.nii.gz"))
    assert facts["Averaged"] == 3 and [Path(path).name for path in facts["Sources"]] == [Path(p).name for p in stacks]


@pytest.mark.parametrize("make", [average, combine])
def test_skull_stripped_acquisitions_stay_so(head, cut, tmp_path, make):
    stacks = [cut(2), cut(0), cut(1)]
    for path, axis in zip(stacks, (2, 0, 1), strict=True):
        stack = nifti.load(path)
        # Before the motion that the stack was acquired after.
        still = Grid(stack.grid.shape, np.linalg.inv(MOTION[axis]) @ stack.affine)
        inside = nifti.mask_on(head.brain, still)
        nifti.save(stack.with_data(np.where(inside, stack.data, 0)), path)
    make(stacks, str(tmp_path / "made.nii.gz"), seed=42)
    made = nifti.load(tmp_path / "made.nii.gz")
    brain, found = nifti.mask_on(head.brain, made.grid), made.data != 0
    assert 2 * (brain & found).sum() / (brain.sum() + found.sum()) > 0.95


def test_a_stack_that_is_no_head_is_left_out_and_changes_nothing(head, cut, tmp_path):
    stacks = [cut(2), cut(0)]
    noise = np.random.default_rng(0).normal(100, 30, (30, 30, 30)).astype(np.float32)
    other = str(tmp_path / "sub-01_acq-noise_T2w.nii.gz")
    nifti.save(nifti.Volume(noise, np.diag([3.0, 3, 3, 1])), other)
    combine([*stacks, other], str(tmp_path / "with.nii.gz"), seed=42)
    combine(stacks, str(tmp_path / "without.nii.gz"), seed=42)
    facts = read_json(sidecar(tmp_path / "with.nii.gz"))
    assert facts["Averaged"] == 2 and "expected at least 0.8" in facts["LeftOut"]["sub-01_acq-noise_T2w.nii.gz"]
    one, two = (nifti.load(tmp_path / f"{name}.nii.gz") for name in ("with", "without"))
    assert one.grid.matches(two.grid)
    np.testing.assert_array_equal(one.data, two.data)


def test_one_stack_alone_keeps_its_intensities(head, cut, tmp_path):
    path = cut(2, thickness=4.0)
    combine([path], str(tmp_path / "one.nii.gz"), seed=42)
    made, thick = nifti.load(tmp_path / "one.nii.gz"), nifti.load(path)
    back = nifti.resample(made, thick.grid, order=1)
    core = nifti.mask_on(head.brain, thick.grid)
    assert np.corrcoef(back.data[core], thick.data[core])[0, 1] > 0.99
    assert back.data[core].mean() == pytest.approx(thick.data[core].mean(), rel=0.01)
