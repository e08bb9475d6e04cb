"""Tables of the report: no empty columns, and metrics that order outputs alike are told once."""

import numpy as np
import pandas as pd
from upfield.evaluate.metrics import Reference
from upfield.evaluate.metrics.registry import TWINS
from upfield.files import read_tsv, write_tsv
from upfield.report import tables
from upfield.report.sections import leaderboard
from upfield.report.sections.quality import quality

from tests.unit.test_report import make_study, render

METHODS = ["unet3d", "spline"]


def board(**means):
    rows = [(method, "test", "brain", metric, 3, mean, 1.0, mean - 1, mean + 1)
            for metric, both in means.items() for method, mean in zip(METHODS, both, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=tables.COLUMNS["metrics/leaderboard"])


def test_a_metric_without_a_mean_has_no_column_and_twins_a_table_of_their_own():
    found = leaderboard.boards(board(psnr=(24, 22), rmse=(3, 4), mse=(9, 16), vif=(np.nan, np.nan)), METHODS)
    assert [part["metrics"] for part in found] == [["psnr", "rmse"], ["mse"]]
    assert [part["primary"] for part in found] == [True, False] and found[1]["title"].endswith("what follows from RMSE")
    # Without RMSE on the page nothing stands for its twin.
    assert [part["metrics"] for part in leaderboard.boards(board(mse=(9, 16)), METHODS)] == [["mse"]]


def test_twins_order_outputs_as_what_they_follow_from():
    random = np.random.default_rng(0)
    target = random.uniform(1, 9, (6, 6, 6)).astype(np.float32)
    reference = Reference(target, {"brain": np.ones(target.shape, bool)}, 8.0)
    measured = []
    for spread in (2, 0.1, 4, 0.5, 1):
        output = target + random.normal(0, spread, target.shape).astype(np.float32)
        measured.append({name: value for _, name, value in reference.measure(output, [*TWINS, *TWINS.values()])})
    table = pd.DataFrame(measured)
    for twin, metric in TWINS.items():
        assert table[twin].rank().to_list() == table[metric].rank().to_list()


def test_columns_without_a_value_are_left_out_of_the_page(tmp_path):
    images = make_study(tmp_path, n=1)
    text = render(tmp_path, images).text
    assert "Mean difference" in text
    for word in ("Hedges’ g Could show", "p, corrected Favours", "Non-inferior"):
        assert word not in text
    inventory = read_tsv(tmp_path / "inventory.tsv")
    write_tsv(tmp_path / "inventory.tsv", inventory.assign(manufacturer="n/a"))
    text = render(tmp_path, []).text
    assert "Field (T)" in text and "Manufacturer" not in text


def test_measurements_that_nobody_has_are_no_column_of_quality(tmp_path):
    rows = [("sub-01", "source", "snr", 9.0, "ok"), ("sub-01", "source", "snr_air", np.nan, "ok")]
    table = pd.DataFrame(rows, columns=["participant_id", "role", "metric", "value", "flag"])
    write_tsv(tmp_path / "qc" / "quality.tsv", table)
    assert list(quality(tmp_path)["scans"]["columns"]) == ["snr"]
