"""Which images a dataset has: each once, whatever links lead where, and none without a word."""

import json
import os

import pytest
from upfield import bids, foreign
from upfield.bids.listing import listing

NAMES = [f"sub-{label}/ses-1/anat/sub-{label}_ses-1_T1w.nii.gz" for label in ("01", "02", "03")]


@pytest.fixture
def root(bids_tree):
    """A dataset of three participants."""
    foreign.warn.cache_clear()
    return bids_tree(dict.fromkeys(NAMES))


# A link, where it leads, and how many times it would be listed by who follows it.
CIRCLES = {
    "dataset": ("sub-01/ses-1/anat/all", "../../.."),
    "session": ("sub-01/ses-1/anat/again", "."),
    "participant": ("sub-01/ses-1/up", "../.."),
    "absolute": ("sub-02/ses-1/anat/all", "{root}"),
    "above the dataset": ("sub-02/everything", "/"),
    "a participant that is the dataset": ("sub-all", "."),
    "a participant who is the folder above": ("sub-up", ".."),
}


@pytest.mark.parametrize("kind", CIRCLES)
def test_no_link_is_followed_back(root, caplog, kind):
    link, target = CIRCLES[kind]
    (root / link).symlink_to(target.format(root=root))
    assert [str(path) for path in listing(root)] == NAMES
    assert caplog.text.count("leads back") == 1 and link in caplog.text
    listing(root)
    assert caplog.text.count("leads back") == 1


def test_many_links_take_no_time_and_one_line(root, caplog):
    """Two links back are 2^40 ways around."""
    for name in NAMES:
        for number in range(4):
            (root / name).parent.joinpath(f"l{number}").symlink_to("../../..")
    assert [str(path) for path in listing(root)] == NAMES
    assert caplog.text.count("\n") == 1 and "and 11 more" in caplog.text


def test_links_that_lead_elsewhere_are_followed(root, tmp_path, caplog):
    (root / "sub-03").rename(tmp_path / "other")
    (root / "sub-03").symlink_to("../other")
    (root / "sub-02/ses-1/anat").rename(tmp_path / "anat")
    (root / "sub-02/ses-1/anat").symlink_to(tmp_path / "anat")
    assert [str(path) for path in listing(root)] == NAMES
    (root / "sub-01/ses-1/self").symlink_to("self")
    (root / "sub-nobody").symlink_to("sub-nobody")
    assert [str(path) for path in listing(root)] == NAMES and not caplog.text


def test_a_folder_under_two_names_is_listed_under_its_own(root, caplog):
    (root / "sub-01/aaa").symlink_to("ses-1/anat")
    assert [str(path) for path in listing(root)] == NAMES
    assert "sub-01/aaa leads to" in caplog.text


def test_participants_who_are_links_to_others_are_copies_of_them(root):
    """Whose scan it is cannot be told from the folder: the voxels say that it is one person's."""
    (root / "sub-04").symlink_to("sub-01")
    found = bids.find(root, "source", {}, {})
    assert [scan.participant for scan in found] == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert "its name says sub-01, its folder sub-04" in found[-1].problem


def test_folders_that_cannot_be_looked_through_are_said(root, caplog, monkeypatch):
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("sub-02/ses-1"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert len(listing(root)) == 2
    assert "cannot be looked through" in caplog.text and "sub-02/ses-1: Permission denied" in caplog.text


@pytest.mark.parametrize("name", ["ds000011-1.0.0", ".hidden", "sub-9", "data.v2"])
def test_what_a_dataset_is_called_does_not_matter(bids_tree, name):
    assert [str(path) for path in listing(bids_tree(dict.fromkeys(NAMES), name))] == NAMES


@pytest.mark.parametrize("ending", [".img", ".mgz", ".nii.bz2", ".nrrd", ".PAR", ".mif.gz"])
def test_other_formats_are_excluded_unless_there_is_nifti_beside(bids_tree, ending):
    other = NAMES[1].replace(".nii.gz", ending)
    root = bids_tree({NAMES[0]: None, other: b"x"})
    first, second = bids.find(root, "source", {"session": "1", "suffix": "T1w"}, {})
    assert not first.problem and second.participant == "sub-02"
    assert second.problem == f"its name ends in {ending}; expected .nii or .nii.gz: convert the image"
    root = bids_tree({NAMES[0]: None, other: b"x", NAMES[1]: None}, "both")
    assert [str(path) for path in listing(root)] == NAMES[:2]


def test_nothing_but_images_is_listed(bids_tree):
    extra = ["sub-01/ses-1/anat/.sub-01_T1w.nii.gz", "sub-01/ses-1/sub-01_ses-1_scans.tsv", "sub-01/ses-1/anat/x.nii"]
    extra += ["sub-01/.git/sub-01_T1w.nii.gz", "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz", "sub-01/sub-01_run-1.nii"]
    root = bids_tree({**dict.fromkeys(NAMES), **dict.fromkeys(extra, json.dumps({}))})
    assert [str(path) for path in listing(root)] == NAMES
