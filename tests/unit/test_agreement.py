"""Agreement, ranks and outliers: by hand, by another formula, and with too few participants."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from upfield.evaluate.statistics import AGREEMENT, OUTLIERS, QUANTITIES, RANKS, agreement, outliers, ranks
from upfield.evaluate.statistics.agreement import intraclass


def quantities(output, truth, method="gan", quantity="volume_ml"):
    rows = [
        [f"sub-{place:02d}", method, "grey", quantity, one, other]
        for place, (one, other) in enumerate(zip(output, truth, strict=True), start=1)
    ]
    return pd.DataFrame(rows, columns=QUANTITIES)


def values(table, metric="psnr", **changed):
    rows = [
        {"participant_id": f"sub-{place:02d}", "method": method, "fold": "0", "seed": "42", "split": "test",
         "region": "brain", "metric": metric, "value": value} | changed
        for method, column in table.items() for place, value in enumerate(column, start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


# -- agreement -----------------------------------------------------------------------------------------------------


def test_bland_altman_by_hand():
    row = agreement(quantities([11.0, 12.0, 16.0, 17.0], [10.0, 12.0, 14.0, 16.0])).iloc[0]
    # Differences 1, 0, 2, 1: mean 1, variance 2 / 3.
    sd = np.sqrt(2 / 3)
    assert (row.n, row.bias, row.sd) == (4, 1, pytest.approx(sd))
    assert (row.limit_low, row.limit_high) == pytest.approx((1 - 1.96 * sd, 1 + 1.96 * sd))
    half = stats.t.ppf(0.975, 3) * sd / 2
    # Carkeet 2015: the limits' distance from the bias in standard errors is noncentral t.
    ends = stats.nct.ppf([0.025, 0.975], 3, 1.96 * 2) * sd / 2
    assert (row.limit_high_low, row.limit_high_high) == pytest.approx((1 + ends[0], 1 + ends[1]), rel=1e-4)
    assert (row.limit_low_low, row.limit_low_high) == pytest.approx((1 - ends[1], 1 - ends[0]), rel=1e-4)
    assert row.next_high - 1 == pytest.approx(stats.t.ppf(0.975, 3) * sd * np.sqrt(1.25))
    assert (row.bias_low, row.bias_high) == pytest.approx((1 - half, 1 + half))
    assert row.p_slope == pytest.approx(stats.pearsonr([10.5, 12, 15, 16.5], [1, 0, 2, 1]).pvalue)
    assert "rough" in row.note and row.note.startswith("4 participants")


# Six targets rated by four judges: table 2 of Shrout and Fleiss 1979, https://doi.org/10.1037/0033-2909.86.2.420
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_intraclass_correlations_of_shrout_and_fleiss():
    found = intraclass(np.array(JUDGES, dtype=float))
    # Their table 4 says .17 and .29. The intervals are those of R's packages psych and irr for these numbers.
    assert found["icc_1_1"] == pytest.approx((0.166, -0.133, 0.723), abs=5e-4)
    assert found["icc_a_1"] == pytest.approx((0.290, 0.019, 0.761), abs=5e-4)


def test_intraclass_correlations_of_two_columns_by_hand():
    # Rows (1, 3), (4, 4), (8, 10): means 2, 4, 9 around 5, differences 2, 0, 2. Mean squares: between 26, within 4 / 3,
    # between columns 8 / 3, residual 2 / 3.
    found = intraclass(np.array([[1.0, 3.0], [4.0, 4.0], [8.0, 10.0]]))
    assert found["icc_1_1"][0] == pytest.approx((26 - 4 / 3) / (26 + 4 / 3))
    assert found["icc_a_1"][0] == pytest.approx((26 - 2 / 3) / (26 + 2 / 3 + 2 * (8 / 3 - 2 / 3) / 3))
    # F(2, 3) at 0.975 is 16.0441, F(3, 2) is 39.1655; the ratio of mean squares is 19.5.
    assert found["icc_1_1"][1:] == pytest.approx((0.09723, 0.99738), abs=1e-5)


def test_agreement_tells_a_constant_difference_from_none():
    target = np.array([500.0, 600.0, 610.0, 700.0])
    assert intraclass(np.column_stack([target, target])) == {"icc_1_1": (1, 1, 1), "icc_a_1": (1, 1, 1)}
    value, low, high = intraclass(np.column_stack([target + 50, target]))["icc_a_1"]
    assert 0 < low < value < high < 1
    row = agreement(quantities(target + 50, target)).iloc[0]
    assert (row.icc_a_1, row.icc_a_1_low, row.icc_a_1_high) == (value, low, high)


def test_small_and_degenerate_samples_have_no_more_than_they_can_carry():
    one = agreement(quantities([5.0], [4.0])).iloc[0]
    assert (one.n, one.bias) == (1, 1) and one[["sd", "limit_low", "icc_1_1", "bias_low"]].isna().all()
    assert one.note.startswith("1 participant:")
    same = agreement(quantities([5.0] * 4, [4.0] * 4)).iloc[0]
    assert same.sd == 0 and pd.isna(same.icc_a_1) and pd.isna(same.p_slope)
    part = agreement(quantities([5.0, np.nan, 7.0, 8.0], [4.0, 5.0, np.inf, 6.0])).iloc[0]
    assert (part.n, part.bias) == (2, 1.5)
    nothing = agreement(pd.DataFrame(columns=QUANTITIES))
    assert list(nothing.columns) == AGREEMENT and nothing.empty


def test_quantities_and_methods_are_kept_apart():
    tables = [quantities([1.0, 2.0], [0.0, 0.0], m, q) for m in ("b", "a") for q in ("snr", "cnr")]
    table = agreement(pd.concat(tables))
    assert list(zip(table.method, table.quantity, strict=True)) == [
        ("a", "cnr"), ("a", "snr"), ("b", "cnr"), ("b", "snr"),
    ]  # fmt: skip
    assert list(table.columns) == AGREEMENT


# -- ranks ---------------------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    psnr = {"gan": [30.0, 31.0, 29.0, 33.0], "unet": [31.0, 32.0, 29.0, 32.0], "spline": [20.0, 21.0, 22.0, 23.0]}
    table = ranks(values(psnr), {"psnr"}, set(), seed=0).set_index("method")
    # gan is 2nd, 2nd, tied 1st, 1st; unet 1st, 1st, tied 1st, 2nd.
    assert list(table.index) == ["unet", "gan", "spline"]
    assert table.mean_rank.to_list() == [(1 + 1 + 1.5 + 2) / 4, (2 + 2 + 1.5 + 1) / 4, 3]
    assert table.wins.to_list() == [2.5, 1.5, 0] and (table.n == 4).all()
    assert (table.ci_low <= table.mean_rank).all() and (table.mean_rank <= table.ci_high).all()
    assert table.p_friedman["gan"] == pytest.approx(1 / 27, abs=0.006)
    upside_down = ranks(values(psnr, "mae"), set(), {"mae"}, seed=0).set_index("method")
    assert upside_down.mean_rank["spline"] == 1


def test_ranks_take_metrics_with_a_direction_and_participants_with_every_method():
    table = pd.concat([
        values({"a": [np.inf, 30.0, np.nan], "b": [20.0, 31.0, 40.0]}),
        values({"a": [1.0], "b": [2.0]}, "snr"),
        values({"a": [9.0], "b": [2.0]}, region="grey"),
    ])  # fmt: skip
    found = ranks(table, {"psnr"}, {"mae"}, seed=0)
    assert set(found.metric) == {"psnr"} and (found.n == 2).all() and found.p_friedman.isna().all()
    assert found.mean_rank.to_list() == [1.5, 1.5]
    empty = ranks(values({"a": [1.0]}), {"psnr"}, set(), seed=0)
    assert empty.empty and list(empty.columns) == RANKS


# -- outliers ------------------------------------------------------------------------------------------------------


def test_an_outlier_stands_out_however_far_away_it_is():
    # Median 31, absolute deviations 1 0 1 2 11: their median is 1.
    table = outliers(values({"a": [30.0, 31.0, 32.0, 33.0, 20.0]})).set_index("participant_id")
    assert table.robust_z["sub-05"] == pytest.approx(-11 / 1.4826)
    assert table.outlier.to_list() == ["no"] * 4 + ["yes"] and (table["median"] == 31).all()


def test_no_verdict_without_participants_or_spread():
    for column in ([1.0, 2.0, 3.0, 90.0], [1.0, 1.0, 1.0, 1.0, 90.0]):
        table = outliers(values({"a": column}))
        assert set(table.outlier) == {"unknown"} and table.robust_z.isna().all()
    nothing = outliers(values({"a": [1.0]}, split="val"))
    assert nothing.empty and list(nothing.columns) == OUTLIERS
