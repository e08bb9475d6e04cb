"""What labs have: two sessions of one participant, three contrasts, each in three stacks of thick slices."""

import json

import numpy as np
import pytest
from upfield.files import read_json, read_tsv
from upfield.image import nifti

from tests.e2e.conftest import grid_of, head

pytestmark = pytest.mark.slow

# Contrast of the balls' textures, and the stacks' voxels in mm.
CONTRASTS = {"T1w": 0.5, "T2w": -1.5, "FLAIR": 1.0}
STACKS = {"ax": (2.5, 2.5, 5.0), "cor": (2.5, 5.0, 2.5), "sag": (5.0, 2.5, 2.5)}
VISITS = [(1, 1), (1, 2), (2, 1), (3, 1)]
PAIRS = ["sub-01_ses-1", "sub-01_ses-2", "sub-02", "sub-03"]


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """Three participants, the first of whom came twice and is tested."""
    data = tmp_path_factory.mktemp("bids")
    (data / "dataset_description.json").write_text(json.dumps({"Name": "Visits", "BIDSVersion": "1.10.0"}))
    for number, session in VISITS:
        stem = f"sub-{number:02d}/ses-{session}/anat/sub-{number:02d}_ses-{session}"
        # Another texture each time: near copies of a scan are for another test.
        seed = number + 10 * session
        for suffix, contrast in CONTRASTS.items():
            for name, voxel in STACKS.items():
                made = head(number, grid_of(number, voxel, False), contrast, texture_of=seed)
                nifti.save(made, data / f"{stem}_acq-{name}_{suffix}.nii.gz")
        good = head(number, grid_of(number, (2.5, 2.5, 2.5), True), 2.0, texture_of=seed)
        nifti.save(good, data / f"{stem}_acq-high_T1w.nii.gz")
    table = data / "parts.tsv"
    parts = (("sub-01", "test"), ("sub-02", "train"), ("sub-03", "val"))
    table.write_text("participant_id\tfold\tsplit\n" + "".join(f"{who}\t0\t{part}\n" for who, part in parts))
    made = study(
        {
            "study": "visits",
            "source": {
                "bids_dir": str(data),
                "entities": {"acquisition": list(STACKS)},
                "channels": [{"suffix": suffix} for suffix in CONTRASTS],
            },
            "target": {"bids_dir": str(data), "entities": {"acquisition": "high"}},
            "duplicates": "combine",
            "pair_per": "session",
            "preprocess": {
                "spacing": 5.0, "n4": False, "brain": {"method": "none"}, "registration": {"transform": "none"},
            },
            "splits": {"file": str(table)},
            "patches": {"size": 16, "per_volume": 4, "per_volume_val": 2},
            "methods": ["unet3d"],
            "method_overrides": {"unet3d": {"base": 4, "levels": 1, "lr": 2e-3, "batch_size": 1}},
            "train": {"epochs": 1},
            "evaluate": {"regions": False, "segmentation": False},
        }
    )  # fmt: skip
    made.data = data
    made.run(here=True)
    return made


@pytest.fixture(scope="module")
def applied(finished, study):
    """The model of three contrasts on somebody who was tested, and on somebody without a FLAIR."""
    for path in finished.data.glob("sub-03/ses-1/anat/*_FLAIR.nii.gz"):
        path.unlink()
    made = study(
        {
            "study": "visits-applied",
            "model": str(finished.root / "models/unet3d/fold-0_seed-42"),
            "bids_dir": str(finished.data),
            "source": {"entities": {"acquisition": list(STACKS)}},
            "duplicates": "combine",
            "participants": {"include": ["01", "03"]},
        }
    )
    made.config.pop("train")
    made.write()
    made.run("--", "apply", here=True)
    return made


def test_each_session_is_a_pair_of_combined_stacks_in_three_contrasts(finished):
    pairs = read_tsv(finished.root / "pairs.tsv")
    assert list(pairs["participant_id"]) == PAIRS
    for number, session in VISITS:
        folder = finished.root / f"sub-{number:02d}/ses-{session}/anat"
        stacks = sorted(folder.glob("*_desc-average_*.nii.gz"))
        assert len(stacks) == 3
        for path in stacks:
            said = read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
            assert said["Averaged"] == 3
            np.testing.assert_allclose(nifti.load(path).grid.spacing, 2.5)
    assert read_tsv(finished.root / "excluded.tsv").empty


def test_nobody_is_on_two_sides_and_all_sessions_are_measured(finished):
    card = read_json(finished.root / "models/unet3d/fold-0_seed-42/model.json")
    assert card["participants"] == {"train": ["sub-02"], "val": ["sub-03"]}
    assert read_tsv(finished.root / "splits.tsv")["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03"]
    values = read_tsv(finished.root / "metrics" / "per_subject.tsv")
    assert set(values["participant_id"]) == set(PAIRS[:2])
    for session in (1, 2):
        assert len(list(finished.root.glob(f"sub-01/ses-{session}/anat/*_space-target_desc-unet3d_T1w.nii.gz"))) == 1
    board = read_tsv(finished.root / "metrics" / "leaderboard.tsv")
    assert set(board["n"]) == {1}, "two sessions of one participant are not two participants"
    psnr = values[(values["metric"] == "psnr") & (values["region"] == "brain")]
    means = psnr.groupby("method")["value"].mean()
    written = board[(board["metric"] == "psnr") & (board["region"] == "brain")].set_index("method")["mean"]
    np.testing.assert_allclose(written, means[written.index], rtol=1e-6)


def test_the_page_shows_both_sessions(finished):
    page = (finished.root / "report" / "index.html").read_text()
    assert all(name in page for name in PAIRS[:2])
    assert finished.planned() == {}


def test_apply_makes_what_was_measured_as_applied(finished, applied):
    for session in (1, 2):
        name = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_acq-ax_desc-unet3d_T1w.nii.gz"
        made, measured = nifti.load(applied.root / name), nifti.load(finished.root / name)
        assert made.grid.matches(measured.grid)
        np.testing.assert_array_equal(made.data, measured.data)
        said = read_json((applied.root / name).with_name(name.split("/")[-1].replace(".nii.gz", ".json")))
        assert sum(any(f"_{suffix}.nii" in path for path in said["Sources"]) for suffix in CONTRASTS) == 3
    assert set(read_tsv(finished.root / "metrics" / "as_applied.tsv")["participant_id"]) == set(PAIRS[:2])


def test_further_contrasts_lie_on_the_first(applied):
    for session in (1, 2):
        folder = applied.root / f"sub-01/ses-{session}/anat"
        grids = [nifti.load(path).grid for path in sorted(folder.glob("*_desc-preproc_*.nii.gz"))]
        assert len(grids) == 3 and all(grid.matches(grids[0]) for grid in grids)


def test_who_lacks_a_contrast_is_not_enhanced_and_everybody_has_a_row(applied):
    rows = read_tsv(applied.root / "applied.tsv")
    enhanced = rows.loc[rows["status"] == "applied", ["participant_id", "session"]]
    assert enhanced.to_numpy().tolist() == [["sub-01", "1"], ["sub-01", "2"]]
    assert set(rows["participant_id"]) == {"sub-01", "sub-02", "sub-03"}
    reason = rows.loc[rows["scan"] == "sub-03_ses-1_acq-ax_T1w", "reason"].item()
    assert "contrast FLAIR" in reason
