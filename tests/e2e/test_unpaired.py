"""Two cohorts of different people through the whole workflow: labels that collide, one person seen by both scanners."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.files import read_json, read_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume

from tests.e2e.conftest import grid_of, head

pytestmark = pytest.mark.slow

METHODS = ["identity", "histogram_match", "cyclegan"]
UNITS = {"source": 1.0, "target": 4.0}


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A study of three people of each scanner after its run; sub-01 of the source is the target's sub-02.

    Three more scans are images without a brain, or belong to such a one: the source's sub-05, who is the target's
    sub-05, and the target's sub-06.
    """
    data = {side: tmp_path_factory.mktemp(side) for side in UNITS}
    for number, (side, root) in enumerate(data.items()):
        (root / "dataset_description.json").write_text(json.dumps({"Name": side, "BIDSVersion": "1.10.0"}))
        for person in range(1, 4):
            anatomy = 5 * number + person if (side, person) != ("source", 1) else 7
            grid = grid_of(person, ((2.5, 2.5, 4.0), (2.0, 2.5, 2.5))[number], flip=side == "target")
            scan = head(anatomy, grid, (0.5, 2.0)[number])
            path = root / f"sub-{person:02d}/anat/sub-{person:02d}_T1w.nii.gz"
            nifti.save(scan.with_data(UNITS[side] * scan.data), path)
    for side, person, good in (("source", 5, False), ("target", 5, True), ("target", 6, False)):
        scan = head(person, grid_of(person, (2.5, 2.5, 4.0), flip=False), 1.0)
        speck = np.where(np.arange(scan.data.size).reshape(scan.data.shape) == 5000, person, 0).astype(np.float32)
        path = data[side] / f"sub-{person:02d}/anat/sub-{person:02d}_T1w.nii.gz"
        nifti.save(scan.with_data(UNITS[side] * scan.data if good else speck), path)
    broken = data["target"] / "sub-04/anat/sub-04_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no image")
    table = tmp_path_factory.mktemp("links") / "pairs.tsv"
    table.write_text("source\ttarget\n01\tsub-02\n05\t05\n")
    split = table.with_name("splits.tsv")
    parts = {"train": ("source01", "target02"), "val": ("source02", "target01"), "test": ("source03", "target03")}
    parts["val"] += ("source05", "target05")
    parts["test"] += ("target06",)
    rows = [f"sub-{name}\t0\t{part}" for part, names in parts.items() for name in names]
    split.write_text("\n".join(["participant_id\tfold\tsplit", *rows]) + "\n")
    made = study(
        {
            "study": "unpaired",
            "source": {"bids_dir": str(data["source"])},
            "target": {"bids_dir": str(data["target"])},
            "pairing": "unpaired",
            "pairs": str(table),
            "preprocess": {
                "spacing": 2.5,
                "n4": False,
                "brain": {"method": "none"},
                "registration": {"transform": "none"},
            },
            "splits": {"file": str(split)},
            "patches": {"slices": 8, "slice_size": 32, "brain_share": 0.5, "per_volume_val": 4},
            "method_overrides": {"cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4, "batch_size": 4}},
            "methods": ["cyclegan"],
            "train": {"epochs": 2},
        }
    )
    made.data = data
    made.run(here=True)
    return made


def output(finished, method):
    label = method.replace("_", "")
    return finished.root / f"sub-source03/anat/sub-source03_desc-{label}_T1w.nii.gz"


def test_labels_that_collide_are_told_apart(finished):
    found = read_tsv(finished.root / "inventory.tsv").set_index("participant_id")
    assert found.loc["sub-source01", "original_id"] == found.loc["sub-target01", "original_id"] == "sub-01"
    assert (found["status"] == "used").sum() == 9
    assert "cannot be read" in found.loc["sub-target04", "reason"]
    assert not list(finished.root.glob("sub-0*"))
    pairs = read_tsv(finished.root / "pairs.tsv")
    assert pairs["source_name"].tolist() == ["sub-source01_T1w"]
    assert pairs["target_name"].tolist() == ["sub-target02_T1w"]


def test_only_the_linked_pair_meets_on_one_grid(finished):
    registered = {path.name for path in finished.root.rglob("*_space-target_desc-preproc_T1w.nii.gz")}
    # Those of the pair that cannot be used are there as well.
    registered -= {path for path in registered if "05_" in path}
    assert registered == {f"sub-{name}_space-target_desc-preproc_T1w.nii.gz" for name in ("source01", "target02")}
    history = read_tsv(finished.root / "models/cyclegan/fold-0_seed-42/history.tsv")
    assert (history["train_matching"] > 0).any() and (history["val_score"] > 0).all()
    card = read_json(finished.root / "models/cyclegan/fold-0_seed-42/model.json")
    assert "pair-source01-target02" in str(card["participants"]["train"])


def test_scans_without_a_brain_stop_nobody(finished):
    table = read_tsv(finished.root / "excluded.tsv").set_index("participant_id")
    assert table["stage"].to_dict() == {
        "sub-target04": "ingest", "sub-source05": "preprocess", "sub-target06": "preprocess",
    }  # fmt: skip
    assert table.loc[["sub-source05", "sub-target06"], "reason"].str.contains("found 0 cm3").all()
    assert table.loc["sub-source05", "role"] == "source" and table.loc["sub-target06", "role"] == "target"
    splits = read_tsv(finished.root / "splits.tsv").set_index("participant_id")["split"]
    assert splits["sub-target05"] == "val" and not {"sub-source05", "sub-target06"} & set(splits.index)
    card = read_json(finished.root / "models/cyclegan/fold-0_seed-42/model.json")
    assert set(card["participants"]["val"]) == {"sub-source02", "sub-target01", "sub-target05"}
    for name in ("per_subject", "appearance"):
        people = set(read_tsv(finished.root / f"metrics/{name}.tsv")["participant_id"])
        assert people <= {"sub-source03", "sub-target03"}


def test_outputs_lie_on_the_source_in_intensities_of_the_target(finished):
    raw = nib.load(finished.data["source"] / "sub-03/anat/sub-03_T1w.nii.gz")
    core = ndimage.binary_erosion(raw.get_fdata() > 0, iterations=3)
    scale = read_json(finished.root / "sub-target02/anat/sub-target02_desc-preproc_T1w.json")
    for method in METHODS:
        image = nib.load(output(finished, method))
        assert image.shape == raw.shape and image.get_data_dtype() == np.float32
        np.testing.assert_allclose(image.affine, raw.affine, atol=1e-4)
        found, expected = image.get_fdata()[core], raw.get_fdata()[core]
        assert np.corrcoef(found, expected)[0, 1] > 0.8, method
        # Four times brighter is the target's scanner; its training participant says by how much.
        assert 1000 < found.mean() < 2400, method
        metadata = read_json(sidecar(output(finished, method)))
        for key in ("IntensityOffset", "IntensityScale"):
            assert metadata[key] == pytest.approx(scale[key])
        assert ("CycleError" in metadata) == (method == "cyclegan")
    # The scan itself, not interpolated: a line leads from one to the other.
    same = nib.load(output(finished, "identity")).get_fdata()
    line = np.polyfit(raw.get_fdata().ravel(), same.ravel(), 1)
    np.testing.assert_allclose(np.polyval(line, raw.get_fdata()), same, atol=0.5)
    assert not nib.load(output(finished, "cyclegan")).get_fdata()[raw.get_fdata() == 0].any()


def test_tables_and_report_say_what_can_be_said_without_a_truth(finished):
    values = read_tsv(finished.root / "metrics/per_subject.tsv").set_index(["method", "metric"])["value"]
    assert values["identity", "ssim_source"] == pytest.approx(1, abs=1e-3)
    assert values["cyclegan", "ssim_source"] > 0.5 and values["cyclegan", "cycle_error"] > 0
    assert values["histogram_match", "wasserstein"] != values["identity", "wasserstein"]
    assert "psnr" not in values.index.get_level_values("metric")
    assert set(read_tsv(finished.root / "metrics/leaderboard.tsv")["method"]) == set(METHODS)
    table = read_tsv(finished.root / "metrics/harmonisation.tsv")
    assert set(table["method"]) == set(METHODS), "ComBat needs two scans of each side to learn from"
    assert set(table["metric"]) == {"scanner_auc", "mmd", "wasserstein"}
    assert (table[["n_source", "n_target"]] == 1).all(axis=None)
    report = (finished.root / "report/index.html").read_text()
    assert "The baselines spline, denoise and unet3d are left out" in report and "Change by cyclegan" in report


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()


def test_nobody_was_taught_by_a_test_scan(finished):
    card = read_json(finished.root / "models/histogram_match/fold-0_seed-42/model.json")
    assert card["participants"]["train"] == ["sub-target02"]
    assert isinstance(nifti.load(output(finished, "identity")), Volume)
