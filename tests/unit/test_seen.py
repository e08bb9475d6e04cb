"""Whom a model has seen, by labels and by voxels."""

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from upfield import bids
from upfield.files import write_json
from upfield.image import identity
from upfield.study import seen
from upfield.study.card import seen_by


@pytest.fixture
def study(two_sessions):
    return two_sessions("mine")


@pytest.fixture
def model(tmp_path):
    """A folder that passes for a trained model, with a card."""

    def write(card):
        folder = tmp_path / "old"
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"")
        write_json(folder / "model.json", card)
        return {"train": {"init_from": {"unet3d": str(folder)}}}

    return write


def prepared(made):
    """Sidecars of all preprocessed scans."""
    for pair in made.pairs.values():
        for scan in (pair.source, pair.target):
            write_json(bids.sidecar(made.preprocessed(scan)), {})
    return made


def test_a_card_holds_train_and_val_and_never_test(study):
    made = prepared(study())
    card = seen_by(made, "0", "unet3d")
    used = sorted(made.folds.members("0", "train", "val"))
    assert card["seen"]["participants"] == {"mine": used}
    assert len(card["seen"]["images"]) == 2 * len(used) and card["seen"]["complete"]
    for scan in made.index.used:
        assert (seen.why(scan, [card]) is None) == (scan.participant not in used)
        assert (seen.why(scan, [{**card, "seen": card["seen"] | {"participants": {}}}]) is None) == (
            scan.participant not in used
        )
    assert seen.why(made.index.used[0], [{}]) is None, "an older card"


def test_a_model_that_has_seen_a_test_participant_starts_nothing(study, model, refused):
    made = prepared(study())
    tested = made.folds.members("0", "test")[0]
    card = {"seen": {"participants": {"mine": [tested]}, "images": [], "complete": True}}
    with refused("train.init_from.unet3d", tested, "tested here", "dataset mine"):
        study(**model(card))
    card["seen"]["participants"] = {"another": [tested], "mine": made.folds.members("0", "train", "val")}
    again = study(**model(card))
    assert seen_by(again, "0", "unet3d")["seen"]["participants"] == {
        "another": [tested], "mine": sorted(made.folds.members("0", "train", "val")),
    }  # fmt: skip
    # Under another label, in another dataset.
    same = identity.digest(made.pairs[tested].target.path)
    again = study(**model({"seen": {"participants": {}, "images": [same], "complete": True}}))
    with refused("train.init_from.unet3d", tested, "voxels of"):
        seen_by(again, "0", "unet3d")
    assert seen_by(again, "0", "unet3d_patchgan")["seen"]["complete"], "starts from nothing"


def test_cards_of_before_say_nothing_and_the_log_says_so(study, model, caplog):
    made = prepared(study(**model({"participants": {"train": ["sub-1"]}})))
    assert "does not say all that the model has seen" in caplog.text
    assert seen_by(made, "0", "unet3d")["seen"]["complete"] is False


@pytest.mark.parametrize("bad", [[], {"participants": {}}, {"participants": 3, "images": [], "complete": True}])
def test_a_damaged_card_is_one_line(study, model, refused, bad):
    with refused("model.json", "seen"):
        study(**model({"seen": bad}))


def test_people_of_a_phantom_are_known_by_voxels_alone(study):
    found = seen.record(study().index.used[:2], phantom=True, start=None)
    assert found["participants"] == {} and len(found["images"]) == 2


def test_voxels_decide_and_no_header(bids_tree):
    path = bids_tree({"a.nii.gz": None}) / "a.nii.gz"
    data = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    nib.Nifti1Image(data, np.diag([2, 2, 2, 1.0])).to_filename(path)
    wanted = identity.digest(path)
    plain = Path(str(path).removesuffix(".gz"))
    with gzip.open(path) as packed, plain.open("wb") as out:
        shutil.copyfileobj(packed, out)
    assert identity.digest(plain) == wanted
    image = nib.Nifti1Image(data.astype(np.float32), np.diag([1, 3, 2, 1.0]))
    image.header["descrip"] = b"edited"
    image.to_filename(plain)
    assert identity.digest(plain) == wanted
    nib.Nifti1Image(data[::-1], np.eye(4)).to_filename(plain)
    assert identity.digest(plain) != wanted
