"""Cross-validation with uncertainty: everybody predicted by models that never saw them, with a standard deviation.

The networks see two contrasts, in the space of a template that TemplateFlow knows.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from upfield.files import read_json, read_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.patches import Store
from upfield.phantom import anatomy

from tests.e2e.conftest import grid_of, head

pytestmark = pytest.mark.slow

PEOPLE = ["sub-01", "sub-02", "sub-03"]
# As small as an LPIPS can be: one convolution and its linear layer.
VGG = {"features.0.weight": (2, 1, 3, 3), "features.0.bias": (2,), "lin0.model.1.weight": (1, 2, 1, 1)}
SPACE = "Ball"
SMALL = {"base": 4, "levels": 1, "lr": 2e-3, "batch_size": 1}
OVER = {
    "unet3d": SMALL | {"dropout": 0.2},
    "rectified_flow": SMALL | {"preset": "default", "blocks": 1, "sampling_steps": 2},
}


def write_template(cache):
    """A ball like those of the participants, turned and 30 mm aside, as TemplateFlow keeps it; and its two halves."""
    ball = head(0, grid_of(0, (2.5, 2.5, 2.5), False), 2.0, alike=True)
    aside = np.eye(4)
    aside[:3, :3] = anatomy.rotation(np.array([0.0, 10, -8]))
    aside[:3, 3] = 30, 0, -10
    ball = Volume(ball.data, aside @ ball.affine)
    for name, values in (("T1w", ball.data), ("desc-brain_mask", ball.data > 0)):
        nifti.save(ball.with_data(values), cache / f"tpl-{SPACE}/tpl-{SPACE}_res-01_{name}.nii.gz")
    left = np.arange(ball.data.shape[0])[:, None, None] < ball.data.shape[0] / 2
    nifti.save(ball.with_data((ball.data > 0) * np.where(left, 1, 2)), cache.parent / "atlas.nii.gz", np.uint8)
    (cache.parent / "atlas.tsv").write_text("index\tname\n1\tleft\n2\tright\n")


@pytest.fixture(scope="module")
def finished(study, balls):
    """Three participants in three folds, a model of each method, sampled thrice; a fourth has one of two contrasts."""
    data = balls(4, t2w=True, alike=True)
    cache = data / "sourcedata" / "templateflow"
    write_template(cache)
    weights = str(data / "lpips.safetensors")
    save_file({name: torch.ones(shape) for name, shape in VGG.items()}, weights)
    made = study(
        {
            "study": "folds",
            "source": {
                "bids_dir": str(data),
                "entities": {"session": "low"},
                "channels": [{"suffix": "T1w"}, {"suffix": "T2w"}],
            },
            "target": {"bids_dir": str(data), "entities": {"session": "high"}},
            "preprocess": {
                "spacing": 2.5,
                "n4": False,
                "brain": {"method": "none"},
                "registration": {"transform": "none"},
                "template": {"name": SPACE, "transform": "rigid"},
            },
            "splits": {"scheme": "kfold", "folds": 3},
            "patches": {"size": 16, "per_volume": 8, "per_volume_val": 2},
            "methods": ["unet3d", "rectified_flow"],
            "method_overrides": OVER,
            "train": {"epochs": 2, "ema": 0.9, "accumulate": 2},
            "predict": {"uncertainty": 3, "tta": True},
            "evaluate": {
                "regions": False,
                "as_applied": False,
                "lpips_weights": weights,
                "atlas": {"images": str(cache.parent / "atlas.nii.gz"), "names": str(cache.parent / "atlas.tsv")},
            },
        }
    )
    made.data = data
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPLATEFLOW_HOME", str(cache))
        made.run(here=True)
    return made


def test_everybody_is_predicted_by_models_that_never_saw_them(finished):
    splits = read_tsv(finished.root / "splits.tsv")
    tested = splits[splits["split"] == "test"].set_index("participant_id")["fold"]
    assert sorted(tested.index) == PEOPLE
    for person in PEOPLE:
        (sidecar,) = finished.root.glob(f"{person}/ses-low/anat/*_desc-unet3d_T1w.json")
        (folder,) = read_json(sidecar)["Models"]
        assert f"fold-{tested[person]}_seed-42" in folder
        card = read_json(finished.root / "models" / "unet3d" / Path(folder).name / "model.json")
        assert card["fold"] == tested[person]
        assert person not in card["participants"]["train"] + card["participants"]["val"]


def test_everybody_meets_on_the_template(finished):
    template = nifti.load(finished.root / f"sourcedata/templateflow/tpl-{SPACE}/tpl-{SPACE}_T1w.nii.gz")
    for person in PEOPLE:
        stem = f"{finished.root}/{person}/ses-high/anat/{person}_ses-high"
        image = nifti.load(f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz")
        expected = nifti.resample(template, image.grid)
        core = ndimage.binary_erosion(expected.data > 0, iterations=3)
        assert np.corrcoef(image.data[core], expected.data[core])[0, 1] > 0.9
        there, back = (nifti.read_transform(f"{stem}_from-{way}_mode-image_xfm.txt")
                       for way in (f"target_to-{SPACE}", f"{SPACE}_to-target"))  # fmt: skip
        np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-6)
    overlap = read_tsv(finished.root / "qc/quality.tsv").query("metric == 'template_dice'").set_index("participant_id")
    assert overlap.loc[PEOPLE, "value"].min() > 0.95
    assert f"{SPACE} from TemplateFlow" in (finished.root / "report/index.html").read_text()


def test_predictions_and_regions_come_back_from_the_template(finished):
    for person in PEOPLE:
        truth = nifti.load(next(finished.data.glob(f"{person}/ses-high/anat/*.nii.gz")))
        (path,) = finished.root.glob(f"{person}/ses-low/anat/*_space-target_desc-unet3d_T1w.nii.gz")
        output = nifti.load(path)
        assert output.grid.matches(truth.grid)
        core = ndimage.binary_erosion(truth.data > 0, iterations=3)
        assert np.corrcoef(output.data[core], truth.data[core])[0, 1] > 0.7
    values = read_tsv(finished.root / "metrics/per_subject.tsv").query("method == 'spline' and metric == 'mae'")
    found = values.set_index(["participant_id", "region"])["value"].unstack()
    assert sorted(found.index) == PEOPLE
    # Halves of a ball: their errors are on average that of the whole, less its rim, where the atlas ends earlier.
    np.testing.assert_allclose(found[["left", "right"]].mean(axis=1), found["brain"], rtol=0.15)


def test_networks_see_both_contrasts_on_one_grid(finished):
    for person in PEOPLE:
        target, first, second = (
            nifti.load(
                next(finished.root.glob(f"{person}/*/anat/{person}_{name}_space-{SPACE}_desc-preproc_{suffix}.nii.gz"))
            )
            for name, suffix in (("ses-high", "T1w"), ("ses-low", "T1w"), ("ses-low_rec-T2w", "T2w"))
        )
        assert target.grid.matches(first.grid) and target.grid.matches(second.grid)
        # The second contrast is the inverse of the first, in its place.
        core = ndimage.binary_erosion(target.data > 0, iterations=4)
        assert np.corrcoef(first.data[core], second.data[core])[0, 1] < -0.9
        store = Store(finished.root / f"patches/{person}.safetensors")
        np.testing.assert_array_equal(store.whole()["source"], np.stack([first.data, second.data]))
        (sidecar,) = finished.root.glob(f"{person}/ses-low/anat/*_desc-unet3d_T1w.json")
        assert [path for path in read_json(sidecar)["Sources"] if path.endswith("_T2w.nii.gz")]
    card = read_json(next(finished.root.glob("models/unet3d/*/model.json")))
    assert card["channels"] == ["T1w", "T2w"] and card["in_channels"] == 2
    assert "T1w, T2w" in (finished.root / "report/index.html").read_text()


def test_who_lacks_a_contrast_is_left_out(finished):
    (row,) = read_tsv(finished.root / "excluded.tsv").to_dict("records")
    assert row["participant_id"] == "sub-04" and "contrast T2w" in row["reason"]
    pairs = read_tsv(finished.root / "pairs.tsv")
    assert sorted(pairs["participant_id"]) == PEOPLE and pairs["source_path_2"].str.endswith("_T2w.nii.gz").all()


def test_the_leaderboard_counts_everybody_once(finished):
    board = read_tsv(finished.root / "metrics/leaderboard.tsv")
    assert set(board["n"]) == {len(PEOPLE)}
    values = read_tsv(finished.root / "metrics/per_subject.tsv")
    psnr = values.query("method == 'unet3d' and metric == 'psnr' and region == 'brain'")
    assert sorted(psnr["participant_id"]) == PEOPLE
    assert psnr["fold"].nunique() == 3
    lpips = values.query("method == 'unet3d' and metric == 'lpips'")
    assert sorted(lpips["participant_id"]) == PEOPLE and (lpips["value"] > 0).all()
    report = (finished.root / "report/index.html").read_text()
    assert "LPIPS (VGG)" in report and "Zhang et al., 2018" in report


def test_every_prediction_has_a_standard_deviation(finished):
    for person in PEOPLE:
        (path,) = finished.root.glob(f"{person}/ses-low/anat/*_desc-unet3dstd_T1w.nii.gz")
        spread, image = (nib.load(str(path).replace("unet3dstd", label)) for label in ("unet3dstd", "unet3d"))
        assert spread.shape == image.shape and spread.get_data_dtype() == np.float32
        np.testing.assert_allclose(spread.affine, image.affine)
        (target,) = finished.data.glob(f"{person}/ses-high/anat/*.nii.gz")
        truth = nib.load(target).get_fdata()
        inside = truth > 0
        values = spread.get_fdata()
        assert values.min() >= 0
        # In the target's intensities: more than nothing, less than the image itself.
        assert 0 < np.median(values[inside]) < 0.3 * np.median(truth[inside])
        sidecar = read_json(str(path).replace(".nii.gz", ".json"))
        assert sidecar["Quantity"].startswith("standard deviation") and sidecar["Samples"] == 3
        assert len(list(path.parent.glob("*std_*"))) == 4


def test_a_sampler_has_a_sample_beside_its_mean(finished):
    factors = set()
    for person in PEOPLE:
        (path,) = finished.root.glob(f"{person}/ses-low/anat/*_desc-rectifiedflowsample_T1w.nii.gz")
        sample, image = (
            nib.load(str(path).replace("rectifiedflowsample", label))
            for label in ("rectifiedflowsample", "rectifiedflow")
        )
        assert sample.shape == image.shape and not np.array_equal(sample.get_fdata(), image.get_fdata())
        sidecar = read_json(str(path).replace(".nii.gz", ".json"))
        assert sidecar["SampleOf"].endswith("_desc-rectifiedflow_T1w.nii.gz")
        (folder,) = sidecar["Models"]
        weights = load_file(finished.root / "models/rectified_flow" / Path(folder).name / "model.safetensors")
        factors.add(float(weights["factor"]))
    assert len(factors) == 3 and min(factors) > 0
    table = read_tsv(finished.root / "metrics/perception.tsv")
    assert (table["image"] == "sample").sum() == len(PEOPLE)
    assert set(table.loc[table["image"] == "sample", "method"]) == {"rectified_flow"}
    assert {"identity", "unet3d", "rectified_flow"} <= set(table["method"])
    report = (finished.root / "report/index.html").read_text()
    assert "Distortion against perception" in report and "3 samples around their mean" in report
    assert "Liu et al., 2023" in report and "Gal and Ghahramani, 2016" in report


def test_calibration_is_measured_and_shown(finished):
    table = read_tsv(finished.root / "metrics/calibration.tsv")
    assert sorted(set(table["participant_id"])) == PEOPLE and set(table["method"]) == set(OVER)
    for _, rows in table.groupby(["participant_id", "method"]):
        assert rows["bin"].tolist() == list(range(1, 11))
        assert rows["predicted"].is_monotonic_increasing and (rows["rmse"] > 0).all()
        assert rows["spearman"].nunique() == rows["ence"].nunique() == 1
    report = (finished.root / "report/index.html").read_text()
    assert 'id="uncertainty"' in report


def test_a_reading_set_is_made_on_demand(finished):
    finished.run("--", "reader_study")
    folder = finished.root / "reader_study"
    key = (folder / "key.csv").read_text().splitlines()
    cases = len(OVER) * len(PEOPLE)
    assert len(key) == 1 + cases and all("truth" in row and any(name in row for name in OVER) for row in key[1:])
    assert len(list((folder / "for_readers").glob("case-*_[AB].nii.gz"))) == 2 * cases


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()


def test_the_study_is_a_valid_bids_derivative(finished):
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([validator, "--json", str(finished.root)], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [f"{row['code']} {row.get('location', '')}" for row in issues if row.get("severity") == "error"] == []
