"""Scores as others count them: their definitions by hand, and that nothing is decided by them."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage import metrics as reference
from upfield.bids import sidecar
from upfield.catalogue.metrics import OTHERS, RANK_SUM
from upfield.errors import ScanError
from upfield.evaluate import as_others_count as step
from upfield.evaluate.case import Case
from upfield.evaluate.metrics import compute, others, reference_range
from upfield.evaluate.metrics.registry import KNOWN
from upfield.files import read_tsv, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.report.context import StudyContext
from upfield.report.sections import as_others_count as section
from upfield.study.designs import known
from upfield.study.designs.narrative import Narrative

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
BOARD = ["method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"]


def head(shape=(40, 44, 42), seed=0):
    """A smooth reference and a noisy output, 0 outside an ellipsoid in the middle, and the ellipsoid."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(a**2 for a in axes) < 0.65**2
    smooth = 300 + 900 * ndimage.gaussian_filter(random.normal(size=shape), 2)
    smooth[brain.nonzero()[0][0], brain.nonzero()[1][0], brain.nonzero()[2][0]] = 900
    noisy = smooth + 25 * random.normal(size=shape)
    return np.where(brain, noisy, 0), np.where(brain, smooth, 0), brain


def test_the_whole_volume_by_hand():
    target, brain = np.zeros((10, 20, 20)), np.zeros((10, 20, 20), bool)
    brain[4:6, 4:6, 4:6] = True
    target[brain] = 100
    target[4, 4, 4] = 200
    output = np.where(brain, target + 10, 0)
    # Squared error 100 in 8 of 4,000 voxels: MSE 0.2. Maximum 200: 10 log10(40000 / 0.2) = 10 log10(200000) = 53.01.
    found = others.whole_volume(output, target, brain)
    assert found["psnr_volume"] == pytest.approx(53.0103, abs=1e-4)
    assert others.whole_volume(target, target, brain) == {"psnr_volume": np.inf, "ssim_volume": pytest.approx(1)}
    assert np.isnan(list(others.whole_volume(output, -target, brain).values())).all()
    assert np.isnan(others.whole_volume(*(array[:, :10] for array in (output, target, brain)))["ssim_volume"])


def test_the_ssim_of_the_whole_volume_is_that_of_another_library():
    # Away from the border, where one library mirrors the image and the other stops.
    output, target, brain = (np.pad(array, 5) for array in head())
    _, field = reference.structural_similarity(
        output, target, data_range=target.max(), gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert others.whole_volume(output, target, brain)["ssim_volume"] == pytest.approx(field.mean(), abs=1e-9)


def test_one_image_reads_several_db_higher_by_the_whole_volume_for_two_reasons_alone():
    output, target, brain = head()
    robust = reference_range(target, brain)
    inside = compute(output, target, brain, robust, ["psnr", "ssim"])
    whole = others.whole_volume(output, target, brain)
    background = 10 * np.log10(brain.size / brain.sum())
    by_range = 20 * np.log10(target.max() / robust)
    assert whole["psnr_volume"] - inside["psnr"] == pytest.approx(background + by_range, abs=1e-9)
    assert background > 4 and by_range > 3 and whole["ssim_volume"] > inside["ssim"] + 0.05


def two_voxels():
    """Two neighbours in the middle of nothing: 200 and 100 in the reference, 40 and 10 in the output."""
    output, target, brain = np.zeros((15, 15, 15)), np.zeros((15, 15, 15)), np.zeros((15, 15, 15), bool)
    brain[7, 7, 7:9] = True
    target[brain], output[brain] = (200, 100), (40, 10)
    return output, target, brain


def test_ulf_enc_by_hand():
    found = others.ulf_enc(*two_voxels())
    # Each scaled by its own minimum and maximum: 1 and 0.5, 1 and 0.25. Errors 0 and 0.25.
    # PSNR: 10 log10(1e8) = 80 and 10 log10(1 / 0.0625) = 12.0412, mean 46.0206; that of the MSE would be 15.05.
    assert found["psnr"] == pytest.approx(46.0206, abs=1e-4)
    assert found["mae"] == pytest.approx(0.125)
    # MSE 0.03125 by the mean square 0.625.
    assert found["nmse"] == pytest.approx(0.05)
    # Windows of 343 voxels around both hold both. Means 1.5 / 343 and 1.25 / 343; variances (n - 1)
    # (1.25 - 1.5^2 / 343) / 342 = 0.00363579 and (1.0625 - 1.25^2 / 343) / 342 = 0.00309341, covariance
    # (1.125 - 1.5 * 1.25 / 343) / 342 = 0.00327349. With 0.0001 and 0.0009:
    # (3.18747e-5 + 1e-4) / (3.24057e-5 + 1e-4) * (0.00654698 + 0.0009) / (0.0067292 + 0.0009) = 0.9722.
    assert found["ssim"] == pytest.approx(0.97220, abs=2e-5)
    # 0.7 * 0.9722 + 0.1 * 46.0206 / 32 + 0.1 * 0.875 + 0.1 * 0.95
    assert found["score"] == pytest.approx(1.00685, abs=2e-5)


def test_ulf_enc_takes_each_image_on_its_own_scale_and_stops_at_its_bounds():
    output, target, brain = two_voxels()
    best = {"ssim": 1, "psnr": 80, "mae": 0, "nmse": 0, "score": 1.15}
    assert others.ulf_enc(target * 3, target, brain) == pytest.approx(best, abs=1e-9)
    # The dim voxel is the bright one: scaled 1 and 0 for 0 and 1, and 2 by the mean square 0.5 is 4, kept at 1.
    output[brain], target[brain] = (1, 0), (0, 1)
    assert others.ulf_enc(output, target, brain)["nmse"] == 1
    assert np.isnan(list(others.ulf_enc(output * 0, target, brain).values())).all()
    flat = [array[:, :, 5:10] for array in two_voxels()]
    found = others.ulf_enc(*flat)
    assert np.isnan([found["ssim"], found["score"]]).all() and found["mae"] == pytest.approx(0.125)


def test_cutting_the_brain_out_changes_no_voxel_of_ulf_enc():
    output, target, brain = head()
    scaled = [np.where(brain, (one - one.min()) / np.ptp(one), 0) for one in (output, target)]
    _, field = reference.structural_similarity(*scaled, data_range=1.0, full=True)
    assert others.ulf_enc(output, target, brain)["ssim"] == pytest.approx(field[brain].mean(), abs=1e-9)


def test_mrixfields_by_hand():
    target, output = np.zeros((10, 10, 10)), np.zeros((10, 10, 10))
    target[6, 3:6, 3:6], output[6, 3:6, 3:6] = 100, 50
    target[6, 4, 4], output[0, 0, 0] = 300, -20
    # Of 1,000 voxels 8 have 100 and one 300, so the 99.5 percentile is 100: the reference is 1 in 9 voxels, the output
    # 0.5; what is below 0 or above 1 is cut off. sqrt(9 * 0.25) / sqrt(9) = 0.5.
    found = others.mrixfields(output, target, axial=0)
    assert found["nrmse"] == pytest.approx(0.5)
    # One slice is not empty. Its inner 4 x 4 windows of 49 pixels all hold the 9: means 9 / 49 and half of it, variance
    # (9 - 81 / 49) / 48 = 0.153061 and a quarter of it, covariance half of it. With 0.0001 and 0.0009:
    # (0.0337359 + 1e-4) / (0.0421699 + 1e-4) * (0.153061 + 9e-4) / (0.191327 + 9e-4) = 0.800473 * 0.800936.
    assert found["ssim"] == pytest.approx(0.64113, abs=2e-5)
    assert found["ssim"] != pytest.approx(others.mrixfields(output, target, axial=1)["ssim"], abs=1e-3)
    assert np.isnan(list(others.mrixfields(output, target * 0, axial=0).values())).all()
    assert np.isnan(others.mrixfields(output[:, :5], target[:, :5], axial=0)["ssim"])


def test_ranks_are_added_over_metrics():
    def rows(metric, means):
        return [(name, "test", "volume", metric, 3, mean, 0.1, 0, 1) for name, mean in means.items()]

    means = {"a": 0.2, "b": 0.3, "c": 0.3}, {"a": 0.9, "b": 0.95, "c": 0.8, "d": 0.99}
    table = [*rows("mrixfields_nrmse", means[0]), *rows("mrixfields_ssim", means[1]), *rows("psnr_volume", means[0])]
    found = step.rank_sums(pd.DataFrame(table, columns=BOARD))
    # Lower is better: 1, 2.5, 2.5; higher is better: 3, 2, 4, 1 with d, which has no nRMSE and so no sum.
    assert found.set_index("method")["mean"].to_dict() == {"a": 4, "b": 4.5, "c": 6.5}
    assert list(found.columns) == BOARD and set(found["metric"]) == {RANK_SUM} and set(found["n"]) == {3}
    assert step.rank_sums(pd.DataFrame(columns=BOARD)).empty


@pytest.fixture
def case(tmp_path):
    """A case of two methods, with a skull of 5,000 in target and one output; slices lie across the first axis."""
    output, target, brain = head((24, 26, 28))
    skull = ndimage.binary_dilation(brain, iterations=2) & ~brain
    affine = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])
    images = {
        "target": target + 5000 * skull, "mask": brain, "bare": output, "with_skull": output + 5000 * skull,
    }  # fmt: skip
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in images}
    for name, data in images.items():
        nifti.save(Volume(data.astype(np.float32), affine), paths[name])
        write_json(sidecar(paths[name]), {})
    return Case(
        participant="sub-01", mask=paths["mask"], outputs={"bare": paths["bare"], "with_skull": paths["with_skull"]},
        reference=paths["target"], judged_by=[str(sidecar(paths["target"]))],
    )  # fmt: skip


def test_a_skull_that_networks_do_not_make_changes_nothing(case, tmp_path):
    step.measure(case, str(tmp_path / "values.tsv"))
    values = read_tsv(tmp_path / "values.tsv")
    assert list(values.columns) == COLUMNS
    wide = values.pivot(index="metric", columns="method", values="value")
    pd.testing.assert_series_equal(wide["bare"], wide["with_skull"], check_names=False)
    assert set(wide.index) == {metric.name for metric in OTHERS} - {RANK_SUM}
    output, target, brain = (nifti.load(path).data for path in (case.outputs["bare"], case.reference, case.mask))
    by_axis = others.mrixfields(output, np.where(brain > 0, target, 0), axial=0)
    assert wide.loc["mrixfields_ssim", "bare"] == pytest.approx(by_axis["ssim"])
    write_json(case.judged_by[0], {"Excluded": "no brain found"})
    assert step.measured(case).empty


def test_values_that_are_not_finite_are_refused():
    output, target, brain = two_voxels()
    output[7, 7, 7] = np.nan
    with pytest.raises(ScanError, match="output has 1 NaN"):
        others.measure(output, target, brain, 2)


def test_nothing_can_be_won_by_them():
    assert not {metric.name for metric in OTHERS} & set(KNOWN)
    config = {"as_applied": False, "audit": False, "lesions": False, "as_others_count": True}
    tables = [known()[name].tables({"evaluate": config}) for name in ("paired", "simulated", "unpaired")]
    assert ["as_others_count" in names for names in tables] == [True, True, False]
    assert not known()["paired"].tables({"evaluate": config | {"as_others_count": False}})


def test_the_section_says_what_background_and_range_add(tmp_path):
    def values(name, rows):
        table = [(who, "identity", "0", "n/a", "test", *row) for who, *row in rows]
        pd.DataFrame(table, columns=COLUMNS).to_csv(tmp_path / f"metrics/{name}.tsv", sep="\t", index=False)

    def board(name, rows):
        table = [("identity", "test", *row[:2], 2, row[2], None, None, None) for row in rows]
        pd.DataFrame(table, columns=BOARD).to_csv(tmp_path / f"metrics/{name}.tsv", sep="\t", index=False)

    assert not section.applies(StudyContext(tmp_path, {}, {}, Narrative()))
    (tmp_path / "metrics").mkdir()
    rows = [("sub-01", "brain", "psnr", 20.0), ("sub-01", "volume", "psnr", 26.0), ("sub-02", "brain", "psnr", 21.0),
            ("sub-02", "volume", "psnr", 28.0)]  # fmt: skip
    values("per_subject", rows)
    values("as_others_count", [(f"sub-0{k}", "volume", "psnr_volume", 28.0 + k) for k in (1, 2)])
    board("leaderboard", [("brain", "psnr", 20.5), ("volume", "psnr", 27.0)])
    board("as_others_count_leaderboard", [("volume", "psnr_volume", 29.5), ("volume", RANK_SUM, 2.0)])
    context = StudyContext(tmp_path, {}, {}, Narrative())
    found = section.build(context)["others"]
    # 29 - 20 and 30 - 21; of which 6 and 7 by background alone.
    assert section.applies(context) and found["gap"] == pytest.approx({"whole": 9.0, "background": 6.5})
    assert list(found["columns"]) == ["psnr_volume", RANK_SUM] and found["own"] == ["psnr"] and found["n"] == 2
    assert found["text"] == {("identity", "psnr_volume"): "29.50", ("identity", RANK_SUM): "2"}
    values("per_subject", [("sub-01", "brain", "ssim", 0.9)])
    assert section.gap(StudyContext(tmp_path, {}, {}, Narrative())) is None
