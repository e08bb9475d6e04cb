"""Leaderboard and comparisons: values worked out by hand, and what must not matter does not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from upfield.evaluate.statistics import COMPARISONS, LEADERBOARD, comparisons, decide, holm, leaderboard, subject_table

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]


def make_values(table, metric="psnr", split="test", region="brain", fold="0", seed="42"):
    """Long table from {method: [value of sub-01, sub-02, ...]}."""
    rows = [
        [f"sub-{place:02d}", method, fold, seed, split, region, metric, value]
        for method, values in table.items()
        for place, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_mean_and_sd_over_subjects():
    board = leaderboard(make_values({"b": [20.0, 22.0, 27.0], "a": [1.0, 1.0, 1.0]}), seed=0)
    assert list(board.columns) == LEADERBOARD and list(board.method) == ["a", "b"]
    a, b = board.iloc[0], board.iloc[1]
    assert (a.n, a["mean"], a.sd, a.ci_low, a.ci_high) == (3, 1, 0, 1, 1)
    assert (b.n, b["mean"]) == (3, 23) and b.sd == pytest.approx(np.sqrt(13))
    # All three draws alike, probability 1/27 = 3.7 %, are the extremes: more than 2.5 % at either end.
    assert (b.ci_low, b.ci_high) == (20, 27)


def test_interval_agrees_with_every_resample():
    """Percentiles of all 5^5 resamples, against 10,000 drawn ones."""
    data = [3.0, 8.0, 1.0, 9.5, 4.0]
    means = [np.mean(drawn) for drawn in itertools.product(data, repeat=5)]
    row = leaderboard(make_values({"a": data}), seed=3).iloc[0]
    assert (row.ci_low, row.ci_high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.15)


def test_folds_and_seeds_are_averaged_within_a_subject_first():
    values = pd.concat([
        make_values({"a": [10.0, 20.0]}, seed="1"),
        make_values({"a": [30.0]}, seed="2"),
        make_values({"a": [50.0]}, fold="1"),
    ])  # fmt: skip
    row = leaderboard(values, seed=0).iloc[0]
    assert (row.n, row["mean"]) == (2, 25) and row.sd == pytest.approx(np.sqrt(50))


def test_order_of_seeds_does_not_change_a_digit():
    means = {
        subject_table(pd.concat([make_values({"a": [value]}, seed=seed) for seed, value in order])).loc["sub-01", "a"]
        for order in itertools.permutations([("1", 1e16), ("2", 1.0), ("3", -1e16), ("4", 3.3)])
    }
    assert len(means) == 1


def test_values_that_are_none_are_left_out():
    board = leaderboard(make_values({"a": [np.nan, 20.0, np.nan, 24.0], "b": [np.nan] * 4, "c": [np.nan, 5.0]}), seed=0)
    board = board.set_index("method")
    assert (board.n["a"], board["mean"]["a"], board.ci_low["a"], board.ci_high["a"]) == (2, 22, 20, 24)
    assert board.n["b"] == 0 and board.loc["b", ["mean", "sd", "ci_low", "ci_high"]].isna().all()
    assert (board.n["c"], board["mean"]["c"]) == (1, 5) and board.loc["c", ["sd", "ci_low", "ci_high"]].isna().all()


def test_groups_are_kept_apart_and_empty_is_fine():
    parts = [
        make_values({"a": [1.0]}, split=split, region=region, metric=metric)
        for split in ("test", "val") for region in ("brain", "grey") for metric in ("mae", "psnr")
    ]  # fmt: skip
    board = leaderboard(pd.concat(parts), seed=0)
    keys = list(zip(board.split, board.region, board.metric, strict=True))
    assert keys == list(itertools.product(("test", "val"), ("brain", "grey"), ("mae", "psnr")))
    empty = make_values({})
    assert list(leaderboard(empty, seed=0).columns) == LEADERBOARD and leaderboard(empty, seed=0).empty
    assert list(comparisons(empty, ["a"], ["b"]).columns) == COMPARISONS and comparisons(empty, ["a"], ["b"]).empty


def test_all_methods_see_the_same_resamples():
    data = np.array([1.0, 5.0, 6.0, 2.5, 9.0])
    board = leaderboard(make_values({"a": data, "b": data + 10}), seed=5).set_index("method")
    low = ["mean", "ci_low", "ci_high"]
    assert (board.loc["b", low] - board.loc["a", low]).astype(float).to_numpy() == pytest.approx([10, 10, 10])
    alone = leaderboard(make_values({"a": data}), seed=5).set_index("method")
    assert_frame_equal(alone, board.loc[["a"]])
    assert leaderboard(make_values({"a": data}), seed=6).ci_low[0] != pytest.approx(alone.ci_low["a"], abs=1e-9)


MEASURES = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=9)


@settings(max_examples=25, deadline=None)
@given(MEASURES, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_and_the_interval_holds_the_mean(pairs, random):
    one, two = (list(column) for column in zip(*pairs, strict=True))
    values = pd.concat([make_values({"a": one, "b": two}, seed="1"), make_values({"a": two, "b": two}, seed="2")])
    order = list(range(len(values)))
    random.shuffle(order)
    board = leaderboard(values, seed=1)
    assert_frame_equal(board, leaderboard(values.iloc[order], seed=1), check_exact=True)
    compared = comparisons(values, ["a"], ["b"])
    assert_frame_equal(compared, comparisons(values.iloc[order], ["a"], ["b"]), check_exact=True)
    spread = 1e-9 + board.sd  # rounding
    assert (board.ci_low - spread <= board["mean"]).all() and (board["mean"] <= board.ci_high + spread).all()
    table = subject_table(values)
    assert (board.ci_low >= table.min().to_numpy() - 1e-9).all() and (
        board.ci_high <= table.max().to_numpy() + 1e-9
    ).all()
    assert ((compared.p_wilcoxon > 0) & (compared.p_wilcoxon <= 1)).all()


def test_comparison_worked_out_by_hand():
    values = make_values({"gan": [24.0, 25.0, 28.0, 21.0], "spline": [23.0, 22.0, 23.0, 14.0]})
    row = comparisons(values, ["gan"], ["spline"]).iloc[0]
    # Differences 1, 3, 5, 7: mean 4, variance 20 / 3; t = 4 / sqrt(20 / 12) = 3.0984 with 3 degrees of freedom.
    assert (row.method, row.baseline, row.metric, row.n, row.mean_difference) == ("gan", "spline", "psnr", 4, 4)
    assert row.effect_size == pytest.approx(4 / np.sqrt(20 / 3))
    t, v = 4 / np.sqrt(20 / 12), 3
    x = t / np.sqrt(v)
    assert row.p_t == pytest.approx(1 - 2 / np.pi * (np.arctan(x) + x / (1 + x**2)))
    assert row.p_wilcoxon == row.p_holm == 2 / 2**4
    assert row.ci_low == pytest.approx(1.5, abs=0.5) and row.ci_high == pytest.approx(6.5, abs=0.5)


def test_three_subjects_cannot_be_significant_by_ranks():
    row = comparisons(make_values({"gan": [30.0, 31.0, 33.0], "spline": [1.0, 1.0, 1.0]}), ["gan"], ["spline"]).iloc[0]
    assert row.p_wilcoxon == 0.25 and row.p_t < 0.001
    assert row.note.startswith("3 participants: the rank test cannot fall below p = 0.25")
    six = comparisons(make_values({"gan": [1.0, 2, 3, 4, 5, 6], "spline": [0.0] * 6}), ["gan"], ["spline"]).iloc[0]
    assert six.p_wilcoxon == 2 / 2**6 < 0.05 and pd.isna(six.note)


def test_ties_and_zeros_are_exact():
    def p(differences):
        table = make_values({"a": differences, "b": [0.0] * len(differences)})
        return comparisons(table, ["a"], ["b"]).iloc[0].p_wilcoxon

    assert p([0.0, 0.0, 0.0]) == 1
    assert p([0.0, 1.0, 2.0, 4.0]) == 0.25
    assert p([0.0] * 20) == 1
    assert p([0.0, *range(1, 15)]) == 2 / 2**14
    # Four equal sizes, three up: 10 of the 16 sign patterns are at least as lopsided.
    assert p([1.0, 1.0, 1.0, -1.0]) == pytest.approx(10 / 16)


def test_differences_that_do_not_vary():
    table = {"a": [1.1, 2.3, 3.7], "same": [1.1, 2.3, 3.7], "lower": [0.9, 2.1, 3.5]}
    rows = comparisons(make_values(table), ["a"], ["same", "lower"]).set_index("baseline")
    assert rows[["p_t", "effect_size"]].isna().all(axis=None)
    assert rows.mean_difference.to_list() == pytest.approx([0, 0.2])
    assert rows.p_wilcoxon["same"] == 1 and rows.p_wilcoxon["lower"] == 0.25


def test_only_common_subjects_of_the_test_split_in_the_brain_count():
    values = pd.concat([
        make_values({"a": [5.0, 7.0, 9.0, np.nan], "b": [1.0, np.nan, 2.0, 3.0, 4.0], "c": [np.nan] * 5}),
        make_values({"a": [99.0, 99.0], "b": [0.0, 0.0]}, split="val"),
        make_values({"a": [99.0, 99.0], "b": [0.0, 0.0]}, region="grey"),
    ])  # fmt: skip
    rows = comparisons(values, ["a"], ["b", "c", "never-run"])
    assert list(rows.baseline) == ["b"]
    assert (rows.n[0], rows.mean_difference[0]) == (2, 5.5)


def test_one_subject_has_a_difference_and_no_more():
    row = comparisons(make_values({"a": [5.0], "b": [1.0]}), ["a"], ["b"]).iloc[0]
    assert (row.n, row.mean_difference) == (1, 4)
    assert row[["p_t", "p_wilcoxon", "p_holm", "effect_size", "ci_low", "ci_high"]].isna().all()
    assert row.note == "one participant: no test and no interval"


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, then 0.04 x 1 raised to the step before; capped at 1; NaN is no test.
    assert holm(np.array([0.04, 0.01, np.nan, 0.03, 0.02])) == pytest.approx(
        [0.06, 0.04, np.nan, 0.06, 0.06], nan_ok=True
    )
    assert holm(np.array([0.4, 0.6, 0.7])) == pytest.approx([1, 1, 1])
    assert holm(np.array([])).shape == (0,)


def test_holm_is_per_metric_and_nothing_is_compared_with_itself():
    random = np.random.default_rng(0)
    names = ["identity", "spline", "unet3d", "gan"]
    psnr = make_values({name: list(random.normal(size=7)) for name in names})
    mae = make_values({name: list(random.normal(size=7)) for name in names}, metric="mae")
    both = comparisons(pd.concat([psnr, mae]), ["unet3d", "gan"], names[:3])
    assert list(both.metric) == ["mae"] * 5 + ["psnr"] * 5
    pairs = [("unet3d", "identity"), ("unet3d", "spline"), *(("gan", name) for name in names[:3])]
    assert list(zip(both.method, both.baseline, strict=True)) == pairs * 2
    alone = comparisons(psnr, ["unet3d", "gan"], names[:3])
    assert_frame_equal(both.iloc[5:].reset_index(drop=True), alone)
    assert alone.p_holm.to_numpy() == pytest.approx(holm(alone.p_wilcoxon.to_numpy()))


def test_methods_are_compared_with_each_other_once_after_the_baselines():
    random = np.random.default_rng(1)
    names = ["spline", "unet3d", "gan", "cyclegan"]
    values = make_values({name: list(random.normal(size=8)) for name in names})
    table = comparisons(values, names[1:], names[:2])
    assert list(zip(table.method, table.baseline, strict=True)) == [
        ("unet3d", "spline"), ("gan", "spline"), ("gan", "unet3d"), ("cyclegan", "spline"), ("cyclegan", "unet3d"),
        ("gan", "cyclegan"),
    ]  # fmt: skip
    assert table.p_holm.to_numpy() == pytest.approx(holm(table.p_wilcoxon.to_numpy()))
    assert (table.ci_low < table.mean_difference).all() and (table.mean_difference < table.ci_high).all()


@pytest.mark.parametrize(
    ("higher", "lower", "decision"),
    [(["psnr"], [], "better"), ([], ["psnr"], "worse"), ([], [], "undecided")],
)
def test_decision_knows_which_way_a_metric_is_better(higher, lower, decision):
    values = make_values({"a": np.arange(8.0) + 1, "b": np.arange(8.0)})
    found = comparisons(values, ["a"], ["b"], higher=higher, lower=lower)
    assert list(found["decision"]) == [decision] and found.columns[-1] == "decision"
    assert decide.between(found, "a", "b", "psnr").decision == decision
    assert decide.between(found, "b", "a", "psnr").decision == decide.OPPOSITE[decision]
    assert decide.between(found, "a", "c", "psnr") == decide.Compared()


def test_three_subjects_and_a_single_outlier_decide_nothing():
    few = comparisons(make_values({"a": [5.0, 6, 7], "b": [1.0, 2, 3]}), ["a"], ["b"], higher=["psnr"])
    assert few["p_holm"].item() == 0.25 and few["decision"].item() == "undecided"
    # Eleven of twelve are a little better, one is far worse: the rank test and the mean contradict each other.
    values = make_values({"a": [1.0 + 0.01 * n for n in range(11)] + [-500.0], "b": [0.0] * 12})
    torn = comparisons(values, ["a"], ["b"], higher=["psnr"])
    assert torn["p_holm"].item() < 0.05 and torn["mean_difference"].item() < 0
    assert torn["decision"].item() == "undecided"


@pytest.mark.parametrize(
    ("now", "before", "decision"),
    [
        ((0.6, 0.5, 0.7), (0.95, 0.9, 1.0), "better"),
        ((0.9, 0.8, 0.95), (0.95, 0.9, 1.0), "undecided"),
        ((1.0, 0.97, 1.0), (0.8, 0.7, 0.9), "worse"),
        ((0.5, 0.4, 0.55), (0.7, 0.45, 0.9), "undecided"),  # nothing to be gained: before may be chance
        ((0.02, 0.0, 0.1), (0.9, 0.8, 1.0), "undecided"),  # as far from chance on its other side
        ((np.nan,) * 3, (np.nan,) * 3, "undecided"),
    ],
)
def test_decision_on_distances_of_cohorts(now, before, decision):
    assert decide.by_intervals(now, before, goal=0.5) == decision
