"""Travelling heads: one anatomy seen by several simulated scanners, with its truth beside it."""

import numpy as np
import pytest
from click.testing import CliRunner
from upfield.commands.heads import heads
from upfield.errors import UpfieldError
from upfield.files import digest, read_json
from upfield.image import nifti
from upfield.phantom import travelling
from upfield.simulation import labels

from tests.unit.test_redraw import label_map


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("travelling")
    maps = [label_map(folder / f"map-{number}.nii.gz", shift) for number, shift in ((1, 0), (2, 4))]
    return folder, maps, travelling.write(maps, folder / "out", ["A", "C", "D"], seed=1)


def truth_of(folder, participant):
    """The image and the brain mask of a head."""
    start = f"{folder}/out/derivatives/truth/{participant}/anat/{participant}_desc"
    return nifti.load(f"{start}-truth_T1w.nii.gz"), nifti.load_mask(f"{start}-brain_mask.nii.gz")


def test_every_scanner_sees_the_same_head_in_the_same_place(written):
    folder, _, scans = written
    assert len(scans) == 6
    for scan in scans:
        participant = scan.name.split("_")[0]
        truth, mask = truth_of(folder, participant)
        seen = nifti.resample(nifti.load(scan), truth.grid, order=1).data
        assert np.corrcoef(seen[mask.data], truth.data[mask.data])[0, 1] > 0.6, scan.name
        shifted = np.roll(seen, 4, axis=0)
        assert (
            np.corrcoef(shifted[mask.data], truth.data[mask.data])[0, 1]
            < np.corrcoef(seen[mask.data], truth.data[mask.data])[0, 1]
        )


def test_scanners_differ_as_they_should(written):
    folder, _, _ = written
    scans = {name: nifti.load(folder / f"out/sub-01/ses-{name}/anat/sub-01_ses-{name}_T1w.nii.gz") for name in "ACD"}
    assert scans["C"].grid.spacing[2] > 4 and scans["A"].grid.spacing.max() < 1.6
    assert (
        np.percentile(scans["C"].data, 99)
        > 1.5 * np.percentile(scans["A"].data, 99)
        > 3 * np.percentile(scans["D"].data, 99)
    )
    sidecar = read_json(folder / "out/sub-01/ses-D/anat/sub-01_ses-D_T1w.json")
    assert sidecar["MagneticFieldStrength"] == 0.055 and "not a scan of a person" in sidecar["ImageComments"]
    assert "SIMULATED" in (folder / "out/README").read_text()


def test_the_truth_is_what_the_map_says(written):
    folder, maps, _ = written
    tissues = nifti.load_labels(folder / "out/derivatives/truth/sub-02/anat/sub-02_desc-tissues_dseg.nii.gz")
    given = labels.indices(nifti.load_labels(maps[1]).data)
    assert (tissues.data > 0).sum() == (given > 0).sum()
    truth, mask = truth_of(folder, "sub-02")
    means = [truth.data[tissues.data == labels.NAMES.index(name)].mean() for name in ("white matter", "cortex")]
    assert means[0] > means[1] + 50, "T1-weighted"
    assert np.array_equal(mask.data, labels.brain(tissues.data))


def test_nothing_is_far_from_the_brain(tmp_path, monkeypatch):
    monkeypatch.setattr(travelling, "AROUND", 1.0)
    travelling.write([label_map(tmp_path / "map.nii.gz")], tmp_path / "out", ["A"], seed=1)
    truth, mask = truth_of(tmp_path, "sub-01")
    assert not truth.data[~nifti.dilated(mask, 7.0)].any()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(written, tmp_path):
    _, maps, scans = written
    for seed, same in ((1, True), (2, False)):
        again = travelling.write(maps[:1], tmp_path / str(seed), ["D"], seed)[0]
        mine = next(scan for scan in scans if scan.name == again.name)
        assert (digest(again) == digest(mine)) is same


def run(*arguments):
    return CliRunner().invoke(heads, list(map(str, arguments)))


def test_the_command_takes_folders_and_names_what_is_wrong(tmp_path):
    (tmp_path / "maps").mkdir()
    assert "no label map" in str(run(tmp_path / "maps", tmp_path / "out").exception)
    label_map(tmp_path / "maps/one.nii.gz")
    done = run(tmp_path / "maps", tmp_path / "out", "--scanners", "A")
    assert done.exception is None and "1 scans of 1 heads" in done.output
    wrong = run(tmp_path / "maps", tmp_path / "out", "--scanners", "A")
    assert isinstance(wrong.exception, UpfieldError) and "is there already" in str(wrong.exception)
    assert "expected names among A, B, C, D" in str(
        run(tmp_path / "maps", tmp_path / "new", "--scanners", "X").exception
    )
