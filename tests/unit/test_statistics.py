"""Leaderboard and comparisons: values worked out by hand, and what must not matter does not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from scipy import stats
from upfield.evaluate.statistics import (
    COMPARISONS,
    LEADERBOARD,
    Primary,
    comparisons,
    decide,
    effect,
    holm,
    leaderboard,
    subject_table,
)
from upfield.evaluate.statistics.interval import bounded_interval, percentile_interval, t_interval

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
    board = leaderboard(make_values({"b": [20.0, 22.0, 27.0], "a": [1.0, 1.0, 1.0]}))
    assert list(board.columns) == LEADERBOARD and list(board.method) == ["a", "b"]
    a, b = board.iloc[0], board.iloc[1]
    assert (a.n, a["mean"], a.sd, a.ci_low, a.ci_high) == (3, 1, 0, 1, 1)
    assert (b.n, b["mean"]) == (3, 23) and b.sd == pytest.approx(np.sqrt(13))
    # t with two degrees of freedom is 4.3027 at 0.975.
    assert (b.ci_low, b.ci_high) == pytest.approx((23 - 4.302653 * np.sqrt(13 / 3), 23 + 4.302653 * np.sqrt(13 / 3)))


def test_folds_and_seeds_are_averaged_within_a_subject_first():
    values = pd.concat([
        make_values({"a": [10.0, 20.0]}, seed="1"),
        make_values({"a": [30.0]}, seed="2"),
        make_values({"a": [50.0]}, fold="1"),
    ])  # fmt: skip
    row = leaderboard(values).iloc[0]
    assert (row.n, row["mean"]) == (2, 25) and row.sd == pytest.approx(np.sqrt(50))


def test_order_of_seeds_does_not_change_a_digit():
    means = {
        subject_table(pd.concat([make_values({"a": [value]}, seed=seed) for seed, value in order])).loc["sub-01", "a"]
        for order in itertools.permutations([("1", 1e16), ("2", 1.0), ("3", -1e16), ("4", 3.3)])
    }
    assert len(means) == 1


def test_values_that_are_none_are_left_out():
    board = leaderboard(make_values({"a": [np.nan, 20.0, np.nan, 24.0], "b": [np.nan] * 4, "c": [np.nan, 5.0]}))
    board = board.set_index("method")
    assert (board.n["a"], board["mean"]["a"], board.ci_low["a"], board.ci_high["a"]) == pytest.approx(
        (2, 22, 22 - 25.41241, 22 + 25.41241)
    )
    assert board.n["b"] == 0 and board.loc["b", ["mean", "sd", "ci_low", "ci_high"]].isna().all()
    assert (board.n["c"], board["mean"]["c"]) == (1, 5) and board.loc["c", ["sd", "ci_low", "ci_high"]].isna().all()


def test_groups_are_kept_apart_and_empty_is_fine():
    parts = [
        make_values({"a": [1.0]}, split=split, region=region, metric=metric)
        for split in ("test", "val") for region in ("brain", "grey") for metric in ("mae", "psnr")
    ]  # fmt: skip
    board = leaderboard(pd.concat(parts))
    keys = list(zip(board.split, board.region, board.metric, strict=True))
    assert keys == list(itertools.product(("test", "val"), ("brain", "grey"), ("mae", "psnr")))
    empty = make_values({})
    assert list(leaderboard(empty).columns) == LEADERBOARD and leaderboard(empty).empty
    assert list(comparisons(empty, ["a"], ["b"]).columns) == COMPARISONS and comparisons(empty, ["a"], ["b"]).empty


def test_an_interval_moves_with_its_values():
    data = np.array([1.0, 5.0, 6.0, 2.5, 9.0])
    board = leaderboard(make_values({"a": data, "b": data + 10})).set_index("method")
    low = ["mean", "ci_low", "ci_high"]
    assert (board.loc["b", low] - board.loc["a", low]).astype(float).to_numpy() == pytest.approx([10, 10, 10])
    alone = leaderboard(make_values({"a": data})).set_index("method")
    assert_frame_equal(alone, board.loc[["a"]])


MEASURES = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=9)


@settings(max_examples=25, deadline=None)
@given(MEASURES, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_and_the_interval_holds_the_mean(pairs, random):
    one, two = (list(column) for column in zip(*pairs, strict=True))
    values = pd.concat([make_values({"a": one, "b": two}, seed="1"), make_values({"a": two, "b": two}, seed="2")])
    order = list(range(len(values)))
    random.shuffle(order)
    board = leaderboard(values)
    assert_frame_equal(board, leaderboard(values.iloc[order]), check_exact=True)
    compared = comparisons(values, ["a"], ["b"])
    assert_frame_equal(compared, comparisons(values.iloc[order], ["a"], ["b"]), check_exact=True)
    spread = 1e-9 + board.sd  # rounding
    assert (board.ci_low - spread <= board["mean"]).all() and (board["mean"] <= board.ci_high + spread).all()
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
    assert row.p_wilcoxon == 2 / 2**4 and row.p_holm == row.p_t
    half = stats.t.ppf(0.975, 3) * np.sqrt(20 / 12)
    assert (row.ci_low, row.ci_high) == pytest.approx((4 - half, 4 + half))
    assert (row.adjusted_low, row.adjusted_high, row.adjusted_level) == pytest.approx((4 - half, 4 + half, 0.95))
    # The factor for three degrees of freedom is 0.7236 (Hedges 1981, table 1).
    assert row.hedges_g == pytest.approx(0.7236 * row.effect_size, abs=1e-4)
    for end, p in ((row.g_low, 0.975), (row.g_high, 0.025)):
        assert stats.nct.cdf(t, v, 2 * end) == pytest.approx(p, abs=1e-4)
    crit = stats.t.ppf(0.975, 3)
    assert 1 - stats.nct.cdf(crit, 3, 2 * row.detectable / np.sqrt(20 / 3)) == pytest.approx(0.8, abs=1e-4)
    power = [1 - stats.nct.cdf(stats.t.ppf(0.975, n - 1), n - 1, row.hedges_g * np.sqrt(n)) for n in range(2, 20)]
    assert row.needed == 2 + np.flatnonzero(np.array(power) >= 0.8)[0]
    assert row.family == "exploratory" and pd.isna(row.non_inferior)


def test_note_says_what_three_subjects_cannot_show():
    row = comparisons(make_values({"gan": [30.0, 31.0, 33.0], "spline": [1.0, 1.0, 1.0]}), ["gan"], ["spline"]).iloc[0]
    assert row.p_wilcoxon == 0.25 and row.p_t < 0.001
    assert "3 participants: too few to see" in row.note and row.note.endswith("cannot fall below p = 0.25")
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


def random_study(seed=0, n=7, metrics=("mae", "psnr")):
    random = np.random.default_rng(seed)
    names = ["identity", "spline", "unet3d", "gan"]
    return names, pd.concat(
        make_values({name: list(random.normal(size=n)) for name in names}, metric=metric) for metric in metrics
    )


def test_holm_is_over_all_metrics_and_nothing_is_compared_with_itself():
    names, values = random_study()
    both = comparisons(values, ["unet3d", "gan"], names[:3])
    assert list(both.metric) == ["mae"] * 5 + ["psnr"] * 5
    pairs = [("unet3d", "identity"), ("unet3d", "spline"), *(("gan", name) for name in names[:3])]
    assert list(zip(both.method, both.baseline, strict=True)) == pairs * 2
    assert both.p_holm.to_numpy() == pytest.approx(holm(both.p_t.to_numpy()))


def test_the_primary_comparison_is_apart_and_seen_from_its_method():
    names, values = random_study()
    claim = Primary("psnr", "unet3d", ["gan"], margin=2.0)
    found = comparisons(values, ["unet3d", "gan"], names[:3], higher=["psnr"], lower=["mae"], primary=claim)
    first = found[found.family == "primary"]
    assert first[["method", "baseline", "metric"]].to_numpy().tolist() == [["unet3d", "gan", "psnr"]]
    row, other = first.iloc[0], found[found.family == "exploratory"]
    assert row.p_holm == row.p_t and (row.adjusted_low, row.adjusted_high) == pytest.approx((row.ci_low, row.ci_high))
    assert row.non_inferior == ("shown" if row.ci_low > -2 else "not shown") and other.non_inferior.isna().all()
    assert other.p_holm.to_numpy() == pytest.approx(holm(other.p_t.to_numpy()))
    assert set(other.adjusted_level) == {1 - 0.05 / (9 - (other.p_holm < 0.05).sum())}
    several = comparisons(values, ["unet3d", "gan"], names[:3], primary=Primary("mae", "gan", ["identity", "spline"]))
    assert (several.family == "primary").sum() == 2


@pytest.mark.parametrize("seed", range(6))
def test_intervals_tests_and_effects_of_one_page_agree(seed):
    """Whatever is compared: each interval leaves 0 out exactly where the p beside it is below 0.05."""
    names, values = random_study(seed, n=3 + seed, metrics=("a", "b", "c"))
    values["value"] += np.where(values["method"] == "gan", 1.6, 0) * (values["metric"] != "c")
    found = comparisons(values, ["unet3d", "gan"], names[:3], primary=Primary("a", "gan", names[:2]))
    for low, high, p in (
        ("ci_low", "ci_high", "p_t"),
        ("g_low", "g_high", "p_t"),
        ("adjusted_low", "adjusted_high", "p_holm"),
    ):
        outside = (found[low] > 0) | (found[high] < 0)
        assert (outside == (found[p] < 0.05)).all(), (low, found)
    assert (found["adjusted_high"] - found["adjusted_low"] >= found["ci_high"] - found["ci_low"] - 1e-12).all()


def test_non_inferiority_knows_the_better_side():
    assert decide.non_inferior(1, -0.4, 2.0, 0.5) == "shown" and decide.non_inferior(1, -0.6, 2.0, 0.5) == "not shown"
    assert decide.non_inferior(-1, -2.0, 0.4, 0.5) == "shown" and decide.non_inferior(-1, -2.0, 0.6, 0.5) == "not shown"
    assert decide.non_inferior(0, -0.1, 0.1, 0.5) == decide.non_inferior(1, np.nan, np.nan, 0.5) == "not shown"


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_hold_what_they_promise(n):
    """Coverage of simulated studies, by the functions that make the tables; a bootstrap of three holds 0.76."""
    random = np.random.default_rng(n)
    low, high = t_interval(random.normal(5, 2, (n, 4000)))
    assert 0.93 < np.mean((low <= 5) & (high >= 5)) < 0.97
    effects, limits = [], []
    for values in random.normal(1, 2, (500, n)):
        mean, sd = values.mean(), values.std(ddof=1)
        _, below, above = effect.hedges(mean, sd, n)
        effects.append(below <= 0.5 <= above)
        below, above = percentile_interval(mean, sd, n, 1.96)
        limits.append(below <= 1 + 1.96 * 2 <= above)
    assert 0.91 < np.mean(effects) < 0.985 and 0.91 < np.mean(limits) < 0.985
    ranks = np.argsort(random.normal(size=(400, n, 3)), axis=2) + 1.0
    held = [np.mean((one <= 2) & (two >= 2)) for one, two in (bounded_interval(part, 1, 3) for part in ranks)]
    assert np.mean(held) > 0.93


def test_enormous_effects_are_found_at_once():
    g, low, high = effect.hedges(1e9, 1.0, 3)
    assert 0 < low < g < high and effect.needed(g) == 2 and effect.needed(1e-9) == effect.MOST
    assert effect.hedges(-1e9, 1.0, 3) == pytest.approx((-g, -high, -low))
    # The larger an effect, the fewer are needed; by the power of noncentral t as scipy.stats has it.
    many = [effect.needed(g) for g in np.geomspace(0.03, 80, 120)]
    assert many == sorted(many, reverse=True) and many[-1] == 2 and many[0] > 5000
    for g in (0.3, 0.8, 2.0, 5.0, 8.48):
        n = int(effect.needed(g))
        power = [1 - stats.nct.cdf(stats.t.ppf(0.975, k - 1), k - 1, g * np.sqrt(k)) for k in (n - 1, n) if k > 1]
        assert power[-1] >= 0.8 and (n == 2 or power[0] < 0.8)
    assert np.isnan(effect.hedges(1.0, 1.0, 2)[0]) and np.isnan(effect.needed(np.nan))


def test_methods_are_compared_with_each_other_once_after_the_baselines():
    random = np.random.default_rng(1)
    names = ["spline", "unet3d", "gan", "cyclegan"]
    values = make_values({name: list(random.normal(size=8)) for name in names})
    table = comparisons(values, names[1:], names[:2])
    assert list(zip(table.method, table.baseline, strict=True)) == [
        ("unet3d", "spline"), ("gan", "spline"), ("gan", "unet3d"), ("cyclegan", "spline"), ("cyclegan", "unet3d"),
        ("gan", "cyclegan"),
    ]  # fmt: skip
    assert table.p_holm.to_numpy() == pytest.approx(holm(table.p_t.to_numpy()))
    assert (table.ci_low < table.mean_difference).all() and (table.mean_difference < table.ci_high).all()


@pytest.mark.parametrize(
    ("higher", "lower", "decision"),
    [(["psnr"], [], "better"), ([], ["psnr"], "worse"), ([], [], "undecided")],
)
def test_decision_knows_which_way_a_metric_is_better(higher, lower, decision):
    values = make_values({"a": np.arange(8.0) + 1, "b": np.arange(8.0)})
    found = comparisons(values, ["a"], ["b"], higher=higher, lower=lower)
    assert list(found["decision"]) == [decision] and found.columns[12] == "decision"
    assert decide.between(found, "a", "b", "psnr").decision == decision
    assert decide.between(found, "b", "a", "psnr").decision == decide.OPPOSITE[decision]
    assert decide.between(found, "a", "c", "psnr") == decide.Compared()


def test_a_single_outlier_decides_nothing():
    # Eleven of twelve are a little better, one is far worse: mean and most participants contradict each other.
    values = make_values({"a": [1.0 + 0.01 * n for n in range(11)] + [-500.0], "b": [0.0] * 12})
    torn = comparisons(values, ["a"], ["b"], higher=["psnr"])
    assert torn["p_wilcoxon"].item() < 0.05 < torn["p_t"].item() and torn["decision"].item() == "undecided"


@pytest.mark.parametrize(
    ("now", "change", "p_before", "decision"),
    [
        (0.6, (-0.5, -0.2), 0.01, "better"),
        (0.9, (-0.2, 0.1), 0.01, "undecided"),
        (1.0, (0.02, 0.1), 0.01, "worse"),
        (0.5, (-0.5, -0.2), 0.2, "undecided"),  # nothing to be gained: before may be chance
        (0.02, (-1.2, -0.7), 0.01, "undecided"),  # as far from chance on its other side
        (0.6, (np.nan, np.nan), 0.01, "undecided"),
    ],
)
def test_decision_on_distances_of_cohorts(now, change, p_before, decision):
    assert decide.by_change(change, 0.95, now, p_before, goal=0.5) == decision
