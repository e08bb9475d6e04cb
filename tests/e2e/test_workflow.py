"""One whole run on a small awkward dataset, and what happens to it afterwards.

Heads of 20 cm are replaced by skull-stripped balls of 32 voxels, so that a run takes a minute; everything else is
the real workflow. Four of seven participants are unusable, each in its own way, and every grid is oblique or flipped.
"""

import json
import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from upfield import step
from upfield.files import read_json, read_tsv
from upfield.image import nifti
from upfield.patches import Store
from upfield.quality import PICTURES

from tests.e2e import results_of_steps
from tests.e2e.conftest import ROOT, bids_errors, grid_of, head

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).with_name("results_of_steps.json")

METHODS = ["identity", "spline", "histogram_match", "denoise", "unet3d", "unet3d_patchgan"]
CONTRACT = [
    "dataset_description.json", "inventory.tsv", "pairs.tsv", "excluded.tsv", "splits.tsv", "metrics/per_subject.tsv",
    "metrics/leaderboard.tsv", "metrics/comparisons.tsv", "qc/quality.tsv", "report/index.html",
]  # fmt: skip
GAN = {"discriminator_base": 4, "lr_discriminator": 1e-3}
SMALL = {"base": 4, "levels": 1, "lr": 2e-3, "batch_size": 2}


@pytest.fixture(scope="module")
def finished(study, balls):
    """The study after its first run."""
    data = balls(7)
    # Somebody else's head: only quality control can tell, since it is no copy of another scan.
    nifti.save(
        head(1, grid_of(1, (2.0, 2.5, 2.5), True), 1.9), data / "sub-07/ses-high/anat/sub-07_ses-high_T1w.nii.gz"
    )
    (data / "sub-04/ses-high/anat/sub-04_ses-high_T1w.nii.gz").unlink()
    (data / "sub-05/ses-low/anat/sub-05_ses-low_T1w.nii.gz").write_bytes(b"this is not an image")
    four = nib.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4))
    nib.save(four, data / "sub-06/ses-high/anat/sub-06_ses-high_T1w.nii.gz")
    for person in ("sub-01", "sub-02", "sub-03"):
        labels = nib.load(data / f"{person}/ses-high/anat/{person}_ses-high_T1w.nii.gz")
        core = ndimage.binary_erosion(labels.get_fdata() > 0, iterations=5)
        nib.save(nib.Nifti1Image(7 * core.astype(np.uint8), labels.affine), data.parent / f"{person}_dseg.nii.gz")
    (data.parent / "dseg.tsv").write_text("index\tname\n7\tcore\n")
    made = study(
        {
            "study": "balls",
            "source": {"bids_dir": str(data), "entities": {"session": "low", "suffix": "T1w"}},
            "target": {"bids_dir": str(data), "entities": {"session": "high", "suffix": "T1w"}},
            "preprocess": {
                "spacing": 2.5, "n4": False, "brain": {"method": "none"}, "registration": {"transform": "none"},
            },
            "splits": {"fractions": {"train": 0.34, "val": 0.33, "test": 0.33}},
            "patches": {"size": 24, "per_volume": 8, "per_volume_val": 2},
            "methods": ["unet3d_patchgan"],
            "method_overrides": {"unet3d": SMALL, "unet3d_patchgan": SMALL | GAN},
            "train": {"epochs": 2},
            "evaluate": {
                "atlas": {
                    "images": f"{data.parent}/{{participant}}_dseg.nii.gz", "names": f"{data.parent}/dseg.tsv",
                },
            },
        }
    )  # fmt: skip
    made.data = data
    made.run(here=True)
    return made


def person_tested(finished) -> str:
    splits = read_tsv(finished.root / "splits.tsv")
    return splits.loc[splits["split"] == "test", "participant_id"].item()


def prediction(finished, method: str) -> Path:
    label = method.replace("_", "")
    (path,) = finished.root.glob(f"{person_tested(finished)}/ses-low/anat/*_space-target_desc-{label}_T1w.nii.gz")
    return path


def test_every_file_of_the_contract_is_there(finished):
    missing = [name for name in CONTRACT if not (finished.root / name).is_file()]
    assert not missing
    for method in ("unet3d", "unet3d_patchgan"):
        folder = finished.root / "models" / method / "fold-0_seed-42"
        assert {"model.safetensors", "model.json", "history.tsv"} <= {path.name for path in folder.iterdir()}
        assert len(list((folder / "figures").glob("epoch-*.png"))) == 2
        card = read_json(folder / "model.json")
        assert card["split_sha"] and card["config_sha"] and card["versions"]["torch"]
        assert len(card["participants"]["train"]) == len(card["participants"]["val"]) == 1
    assert list(finished.root.glob("logs/*/*")) and list(finished.root.glob("benchmarks/*/*"))


def test_bad_scans_are_excluded_with_reasons_and_the_rest_is_used(finished):
    excluded = read_tsv(finished.root / "excluded.tsv").set_index("participant_id")
    assert sorted(excluded.index) == ["sub-04", "sub-05", "sub-06", "sub-07"]
    assert "no target scan" in excluded.loc["sub-04", "reason"]
    assert "cannot be read" in excluded.loc["sub-05", "reason"]
    assert "4D" in excluded.loc["sub-06", "reason"]
    assert list(read_tsv(finished.root / "pairs.tsv")["participant_id"]) == ["sub-01", "sub-02", "sub-03"]
    assert excluded.loc["sub-07", "stage"] == "qc" and "mirror image" in excluded.loc["sub-07", "reason"]
    assert "sub-07" not in set(read_tsv(finished.root / "splits.tsv")["participant_id"])
    assert not len(Store(finished.root / "patches/sub-07.safetensors").centres)
    report = (finished.root / "report/index.html").read_text()
    assert all(reason[:40] in report for reason in excluded["reason"])


def test_every_pair_is_measured_and_drawn(finished):
    table = read_tsv(finished.root / "qc/quality.tsv")
    assert sorted(table["participant_id"].unique()) == ["sub-01", "sub-02", "sub-03", "sub-07"]
    gain = table[table["metric"] == "mirror_gain"].set_index("participant_id")
    assert gain["flag"].to_dict() == {"sub-01": "ok", "sub-02": "ok", "sub-03": "ok", "sub-07": "exclude"}
    assert gain.loc["sub-07", "value"] < gain["value"].drop("sub-07").min() / 3
    report = (finished.root / "report/index.html").read_text()
    quality = report.split('<section id="quality"')[1].split("</section>")[0]
    assert quality.count("data:image/webp") == 4 * len(PICTURES)


def test_metrics_are_of_the_test_participant_by_every_method(finished):
    values = read_tsv(finished.root / "metrics/per_subject.tsv")
    assert set(values["participant_id"]) == {person_tested(finished)}
    assert set(values["method"]) == set(METHODS)
    assert set(values["region"]) >= {"brain", "core", "volume"}
    tissues = {f"{what}_{name}" for what in ("dice", "volume_error") for name in ("csf", "grey", "white")}
    assert set(values["metric"]) - tissues == {
        "psnr", "ssim", "mae", "mse", "rmse", "nrmse_range", "nrmse_euclidean", "nmse_variance", "nmse_energy",
        "pearson", "ms_ssim",
    }  # fmt: skip
    board = read_tsv(finished.root / "metrics/leaderboard.tsv")
    assert list(board.columns) == ["method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"]


def test_every_method_is_measured_as_apply_would_deliver_it(finished):
    values, known = (read_tsv(finished.root / f"metrics/{name}.tsv") for name in ("as_applied", "per_subject"))
    assert list(values.columns) == list(known.columns)
    assert set(values["method"]) == set(METHODS) - {"spline"} and set(values["participant_id"]) == {
        person_tested(finished)
    }
    boards = [read_tsv(finished.root / f"metrics/{name}.tsv") for name in ("as_applied_leaderboard", "leaderboard")]
    assert list(boards[0].columns) == list(boards[1].columns)
    # One intensity scale for all of an image leaves its correlation with the target as it was.
    both = [
        table[(table["region"] == "brain") & (table["metric"] == "pearson")].set_index("method")["value"]
        for table in (values, known)
    ]
    assert both[0]["identity"] == pytest.approx(both[1]["identity"], abs=1e-4)
    person = person_tested(finished)
    (source,) = (finished.data / f"{person}/ses-low/anat").glob("*.nii.gz")
    for method in ("identity", "unet3d"):
        (image,) = finished.root.glob(f"{person}/ses-low/anat/{person}_ses-low_desc-{method}_T1w.nii.gz")
        assert read_json(str(image).replace(".nii.gz", ".json"))["Method"] == method
    np.testing.assert_allclose(
        nib.load(str(image).replace("unet3d", "identity")).affine, nib.load(source).affine, atol=1e-4
    )
    card = read_json(finished.root / "models/unet3d/fold-0_seed-42/model.json")
    assert read_json(finished.root / "models/targets_fold-0.json") == card["domain"]["target"]
    report = (finished.root / "report/index.html").read_text()
    assert "target known" in report.split('<section id="as-applied"')[1].split("</section>")[0]


def test_every_method_is_counted_as_others_count_and_wins_nothing_by_it(finished):
    values = read_tsv(finished.root / "metrics/as_others_count.tsv")
    assert set(values["method"]) == set(METHODS) and set(values["participant_id"]) == {person_tested(finished)}
    board = read_tsv(finished.root / "metrics/as_others_count_leaderboard.tsv")
    means = board.pivot(index="method", columns="metric", values="mean")
    own = read_tsv(finished.root / "metrics/leaderboard.tsv")
    psnr = own[(own["metric"] == "psnr") & (own["region"] == "brain")].set_index("method")["mean"]
    assert (means["psnr_volume"] - psnr > 3).all() and means["mrixfields_rank_sum"].sum() == 2 * sum(range(1, 7))
    for name in ("per_subject", "leaderboard", "ranks", "comparisons"):
        assert not set(read_tsv(finished.root / f"metrics/{name}.tsv")["metric"]) & set(means.columns)
    section = (finished.root / "report/index.html").read_text().split('<section id="as-others-count"')[1]
    assert "dB higher" in section.split("</section>")[0]


@pytest.mark.parametrize("method", METHODS)
def test_predictions_lie_on_the_native_target_in_its_world_and_intensities(finished, method):
    person = person_tested(finished)
    number = int(person.removeprefix("sub-"))
    target = nib.load(finished.data / f"{person}/ses-high/anat/{person}_ses-high_T1w.nii.gz")
    image = nib.load(prediction(finished, method))
    assert image.get_data_dtype() == np.float32
    assert image.shape == target.shape
    np.testing.assert_allclose(image.affine, target.affine, atol=1e-4)
    data = image.get_fdata()
    where = np.stack(np.where(data > 0.3 * np.percentile(data, 99)))
    centre = (image.affine @ np.append(where.mean(axis=1), 1))[:3]
    assert np.linalg.norm(centre - number) < 1.5
    inside = target.get_fdata() > 0
    assert abs(data[inside].mean() - target.get_fdata()[inside].mean()) < 0.25 * target.get_fdata()[inside].mean()
    sidecar = read_json(str(prediction(finished, method)).replace(".nii.gz", ".json"))
    assert sidecar["Method"] == method


def test_preprocessed_pairs_share_one_grid_and_can_be_inverted(finished):
    low, high = (next(finished.root.glob(f"sub-01/ses-{s}/anat/*desc-preproc_T1w.nii.gz")) for s in ("low", "high"))
    a, b = nifti.load(low), nifti.load(high)
    assert a.grid.matches(b.grid)
    assert nib.aff2axcodes(a.affine) == ("R", "A", "S")
    card = read_json(str(high).replace(".nii.gz", ".json"))
    back = b.data * card["IntensityScale"] + card["IntensityOffset"]
    original = nifti.resample(
        nifti.load(finished.data / "sub-01/ses-high/anat/sub-01_ses-high_T1w.nii.gz"), b.grid, order=3
    )
    core = ndimage.binary_erosion(original.data > 100, iterations=3)
    assert np.abs(back - original.data)[core].max() < 0.01 * np.ptp(original.data)


def test_the_study_is_a_valid_bids_derivative(finished):
    assert not bids_errors(finished.root)


# Run last, in this order: they change the finished study.


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()


def test_editing_a_report_option_reruns_the_report_alone(finished):
    finished.config["report"] = {"subjects": 0}
    finished.write()
    assert set(finished.planned()) == {"html_report", "report"}
    finished.config["report"] = {"subjects": 6}
    finished.write()
    assert not finished.planned()


def test_a_deleted_prediction_is_made_again_without_training(finished):
    path = prediction(finished, "unet3d")
    before = path.read_bytes()
    path.unlink()
    planned = finished.planned()
    again = ["enhance", "measure", "measure_as_others", "as_others_count", "segment", "audit", "findings", "summarise",
             "export", "html_report", "report"]  # fmt: skip
    assert planned == dict.fromkeys(again, 1)
    finished.run(here=True)
    assert path.read_bytes() == before
    assert not finished.planned()


def test_a_changed_setting_retrains_that_method_alone(finished):
    finished.config["method_overrides"]["unet3d_patchgan"]["lambda_adv"] = 2.0
    finished.write()
    planned = finished.planned()
    assert planned["train_model"] == 1
    assert not {"brain", "standardise", "patch_store", "fit_histogram"} & set(planned)
    finished.config["method_overrides"]["unet3d_patchgan"].pop("lambda_adv")
    finished.write()


def test_snakemake_makes_its_own_report_too(finished):
    packed = finished.root.parent / "snakemake-report.zip"
    finished.run("--report", str(packed))
    with zipfile.ZipFile(packed) as archive:
        files = {Path(name).name: archive.read(name) for name in archive.namelist()}
    for name in ("metrics/leaderboard.tsv", "metrics/audit.tsv", "qc/quality.tsv", "report/index.html"):
        assert files[Path(name).name] == (finished.root / name).read_bytes()
    page = files["report.html"].decode()
    for caption in ("leaderboard", "comparisons", "ranks", "agreement", "audit", "structures", "quality", "report"):
        words = (ROOT / f"workflow/report/{caption}.rst").read_text().split(",")[0].split(":")[0].strip()
        assert words in page, "a caption is shown beside its file"


def test_tables_are_tables(finished):
    for name in (name for name in CONTRACT if name.endswith(".tsv")):
        assert len(pd.read_csv(finished.root / name, sep="\t").columns) > 2


def test_results_of_a_step_change_only_with_its_version(finished):
    """Whoever changes what a step writes raises its version, or finished studies keep files that are no longer made."""
    found = {
        name: {
            "version": step.declared(name).version,
            "files": {
                str(path.relative_to(finished.root)): results_of_steps.of(path)
                for pattern in patterns
                for path in sorted(finished.root.glob(pattern))
            },
        }
        for name, patterns in results_of_steps.FILES.items()
    }
    assert [name for name, result in found.items() if not result["files"]] == []
    if "UPFIELD_WRITE_RESULTS" in os.environ:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    kept = json.loads(RESULTS.read_text())
    assert set(kept) == set(found)
    changed = [name for name in kept if results_of_steps.differ(kept[name]["files"], found[name]["files"])]
    unchanged_version = [name for name in changed if kept[name]["version"] == found[name]["version"]]
    assert unchanged_version == [], "raise the version of these steps, then write the results anew"
    assert changed == [], "write the results anew: UPFIELD_WRITE_RESULTS=1"
