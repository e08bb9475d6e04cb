"""One image under two labels, or in two datasets, is not used twice."""

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def dataset(bids_tree):
    """Make a dataset of two sessions of six people."""

    def make(name="mine"):
        content = {f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None for n in range(1, 7) for s in (1, 2)}
        return bids_tree(content, name)

    return make


def image(root, person, session):
    return root / f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}_T1w.nii.gz"


def again(path, to):
    """The same voxels as another type, packed or not, in another space, described otherwise."""
    old = nib.load(path)
    new = nib.Nifti1Image(np.asarray(old.dataobj, dtype=np.float64), np.diag([9.0, 9, 9, 1]))
    new.header["descrip"] = b"anonymized"
    to.unlink()
    new.to_filename(to.with_name(to.name.removesuffix(".gz")))


def reasons(made):
    return {(row.participant, row.role): row.reason for row in made.index.excluded}


def test_a_scan_under_two_labels_is_excluded_and_names_the_other(dataset, session_study):
    root = dataset()
    again(image(root, 2, 2), image(root, 5, 2))
    made = session_study(root, root)
    assert "voxels as sub-2_ses-2_T1w.nii.gz of sub-2 (target)" in reasons(made)["sub-5", "target"]
    assert sorted(made.pairs) == ["sub-1", "sub-2", "sub-3", "sub-4", "sub-6"]
    assert "sub-5" not in set(made.folds.table["participant_id"])
    # What was read is remembered, with the same result; who is left out by hand is no reason.
    assert reasons(session_study(root, root)) == reasons(made)
    freed = session_study(root, root, participants={"exclude": ["sub-2"]})
    assert "sub-5" in freed.pairs and "sub-2" not in freed.pairs


def test_across_sides_and_repeats_of_one_participant(dataset, session_study):
    root = dataset()
    again(image(root, 1, 1), image(root, 4, 2))
    again(image(root, 3, 1), image(root, 3, 2))
    made = session_study(root, root)
    assert [key for key, reason in reasons(made).items() if "same voxels" in reason] == [("sub-4", "target")]
    assert "sub-3" in made.pairs, "a copy under one label is no leak"


def test_in_two_datasets_one_label_is_two_people_where_nothing_is_paired(dataset, session_study):
    one, other = dataset("a"), dataset("b")
    again(image(one, 1, 1), image(other, 1, 2))
    made = session_study(one, other, pairing="unpaired", methods=["cyclegan"])
    found = [row for row in made.index.excluded if "same voxels" in row.reason]
    assert [(row.role, row.stage) for row in found] == [("target", "ingest")]
    assert not any("same voxels" in row.reason for row in session_study(one, other).index.excluded)
