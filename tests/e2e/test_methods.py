"""One epoch of every method through the whole workflow, at tiny sizes: models, predictions, metrics and report."""

import shutil
from itertools import product

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from upfield.files import read_json, read_tsv
from upfield.image import nifti

from tests.e2e.conftest import bids_errors, run_snakemake

pytestmark = pytest.mark.slow

BASELINES = ["identity", "spline", "histogram_match", "denoise", "unet3d"]
SMALL = {
    "unet3d": {"base": 4, "levels": 1},
    "unet3d_patchgan": {"base": 4, "levels": 1, "discriminator_base": 4},
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 4},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4},
    "srdcgan": {"width": 4, "factor": 4},
    # The rest of it is planned.
    "upfield": {"base": 4, "levels": 1, "blocks": 1, "patch": [24, 24, 24], "per_volume": 4, "epochs": 1},
    "srgan3d": {"factor": 2, "filters": 4, "blocks": 1, "discriminator_base": 4, "discriminator_dense": 8},
}
# What a method sees, and how much larger its output is.
DIMS = {"unet3d": 3, "unet3d_patchgan": 3, "lohiresgan": 2, "cyclegan": 2, "srdcgan": 2, "srgan3d": 3, "upfield": 3}
SCALES = {"srdcgan": (4, 4, 1), "srgan3d": (2, 2, 2)}
METHODS = ["unet3d_patchgan", "lohiresgan", "srdcgan", "srgan3d", "cyclegan", "upfield"]


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
    made.run(here=True)
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


def test_a_planned_method_is_trained_as_its_plan_says(finished):
    folder = finished.root / "models" / "upfield"
    plan, card = (read_json(folder / path) for path in ("fold-0/plan.json", "fold-0_seed-42/model.json"))
    kept = {name: value for name, value in plan["settings"].items() if name not in ("module", "preset")}
    assert card["settings"] == kept and None not in kept.values()
    assert (kept["base"], kept["patch"], kept["accumulate"]) == (4, [24, 24, 24], 1)
    assert set(plan["reasons"]) == {"flat_levels", "fold", "lr", "augmentation", "per_volume_val", "accumulate", "ema"}
    assert plan["fingerprint"]["pairs"] == 1 and plan["fingerprint"]["spacing"] == [2.0, 2.5, 2.5]
    assert plan["predicted"]["steps"] == card["steps"] == 2
    report = (finished.root / "report/index.html").read_text()
    assert 'id="plan"' in report and plan["reasons"]["ema"] in report
    assert "plan of upfield, fold 0: 4 channels" in finished.run("--dry-run")


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


@pytest.fixture(scope="module")
def applied(finished, balls, tmp_path_factory):
    """A dataset the study never saw, without targets, after a model that enlarges was applied to it."""
    data = balls(1, first=7)
    shutil.rmtree(data / "sub-07/ses-high")
    fine = nifti.load(data / "sub-07/ses-low/anat/sub-07_ses-low_T1w.nii.gz")
    grid = nifti.refine(fine.grid, (2, 2, 2))
    nifti.save(nifti.resample(fine, grid), data / "sub-08/anat/sub-08_T1w.nii.gz")
    # The source of the study's test participant, which the model never saw, in a dataset without its target.
    tested = person_tested(finished)
    shutil.copytree(finished.data / tested / "ses-low", data / tested / "ses-low")
    (data / "sub-09/anat").mkdir(parents=True)
    (data / "sub-09/anat/sub-09_T1w.nii.gz").write_bytes(b"this is not an image")
    out = tmp_path_factory.mktemp("applied")
    model = finished.root / "models/srgan3d/fold-0_seed-42"
    said = [f"model={model}", f"bids_dir={data}", f"output_dir={out}", "out_of_range=refuse"]
    done = run_snakemake("apply", "--config", *said, here=True)
    assert done.returncode == 0, done.stdout[-6000:]
    return data, out / "apply-srgan3d"


def test_trained_model_enhances_scans_that_have_no_target(finished, applied):
    data, root = applied
    table = read_tsv(root / "applied.tsv").set_index("participant_id")
    table = table.drop(person_tested(finished))
    assert table["status"].to_dict() == {"sub-07": "applied", "sub-08": "excluded", "sub-09": "excluded"}
    assert "voxels of 1.25 x 1.25 x 2 mm (the model has seen 2.5 x 2.5 x 4 mm)" in table.loc["sub-08", "warnings"]
    assert "cannot be read" in table.loc["sub-09", "reason"]
    (made,) = root.glob("sub-07/**/*_desc-srgan3d_T1w.nii.gz")
    assert made == root / table.loc["sub-07", "output"]
    native = nifti.load(data / "sub-07/ses-low/anat/sub-07_ses-low_T1w.nii.gz")
    image = nifti.load(made)
    assert image.grid.matches(nifti.refine(native.grid, (2, 2, 2)))
    # Hardly trained, so near interpolation: the head is in its place, on the scale that the targets had.
    inside = nifti.resample(native, image.grid)
    core = ndimage.binary_erosion(inside.data > 0, iterations=6)
    assert np.corrcoef(image.data[core], inside.data[core])[0, 1] > 0.7
    assert 250 < image.data[core].mean() < 550
    page = (root / "report/index.html").read_text()
    assert "sub-07_ses-low_T1w" in page and "voxels of 1.25" in page and "no target" in page


def test_outputs_as_applied_are_what_apply_makes_of_the_same_scan(finished, applied):
    (made,) = applied[1].glob(f"{person_tested(finished)}/**/*_desc-srgan3d_T1w.nii.gz")
    in_study = nifti.load(finished.root / made.relative_to(applied[1]))
    assert in_study.grid.matches(nifti.load(made).grid)
    np.testing.assert_allclose(in_study.data, nifti.load(made).data, rtol=1e-5, atol=1e-3)
    values = read_tsv(finished.root / "metrics/as_applied.tsv")
    assert set(values["method"]) == {"identity", "histogram_match", "denoise", "unet3d", *METHODS}
    assert np.isfinite(values.loc[values["region"] == "brain", "value"]).all()


def test_applied_dataset_is_a_valid_bids_derivative(applied):
    assert not bids_errors(applied[1])


@pytest.fixture(scope="module")
def elsewhere(finished, balls, tmp_path_factory):
    """Two participants the study never saw, after a model that enlarges was measured on them."""
    data = balls(2, first=7)
    out = tmp_path_factory.mktemp("elsewhere")
    done = run_snakemake("evaluate", "--config", *said_of(finished, data), f"output_dir={out}", here=True)
    assert done.returncode == 0, done.stdout[-6000:]
    return data, out / "evaluate-srgan3d"


def said_of(finished, data):
    """The configuration that measures the study's model on a dataset of balls."""
    sessions = (("source", "low"), ("target", "high"))
    return [
        f"model={finished.root}/models/srgan3d/fold-0_seed-42",
        *(f"{side}={{bids_dir: {data}, entities: {{session: {session}}}}}" for side, session in sessions),
        "preprocess={registration: {transform: none}}",
        "evaluate={regions: false, segmentation: false, audit: false, metrics: [psnr, pearson]}",
    ]


def test_a_model_is_measured_on_other_data(finished, elsewhere):
    data, root = elsewhere
    values = read_tsv(root / "metrics/per_subject.tsv")
    values = values[values["region"] == "brain"].set_index(["participant_id", "method", "metric"])["value"]
    people, measured = {"sub-07", "sub-08"}, {"identity", "spline", "histogram_match", "denoise", "srgan3d"}
    assert set(values.index) == set(product(people, measured, ("psnr", "pearson")))
    assert set(read_tsv(root / "applied.tsv")["status"]) == {"applied"}
    assert set(read_tsv(root / "metrics/as_applied.tsv")["method"]) == measured - {"spline"}
    typical = read_json(finished.root / "models/srgan3d/fold-0_seed-42/model.json")["domain"]["target"]
    assert read_json(root / "models/targets_fold-external.json") == typical
    for person in people:
        # By hand: the source's percentiles become those of the target, and one linear interpolation.
        source, target = (
            nifti.load(data / f"{person}/ses-{s}/anat/{person}_ses-{s}_T1w.nii.gz") for s in ("low", "high")
        )
        brain = target.data > 0
        (a, b), (c, d) = (np.percentile(image.data[image.data > 0], (0.5, 99.5)) for image in (source, target))
        moved = nifti.resample(source, target.grid, order=1).data
        error = ((moved - a) / (b - a) * (d - c) + c - target.data)[brain]
        assert values[person, "identity", "psnr"] == pytest.approx(
            10 * np.log10((d - c) ** 2 / (error**2).mean()), abs=1e-3
        )
    page = (root / "report/index.html").read_text()
    assert "trained before on 1 participant of other data" in page and 'id="split"' not in page


def test_a_model_is_not_measured_on_whom_it_has_seen(finished):
    seen = read_json(finished.root / "models/srgan3d/fold-0_seed-42/model.json")["participants"]
    done = run_snakemake("evaluate", "--dry-run", "--config", *said_of(finished, finished.data), here=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("config: ")]
    assert done.returncode != 0 and "model has seen" in line
    assert all(person in line for person in (*seen["train"], *seen["val"])) and person_tested(finished) not in line


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()
