import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from upfield import files, phantom
from upfield.errors import UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.phantom import anatomy, scanner

SETTINGS = phantom.Phantom(subjects=2, spacing=3.0)


@pytest.fixture(scope="module")
def subject():
    return phantom.simulate(0, SETTINGS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    phantom.write_dataset(root, SETTINGS)
    for index in range(SETTINGS.subjects):
        phantom.write_subject(root, index, SETTINGS)
    return root


@pytest.fixture(scope="module")
def aligned(subject):
    """The 64 mT image on the grid of the 3 T image, moved by the true displacement."""
    return nifti.resample(subject.low, subject.high.grid, subject.displacement).data


def correlation(one, two, mask):
    return np.corrcoef(one[mask], two[mask])[0, 1]


def test_scans_are_exactly_the_images_written(dataset):
    written = {path.relative_to(dataset) for path in dataset.rglob("*.nii.gz")}
    assert written == set(phantom.scans(SETTINGS))
    assert phantom.scans(SETTINGS)[0] == Path("sub-01/ses-64mT/anat/sub-01_ses-64mT_T1w.nii.gz")
    assert not list(dataset.rglob(".tmp*"))
    assert max(path.stat().st_size for path in dataset.rglob("*.nii.gz")) < 2e6


def test_simulation_repeats_itself_and_is_what_is_written(dataset, subject, tmp_path):
    for volume, scan in zip((subject.low, subject.high), phantom.scans(SETTINGS), strict=False):
        nifti.save(volume, tmp_path / "again.nii.gz", dtype=np.int16)
        assert (tmp_path / "again.nii.gz").read_bytes() == (dataset / scan).read_bytes()


def test_subjects_and_seeds_differ(dataset, subject):
    other = nifti.load(dataset / phantom.scans(SETTINGS)[3])
    assert not np.allclose(other.affine, subject.high.affine)
    # Compared on one grid: it is not only the position of the slices that differs.
    moved = nifti.resample(other, subject.high.grid).data
    assert correlation(moved, subject.high.data, subject.brain.data > 0) < 0.9
    fields = [anatomy.warp(np.random.default_rng([seed, 0, 0]))[:, ::16, ::16, ::16] for seed in (42, 43)]
    assert np.abs(fields[0] - fields[1]).max() > 3


@pytest.mark.parametrize("index", [0, 1, 2])
def test_warp_is_invertible(index):
    field = anatomy.warp(np.random.default_rng([SETTINGS.seed, index, 0]))[:, ::3, ::3, ::3]
    jacobian = np.stack([np.stack(np.gradient(component, 3.0), axis=-1) for component in field], axis=-2)
    determinant = np.linalg.det(jacobian)
    assert determinant.min() > 0.3
    assert determinant.std() > 0.01  # not merely an affine change


def test_displacement_is_rigid_and_not_zero(subject):
    turn = subject.displacement[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    angle = np.rad2deg(np.arccos((np.trace(turn) - 1) / 2))
    centre = np.append(anatomy.CENTRE, 1.0)
    assert 1 < angle < 10
    assert 1 < np.linalg.norm((subject.displacement @ centre - centre)[:3]) < 10
    np.testing.assert_array_equal(subject.displacement[3], [0, 0, 0, 1])


def test_displacement_aligns_the_two_sessions(subject, aligned):
    near = subject.labels.data > 0
    unmoved = nifti.resample(subject.low, subject.high.grid).data
    wrong_way = nifti.resample(subject.low, subject.high.grid, np.linalg.inv(subject.displacement)).data
    right = correlation(aligned, subject.high.data, near)
    assert right > correlation(unmoved, subject.high.data, near) + 0.1
    assert right > correlation(wrong_way, subject.high.data, near) + 0.1


def test_contrast_depends_on_the_field(subject, aligned):
    def mean(image, tissue):
        return np.median(image[subject.labels.data == 1 + anatomy.TISSUES.index(tissue)])

    def ratio(image, tissue):
        return mean(image, tissue) / mean(image, "white matter")

    assert ratio(subject.high.data, "csf") < ratio(subject.high.data, "grey matter") < 0.85
    assert ratio(subject.high.data, "grey matter") + 0.05 < ratio(aligned, "grey matter") < 1
    assert ratio(subject.high.data, "fat") > 1.3


def test_flash_signal_by_hand():
    protocol = scanner.Scanner("", 3.0, 1.0, 0.0, 90, snr=1, bias=0, voxel=lambda spacing: (spacing,) * 3)
    # At 90 degrees only saturation recovery is left: 1 - exp(-TR / T1).
    signal = scanner.flash(protocol, np.array([2.0]), np.array([1.0]), np.array([1.0]))
    np.testing.assert_allclose(signal, 2 * (1 - np.exp(-1)))


def test_noise_is_rician():
    air = Volume(np.zeros((40, 40, 40), np.float32), np.eye(4))
    data = scanner.acquire(air, scanner.SCANNERS["64mT"], np.random.default_rng(0)).data
    assert data.min() >= 0
    # In air a magnitude follows Rayleigh's law: mean / standard deviation = sqrt(pi / (4 - pi)).
    assert data.mean() / data.std() == pytest.approx(1.913, rel=0.02)


def test_brain_and_labels_are_plausible(subject):
    voxel = abs(np.linalg.det(subject.brain.affine[:3, :3])) / 1e6
    assert 1.3 < subject.brain.data.sum() * voxel < 2.3  # litres, ventricles and sulci included
    assert set(np.unique(subject.labels.data)) == set(range(7))
    inside = subject.labels.data[subject.brain.data > 0]
    assert np.isin(inside, [1, 2, 3]).mean() > 0.98
    assert np.abs(subject.high.affine[:3, :3] / SETTINGS.spacing - np.eye(3)).max() > 0.01  # oblique


def test_grids_follow_the_settings(subject):
    np.testing.assert_allclose(subject.high.grid.spacing, 3.0)
    np.testing.assert_allclose(subject.low.grid.spacing, [2, 2, 5])


def test_sidecars_and_participants(dataset):
    for scan in phantom.scans(SETTINGS):
        sidecar = files.read_json(dataset / str(scan).replace(".nii.gz", ".json"))
        assert sidecar["MagneticFieldStrength"] == (0.064 if "64mT" in str(scan) else 3.0)
        assert sidecar["Manufacturer"] == "Upfield phantom"
        assert 0 < sidecar["EchoTime"] < sidecar["RepetitionTime"] < 1
        assert 0 < sidecar["FlipAngle"] <= 90
    table = files.read_tsv(dataset / "participants.tsv")
    assert list(table["participant_id"]) == ["sub-01", "sub-02"]
    assert "PHANTOM" in files.read_json(dataset / "dataset_description.json")["Name"]
    readme = (dataset / "README").read_text()
    assert "SIMULATED" in readme and "Permission to use, copy, modify" in " ".join(readme.split())


def test_dataset_is_valid_bids(dataset):
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    result = subprocess.run([validator, str(dataset)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert not re.search(r"\[ERROR\]", result.stdout)


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"seed": -1}, {"spacing": 0.5}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(UpfieldError, match=next(iter(wrong))):
        phantom.Phantom(**wrong)


def test_fields_of_3_and_7_tesla():
    pair = phantom.simulate(0, phantom.Phantom(subjects=1, spacing=4.0, fields=["3T", "7T"]))
    np.testing.assert_allclose(pair.low.grid.spacing, 6.0)
    np.testing.assert_allclose(pair.high.grid.spacing, 4.0)
    # T1 grows with the field: at 7 T white and grey matter recover less of their magnetisation.
    densities = np.ones(6)
    at = {
        field: scanner.flash(scanner.SCANNERS["3T"], densities, scanner.T1[field], np.full(6, np.inf))[:2]
        for field in (3.0, 7.0)
    }
    assert (at[7.0] < at[3.0]).all()


@pytest.mark.parametrize("fields", [["3T", "64mT"], ["3T", "3T"], ["3T"], ["3T", "1.5T"]])
def test_fields_are_two_the_lower_first(fields):
    with pytest.raises(UpfieldError, match="expected two of 64mT, 3T, 7T, the lower first"):
        phantom.Phantom(fields=fields)
