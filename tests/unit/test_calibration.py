"""Predicted standard deviation against the error: by hand, in simulated data, of files, and in the report."""

import numpy as np
import pandas as pd
import pytest
from upfield.evaluate import calibration
from upfield.evaluate.case import Case
from upfield.files import read_tsv, write_json, write_tsv
from upfield.image.nifti import Volume, save
from upfield.report import charts
from upfield.report.context import StudyContext
from upfield.report.sections import uncertainty
from upfield.study.designs.narrative import Narrative


def test_bins_by_hand():
    deviation = np.repeat([3.0, 1.0, 2.0], [2, 2, 6])
    error = np.array([6.0, -6, 1, -1, 2, -2, 2, -2, 2, -2])
    table = calibration.reliability(error, deviation)
    assert table["bin"].tolist() == list(range(1, 11)) and set(table["voxels"]) == {1}
    assert table["predicted"].tolist() == [1, 1, *[2] * 6, 3, 3]
    assert table["rmse"].tolist() == [1, 1, *[2] * 6, 6, 6]
    # Two of ten bins are off by 100 %.
    assert set(table["ence"]) == {0.2}
    assert set(table["spearman"].round(12)) == {1.0}


def test_a_bin_is_a_root_mean_square():
    table = calibration.reliability(np.tile([3.0, 4.0], 10), np.arange(1.0, 21))
    np.testing.assert_allclose(table["rmse"], np.sqrt(12.5))
    np.testing.assert_allclose(table["predicted"].iloc[0], np.sqrt(2.5))


@pytest.mark.parametrize(("factor", "ence"), [(1.0, 0.0), (0.5, 1.0), (2.0, 0.5)])
def test_scale_of_the_deviation_shows_in_ence_and_not_in_its_ranks(factor, ence):
    random = np.random.default_rng(0)
    true = random.uniform(0.5, 2, 200_000)
    table = calibration.reliability(random.normal(0, true), factor * true)
    assert table["ence"].iloc[0] == pytest.approx(ence, abs=0.02)
    assert 0.2 < table["spearman"].iloc[0] < 0.6


@pytest.mark.parametrize("deviation", [np.zeros(40), np.ones(40)])
def test_a_deviation_that_says_nothing_has_no_ranks(deviation):
    table = calibration.reliability(np.arange(40.0), deviation)
    assert table["spearman"].isna().all()
    assert table["ence"].isna().all() == (deviation[0] == 0)


def test_files_of_a_participant(tmp_path):
    random = np.random.default_rng(0)
    truth = random.uniform(100, 300, (12, 12, 12)).astype(np.float32)
    mask = np.zeros(truth.shape, dtype=np.uint8)
    mask[2:10, 2:10, 2:10] = 1
    deviation = random.uniform(5, 20, truth.shape).astype(np.float32)
    image = truth + deviation * random.choice([-1, 1], truth.shape)
    # What lies outside the brain must not count.
    image[mask == 0] = 1e6
    for name, data in (("truth", truth), ("mask", mask), ("image", image), ("std", deviation)):
        save(Volume(data, np.eye(4)), tmp_path / f"{name}.nii.gz")
    write_json(tmp_path / "good.json", {})
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})
    paths = [str(tmp_path / f"{name}.nii.gz") for name in ("image", "std", "truth", "mask")]

    def measure(sidecar):
        case = Case(
            participant="sub-01", fold="1", outputs={"unet3d": paths[0]}, uncertainties={"unet3d": paths[1]},
            reference=paths[2], mask=paths[3], judged_by=[str(tmp_path / f"{sidecar}.json")],
        )  # fmt: skip
        return calibration.calibrated(case)

    table = measure("good")
    assert list(table.columns) == calibration.COLUMNS and table["voxels"].sum() == 512
    np.testing.assert_allclose(table["predicted"], table["rmse"], rtol=1e-4)
    # In units of the robust range of the target, about 200.
    assert table["predicted"].between(5 / 210, 20 / 190).all()
    assert measure("bad").empty


@pytest.fixture
def study(tmp_path):
    """Three participants and two methods: one is right, the other says half of its error."""
    rows = []
    for person in range(3):
        for method, factor in (("right", 1.0), ("bold", 2.0)):
            for number in range(1, 11):
                predicted = 0.01 * number * (1 + 0.1 * person)
                rows.append((f"sub-{person}", method, "0", number, 100, predicted, factor * predicted, 0.4, factor - 1))
    write_tsv(tmp_path / "metrics" / "calibration.tsv", pd.DataFrame(rows, columns=calibration.COLUMNS))
    return tmp_path


def test_section_of_the_report(study):
    found = uncertainty.calibration(read_tsv(study / "metrics/calibration.tsv"), ["spline", "bold", "right"])
    assert [(row["method"], row["n"], row["ence"]) for row in found["rows"]] == [("bold", 3, 1.0), ("right", 3, 0.0)]
    for row, factor in zip(found["rows"], (2, 1), strict=True):
        assert row["predicted"] == pytest.approx(0.01 * np.sqrt(38.5) * 1.1)
        assert row["rmse"] == pytest.approx(factor * row["predicted"])
    assert found["chart"][:4] == b"\x89PNG"
    assert uncertainty.applies(StudyContext(study, {}, {}, Narrative()))
    assert not uncertainty.applies(StudyContext(study / "elsewhere", {}, {}, Narrative()))


def test_methods_share_a_scale(study):
    table = pd.read_csv(study / "metrics" / "calibration.tsv", sep="\t")
    one = charts.reliability(table, ["right"])
    assert one == charts.reliability(table, ["right"]), "the same bytes"
    sizes = [charts.reliability(table, methods)[16:24] for methods in (["right"], ["right", "bold"])]
    assert sizes[0] != sizes[1]
