"""An infinite PSNR, of an output that equals its target: tables, headline and charts agree that it is the best."""

import numpy as np
import pandas as pd
import pytest
from upfield.evaluate import statistics
from upfield.evaluate.statistics import decide
from upfield.report import figures, winner
from upfield.report.headline import headline
from upfield.report.render import number

LEVELS = {"identity": 20.0, "spline": 23.0, "unet3d": 26.0}
INF = np.inf


def study(metric="psnr", n=8, **over):
    """Rows of per_subject.tsv; `over` replaces values of a method, from the first participant on."""
    rows = []
    for method, level in LEVELS.items():
        values = level + np.sin(3 * np.arange(n))
        values[: len(over.get(method, []))] = over.get(method, [])
        rows += [[f"sub-{i:02d}", method, "0", "42", "test", "brain", metric, v] for i, v in enumerate(values)]
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def tables(values):
    board = statistics.leaderboard(values).set_index("method")
    ranks = statistics.ranks(values, {"psnr"}, set(), seed=0).set_index("method")
    pairs = statistics.comparisons(values, ["unet3d"], ["identity", "spline"], higher={"psnr"})
    return board, ranks, pairs.set_index("baseline")


PERFECT = {
    "in all": {"identity": [INF] * 8},
    "in most": {"identity": [INF] * 7},
    "in two methods": {"identity": [INF] * 8, "spline": [INF] * 7},
    "the network": {"unet3d": [INF] * 8},
}


@pytest.mark.parametrize("over", PERFECT.values(), ids=PERFECT)
def test_tables_headline_and_winner_name_the_same_best(over):
    values = study(**over)
    board, ranks, pairs = tables(values)
    best = next(iter(over))
    assert board["mean"][best] == board["mean"].max() == INF and board.n[best] == 8
    assert ranks["mean_rank"].idxmin() == best
    psnr = statistics.subject_table(values)
    said = " ".join(winner.sentences(values, psnr, pairs.reset_index()))
    assert f"Winner by mean PSNR: {best} with ∞ dB" in said and "nan" not in said and "inf" not in said
    answer = headline({"psnr": psnr}, pairs.reset_index())
    assert "nan" not in answer.answer + answer.details and "inf" not in answer.details
    if best == "unet3d":
        assert set(pairs["decision"]) == {decide.BETTER}
        assert answer.answer.startswith("Points to yes: unet3d improves on spline by +∞ dB")
    else:
        assert pairs["decision"][best] == decide.WORSE
        assert answer.answer.startswith(f"Points to no: unet3d does worse than {best}: −∞ dB")


def test_one_perfect_participant():
    values = study(spline=[INF])
    board, ranks, pairs = tables(values)
    assert board["mean"]["spline"] == INF
    assert board.loc["spline", ["sd", "ci_low", "ci_high"]].isna().all()
    assert np.isfinite(board.loc["identity", ["mean", "sd", "ci_low", "ci_high"]].astype(float)).all()
    assert ranks["mean_rank"]["spline"] == pytest.approx((1 + 7 * 2) / 8)
    # A mean below the network's and ranks above it: nothing is decided.
    assert pairs["mean_difference"]["spline"] == -INF and pairs["decision"]["spline"] == decide.UNDECIDED
    assert pairs.loc["spline", ["ci_low", "ci_high", "p_t", "effect_size"]].isna().all()
    assert np.isfinite(pairs["p_wilcoxon"]["spline"])
    found = statistics.outliers(values).set_index(["participant_id", "method"])
    assert found["outlier"]["sub-00", "spline"] == "yes"


def test_both_perfect_are_equal():
    values = study(unet3d=[INF] * 8, spline=[INF] * 8)
    board, ranks, pairs = tables(values)
    row = pairs.loc["spline"]
    assert (row.mean_difference, row.p_wilcoxon, row.decision) == (0, 1, decide.UNDECIDED)
    assert ranks["mean_rank"]["spline"] == ranks["mean_rank"]["unet3d"] == 1.5
    assert board["mean"][["spline", "unet3d"]].to_list() == [INF, INF]


def test_infinite_both_ways_decides_nothing():
    values = study(unet3d=[INF, -INF, INF])
    board, _, pairs = tables(values)
    assert np.isnan(board["mean"]["unet3d"]) and board.n["unet3d"] == 8
    assert np.isnan(pairs["mean_difference"]["spline"]) and pairs["decision"]["spline"] == decide.UNDECIDED


def test_nan_is_left_out_everywhere():
    values = study(spline=[np.nan, INF])
    board, ranks, pairs = tables(values)
    assert board.n["spline"] == 7 and set(ranks["n"]) == {7} and pairs["n"]["spline"] == 7
    assert board["mean"]["spline"] == INF
    nothing, none, without = tables(study(spline=[np.nan] * 8))
    assert nothing.n["spline"] == 0 and "spline" not in without.index and none.empty


def test_seeds_of_which_one_is_perfect():
    values = pd.concat([study(), study(unet3d=[INF]).assign(seed="43")])
    assert statistics.subject_table(values).loc["sub-00", "unet3d"] == INF


@pytest.mark.parametrize("over", [{"spline": [INF]}, PERFECT["in all"], {name: [INF] * 8 for name in LEVELS}])
def test_charts_are_drawn(over):
    values = study(**over)
    board = tables(values)[0]
    drawn = figures.subject_values(statistics.subject_table(values), board, ["unet3d"], "PSNR (dB)")
    assert drawn[:4] == b"\x89PNG"


def test_numbers_of_the_page():
    assert [number(INF, "psnr"), number(-INF, "psnr"), number(INF), number(float("nan"))] == ["∞", "−∞", "∞", "n/a"]
