"""One epoch of every method through the whole workflow, at tiny sizes: models, predictions, metrics and report."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from upfield import nifti
from upfield.files import read_json, read_tsv

pytestmark = pytest.mark.slow

BASELINES = ["identity", "spline", "histogram_match", "unet3d"]
SMALL = {
    "unet3d": {"base": 4, "levels": 1},
    "unet3d_patchgan": {"base": 4, "levels": 1, "discriminator_base": 4},
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 4},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4},
    "srdcgan": {"width": 4, "factor": 4},
    "srgan3d": {"factor": 2, "filters": 4, "blocks": 1, "discriminator_base": 4, "discriminator_dense": 8},
}
# What a method sees, and how much larger its output is.
DIMS = {"unet3d": 3, "unet3d_patchgan": 3, "lohiresgan": 2, "cyclegan": 2, "srdcgan": 2, "srgan3d": 3}
SCALES = {"srdcgan": (4, 4, 1), "srgan3d": (2, 2, 2)}
METHODS = ["unet3d_patchgan", "lohiresgan", "srdcgan", "srgan3d", "cyclegan"]


@pytest.fixture(scope="module")
def finished(study, balls):
    """A study of three participants after its run."""
    data = balls(3)
    made = study(
        {
            "study": "methods",
            "source": {"bids_dir": str(data), "entities": {"session": "low"}},
            "target": {"bids_dir": str(data), "entities": {"session": "high"}},
            "preprocess": {
                "spacing": "native",
                "n4": False,
                "brain": {"method": "none"},
                "registration": {"transform": "none"},
            },
            "splits": {"fractions": {"train": 0.34, "val": 0.33, "test": 0.33}},
            "patches": {"size": 24, "per_volume": 4, "slices": 16, "per_volume_val": 2},
            "method_overrides": {name: options | {"batch_size": 2} for name, options in SMALL.items()},
            "methods": METHODS,
            "train": {"epochs": 1},
        }
    )
    made.data = data
    made.run()
    return made


def person_tested(finished):
    return read_tsv(finished.root / "splits.tsv").set_index("split").loc["test", "participant_id"]


def test_every_method_has_learned_from_what_it_asked_for(finished):
    for method in ["unet3d", *METHODS]:
        folder = finished.root / "models" / method / "fold-0_seed-42"
        card = read_json(folder / "model.json")
        assert (card["dims"], card["scale"]) == (DIMS[method], list(SCALES.get(method, (1, 1, 1)))), method
        assert card["patch"][2] == 1 if card["dims"] == 2 else card["patch"] == [24, 24, 24]
        history = read_tsv(folder / "history.tsv")
        assert history["step"].tolist() == [8 if card["dims"] == 2 else 2]
        assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
        assert len(list((folder / "figures").glob("epoch-*.png"))) == 1


def test_every_prediction_is_an_image_of_the_target_in_its_place(finished):
    person = person_tested(finished)
    (target,) = finished.data.glob(f"{person}/ses-high/anat/*.nii.gz")
    truth = nib.load(target)
    # The rim of the head is left out: sources have darker backgrounds than targets, and blur carries them inwards.
    core = ndimage.binary_erosion(truth.get_fdata() > 0, iterations=4)
    for method in [*BASELINES, *METHODS]:
        label = method.replace("_", "")
        (path,) = finished.root.glob(f"{person}/*/anat/*_space-target_desc-{label}_T1w.nii.gz")
        image = nib.load(path)
        assert image.shape == truth.shape
        np.testing.assert_allclose(image.affine, truth.affine, atol=1e-4)
        # A few steps have taught nothing yet, but the methods start near interpolation: the head is in its place.
        found, expected = image.get_fdata(), truth.get_fdata()
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.75, method
        assert np.corrcoef(found[core], expected[core])[0, 1] > 0.8, method
        assert abs(found[core].mean() / expected[core].mean() - 1) < 0.15, method


def test_sources_of_enlarging_methods_lie_on_the_coarse_grid(finished):
    (target,) = finished.root.glob("sub-01/ses-high/anat/sub-01_ses-high_space-target_desc-preproc_T1w.nii.gz")
    grid = nifti.load(target).grid
    for scale in SCALES.values():
        label = "x".join(map(str, scale))
        (path,) = finished.root.glob(f"sub-01/*/anat/*_space-target_res-{label}_desc-preproc_T1w.nii.gz")
        small = nifti.load(path)
        assert small.grid.matches(nifti.coarsen(grid, scale))
        assert tuple(np.array(small.data.shape) * scale) == grid.shape


def test_metrics_and_report_hold_every_method(finished):
    board = read_tsv(finished.root / "metrics/leaderboard.tsv").set_index(["region", "metric", "method"])["mean"]
    report = (finished.root / "report/index.html").read_text()
    for method in [*BASELINES, *METHODS]:
        assert np.isfinite(board["brain", "psnr", method])
        assert method in report


def test_metrics_are_exported_in_the_columns_of_lohiresgan(finished):
    values = read_tsv(finished.root / "metrics/per_subject.tsv")
    for method in [*BASELINES, *METHODS]:
        table = pd.read_csv(finished.root / f"metrics/lohiresgan/{method}.csv")
        assert list(table.columns[:9]) == ["filename", "mae", "mse", "rmse", "nrmse", "nmse", "psnr", "ssim", "corr"]
        rows = values[(values["method"] == method) & (values["region"] == "brain") & (values["metric"] == "psnr")]
        np.testing.assert_allclose(table["psnr"], rows["value"])
        assert len(list(finished.root.glob(f"{person_tested(finished)}/*/anat/{table['filename'][0]}"))) == 1


def test_cyclegan_shows_both_ways(finished):
    (grid,) = (finished.root / "models/cyclegan/fold-0_seed-42/figures").glob("*.png")
    (triptych,) = (finished.root / "models/lohiresgan/fold-0_seed-42/figures").glob("*.png")
    wide, narrow = Image.open(grid), Image.open(triptych)
    assert wide.height == narrow.height and wide.width / narrow.width == pytest.approx(2, abs=0.05)


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()
