"""The reader study: nothing in it tells who or what is shown, and the key does."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.evaluate.case import Case
from upfield.evaluate.reader_study import blinded, write_reader_study
from upfield.files import write_json
from upfield.image import nifti
from upfield.image.nifti import Volume

OBLIQUE = np.array([[-1.5, 0.1, 0, 20], [0.1, 1.5, 0, -30], [0, 0, 2, 5], [0, 0, 0, 1.0]])
PAIRS = [["truth", "gan"], ["gan", "spline"]]


def head(seed, gain):
    random = np.random.default_rng(seed)
    data = gain * (100 + ndimage.gaussian_filter(random.normal(size=(30, 34, 24)), 2) * 200)
    mask = np.zeros(data.shape, bool)
    mask[6:-7, 5:-9, 4:-6] = True
    return Volume(data.astype(np.float32), OBLIQUE), mask


@pytest.fixture
def cases(tmp_path):
    result = []
    for number in range(1, 5):
        images = {}
        for gain, name in enumerate(("truth", "gan", "spline"), start=1):
            images[name] = str(tmp_path / f"sub-{number}_{name}.nii.gz")
            nifti.save(head(10 * number + gain, gain * 7)[0], images[name])
        mask = str(tmp_path / f"sub-{number}_mask.nii.gz")
        nifti.save(Volume(head(0, 1)[1].astype(np.float32), OBLIQUE), mask)
        write_json(sidecar(images["truth"]), {})
        result.append(Case(f"sub-{number}", mask, images, judged_by=[images["truth"]]))
    return result


def make(cases, folder, seed=1, stripped=True):
    key, readers = str(folder / "key.csv"), str(folder / "for_readers")
    write_reader_study(cases, PAIRS, key, readers, skull_stripped=stripped, seed=seed)
    return pd.read_csv(folder / "key.csv", keep_default_na=False)


def test_every_pair_of_every_participant_is_a_case_with_a_row_to_fill(cases, tmp_path):
    key = make(cases, tmp_path / "set")
    assert len(key) == 8 and key.case.to_list() == [f"case-{n:03d}" for n in range(1, 9)]
    found = sorted((row.participant_id, *sorted([row.A, row.B])) for row in key.itertuples())
    assert found == sorted((f"sub-{n}", *sorted(pair)) for n in range(1, 5) for pair in PAIRS)
    readers = tmp_path / "set" / "for_readers"
    images = {f"{case}_{side}.nii.gz" for case in key.case for side in "AB"}
    assert {path.name for path in readers.iterdir()} == images | {"scores.csv", "README.txt"}
    sheet = pd.read_csv(readers / "scores.csv")
    assert sheet.case.to_list() == key.case.to_list() and sheet.drop(columns="case").isna().all(axis=None)
    assert {"preferred", "diagnostic_A", "diagnostic_B"} <= set(sheet.columns)


def test_images_are_those_of_the_key(cases, tmp_path):
    key = make(cases, tmp_path / "set")
    for row in key.itertuples():
        case = next(case for case in cases if case.participant == row.participant_id)
        for side in "AB":
            shown = nifti.load(tmp_path / "set" / "for_readers" / f"{row.case}_{side}.nii.gz")
            original = nifti.load(case.outputs[getattr(row, side)])
            expected = blinded(original, nifti.load_mask(case.mask).data, True)
            assert np.abs(shown.data - expected.data).max() <= 0.5


def test_files_say_nothing(cases, tmp_path):
    make(cases, tmp_path / "set")
    readers = tmp_path / "set" / "for_readers"
    headers = set()
    for path in readers.glob("*.nii.gz"):
        assert re.fullmatch(r"case-\d{3}_[AB]\.nii\.gz", path.name)
        image = nib.load(path)
        assert len(image.header.extensions) == 0
        text = [bytes(image.header[name]).strip(b"\0") for name in ("descrip", "db_name", "aux_file", "intent_name")]
        assert text == [b""] * 4
        np.testing.assert_array_equal(image.affine[:3, 3], 0)
        assert np.count_nonzero(image.affine[:3, :3] - np.diag(np.diag(image.affine)[:3])) == 0
        assert 990 <= np.percentile(image.get_fdata()[image.get_fdata() > 0], 98) <= 1010
        headers.add(image.header.binaryblock)
        # Times in the compressed file.
        assert path.read_bytes()[4:8] == b"\0\0\0\0"
    assert len(headers) == 1, "one header for all"
    words = json.dumps([path.read_text() for path in (readers / "scores.csv", readers / "README.txt")])
    assert not re.search(r"sub-|truth|gan|spline", words)


def test_order_depends_on_the_seed_alone(cases, tmp_path):
    one, again, other = (make(cases, tmp_path / str(n), seed) for n, seed in enumerate((1, 1, 2)))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    for path in (tmp_path / "0" / "for_readers").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / "for_readers" / path.name).read_bytes()
    many = pd.concat([make(cases, tmp_path / f"s{seed}", seed) for seed in range(3, 8)])
    assert 0 < (many.A == "gan").sum() < len(many)


def test_skull_or_not(cases):
    image, mask = head(1, 1)
    stripped, whole = blinded(image, mask, True), blinded(image, mask, False)
    assert whole.data.size == image.data.size and stripped.data.size < whole.data.size
    assert (stripped.data == 0).any() and (whole.data > 0).all()
    assert whole.grid.spacing == pytest.approx(image.grid.spacing)


def test_excluded_participants_are_not_shown(cases, tmp_path):
    write_json(sidecar(cases[0].judged_by[0]), {"Excluded": "no brain"})
    assert "sub-1" not in set(make(cases, tmp_path / "set").participant_id)
    with pytest.raises(UpfieldError, match="no test participant can be shown"):
        make(cases[:1], tmp_path / "none")


def test_bright_vessels_do_not_decide_how_bright_tissue_is():
    """One image shows 1 % of vessels three times as bright, the other does not: tissue looks alike in both."""
    tissue = np.random.default_rng(0).uniform(50, 100, size=(20, 20, 20)).astype(np.float32)
    vessels = np.random.default_rng(1).random(tissue.shape) < 0.01
    images = [np.where(vessels, 300, tissue), tissue]
    brain = np.ones(tissue.shape, bool)
    plain, with_vessels = (
        np.median(blinded(Volume(image, np.eye(4)), brain, True).data[~vessels]) for image in reversed(images)
    )
    assert with_vessels == pytest.approx(plain, rel=0.02)
