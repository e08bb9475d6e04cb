"""The headline: what it claims of a study, and that it claims no more than the data show."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate import statistics
from upfield.evaluate.metrics import HIGHER, LOWER
from upfield.evaluate.statistics import decide
from upfield.report import winner
from upfield.report.headline import headline
from upfield.report.sections.leaderboard import comparisons

WOBBLE = np.array([0.1, -0.2, 0.15, -0.05, 0.02, -0.12, 0.08, 0.03, -0.04, 0.11, 0.07, -0.15])


def table(n=12, spread=1.0, **levels):
    """Values of `n` subjects that differ as subjects do, and methods at `levels` with a wobble of their own."""
    people = [f"sub-{i:02d}" for i in range(1, n + 1)]
    subject = np.sin(3 * np.arange(n))
    return pd.DataFrame(
        {m: level + subject + spread * np.roll(WOBBLE, 3 * k)[:n] for k, (m, level) in enumerate(levels.items())},
        index=people,
    )


def values_of(**tables):
    """Rows of per_subject.tsv from tables of participants and methods, by metric."""
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    rows = [
        [name, method, "0", "42", "test", "brain", metric, value]
        for metric, found in tables.items()
        for method in found
        for name, value in found[method].items()
    ]
    return pd.DataFrame(rows, columns=columns)


def compared(claim=statistics.Primary(), relevant=None, **tables):  # noqa: B008
    """The table of comparisons as the workflow makes it."""
    values = values_of(**tables)
    methods = list(dict.fromkeys(values["method"]))
    networks, free = ([m for m in methods if (m in MODEL_FREE) is wanted] for wanted in (False, True))
    return statistics.comparisons(
        values, networks, [*free, "unet3d"], higher=HIGHER, lower=LOWER, primary=claim, relevant=relevant or {}
    )


def say(psnr, ssim=None):
    ssim = pd.DataFrame() if ssim is None else ssim
    found = headline({"psnr": psnr, "ssim": ssim}, compared(psnr=psnr, ssim=ssim))
    parts = [found.answer, found.details, found.add or "", *found.cautions]
    return [" ".join(part.split()) for part in parts]


def test_a_method_of_others_is_told_beside_the_studys_own_networks():
    psnr = table(identity=20, unet3d=23, theirs=25)
    found = headline({"psnr": psnr, "ssim": pd.DataFrame()}, compared(psnr=psnr), ["theirs"])
    assert found.answer.startswith("Yes: unet3d improves on identity") and found.add is None
    assert "Beside them theirs, a method of others, reaches 25" in found.details


def test_win_is_against_the_best_model_free_baseline_and_counts_the_unet_as_a_network():
    psnr = table(identity=20, spline=21, unet3d=24, unet3d_patchgan=23)
    ssim = table(spread=0.01, identity=0.70, spline=0.72, unet3d=0.82, unet3d_patchgan=0.81)
    verdict, details, add, *cautions = say(psnr, ssim)
    found = compared(psnr=psnr, ssim=ssim)
    gain, likeness = (decide.between(found, "unet3d", "spline", metric) for metric in ("psnr", "ssim"))
    assert verdict == (
        f"Yes: unet3d improves on spline by {gain.mean:+.2f} dB PSNR (adjusted 95 % CI {gain.low:+.2f} to "
        f"{gain.high:+.2f}, n = 12, adjusted p < 0.001) and SSIM {likeness.mean:+.3f} (adjusted 95 % CI "
        f"{likeness.low:+.3f} to {likeness.high:+.3f}, adjusted p < 0.001)."
    )
    assert f"unet3d, the best of 2 trained networks, reaches {psnr.unet3d.mean():.2f} dB PSNR" in details
    assert f"spline, the best baseline without a network, reaches {psnr.spline.mean():.2f} dB PSNR" in details
    assert "No" in add and "unet3d_patchgan does worse than unet3d: −1." in add
    assert cautions == ["The network was picked among 2 on these same subjects, which flatters it a little."]


def test_three_subjects_who_differ_decide_nothing_and_the_table_below_agrees():
    psnr, ssim = table(n=3, spread=20, spline=21, unet3d=24), table(n=3, spread=0.3, spline=0.7, unet3d=0.9)
    answer, _, _, caution = say(psnr, ssim)
    assert answer.startswith("Not shown: the mean of unet3d differs from that of spline by +")
    assert caution.startswith("With 3 subjects this is an indication, not a proof: so few cannot show")
    rows = comparisons(compared(psnr=psnr, ssim=ssim), ["unet3d", "spline"])["shown"]
    assert len(rows) == 2 and {row["favours"] for row in rows} == {"neither"}


def claimed(margin=None, **tables):
    """The table of comparisons of a study that named unet3d against spline by PSNR."""
    claim = statistics.Primary("psnr", "unet3d", ["spline"], margin)
    return compared(claim, **tables)


def test_the_primary_comparison_decides_alone_and_uncorrected():
    psnr = table(n=5, spread=6, identity=20, spline=21, unet3d=22.5, srgan3d=24)
    ssim = table(n=5, spread=0.6, identity=0.7, spline=0.72, unet3d=0.74, srgan3d=0.75)
    found = claimed(psnr=psnr, ssim=ssim)
    row = decide.between(found, "unet3d", "spline", "psnr")
    assert row.primary and row.alone and row.decision == decide.BETTER
    assert decide.between(found, "unet3d", "spline", "ssim").decision == decide.UNDECIDED
    said = headline({"psnr": psnr, "ssim": ssim}, found)
    assert said.answer.startswith(
        f"Points to yes: unet3d improves on spline by {row.mean:+.2f} dB PSNR (95\xa0% CI {row.low:+.2f} to"
    )
    assert f", p\xa0=\xa0{row.p:.2g})" in said.answer
    assert "Named before the run as what decides: PSNR of unet3d against spline." in said.details
    assert "Of the networks srgan3d at" in said.details and "80\xa0% power" in said.details
    assert not any("picked" in text for text in said.cautions)
    # Of the other network nobody said so before: it is corrected for all that is compared as well.
    other = decide.between(found, "srgan3d", "spline", "psnr")
    alone = found[(found.method == "srgan3d") & (found.baseline == "spline") & (found.metric == "psnr")]
    assert not other.primary and not other.alone and other.p > 3 * alone["p_t"].item()


def test_non_inferiority_is_told_where_a_margin_was_named():
    psnr = table(n=12, spline=21, unet3d=20.95)
    for margin, told in ((0.5, "margin that was named: to spline."), (0.01, "margin that was named: not shown.")):
        assert told in headline({"psnr": psnr}, claimed(margin, psnr=psnr)).details
    assert "Non-inferior" not in headline({"psnr": psnr}, claimed(psnr=psnr)).details


LEVELS = st.lists(st.floats(-2, 2, allow_nan=False), min_size=1, max_size=12)


@given(st.lists(LEVELS, min_size=2, max_size=3), st.integers(0, 99), st.sampled_from([0, 0.2, 0.5, 2]), st.booleans())
def test_headline_never_says_more_than_the_table_of_comparisons(gains, seed, relevant, named):
    """Whatever the values: yes and no, and every loss that is called one, stand in the table as favoured."""
    n = min(map(len, gains))
    random = np.random.default_rng(seed)
    names = [f"sub-{i:02d}" for i in range(n)]
    methods = ["spline", "unet3d", "srgan3d"][: len(gains)]
    tables = {
        metric: pd.DataFrame({method: 20 + np.array(gain[:n]) + random.normal(0, 0.3, n)
                              for method, gain in zip(methods, gains, strict=True)}, index=names)
        for metric in ("psnr", "ssim")
    }  # fmt: skip
    sizes = dict.fromkeys(tables, relevant or None)
    found = compared(
        statistics.Primary("psnr", "unet3d", ["spline"]) if named else statistics.Primary(), sizes, **tables
    )
    table = comparisons(found, methods)
    rows = [*table["primary"], *table["shown"]]
    favoured = {(row["metric"], row["favours"], frozenset((row["method"], row["baseline"]))) for row in rows}
    means = tables["psnr"].mean()
    best = "unet3d" if named else means.drop("spline").idxmax()
    pair = frozenset((best, "spline"))
    told = headline(tables, found)
    answer = told.answer.removeprefix("Points to ")
    assert told.few == (answer != told.answer) and (n >= 10) <= (not told.few)
    for row in rows:
        small = abs(row["mean_difference"]) < relevant
        inside = max(-row["adjusted_low"], row["adjusted_high"]) < relevant
        assert not (small and row["favours"] in methods) and (row["favours"] == "the same") == inside
    for metric in ("psnr", "ssim"):
        # What was named decides alone, unless something that is decided speaks against it.
        beside = named and metric == "ssim"
        for word, who, against in (("yes", best, "spline"), ("no", "spline", best), ("the same", "the same", None)):
            holds = (metric, who, pair) in favoured or (beside and (metric, against, pair) not in favoured)
            assert holds or answer.split(":")[0].lower() != word
            assert (metric, who, pair) in favoured or f"{word} by {metric}" not in answer.split(":")[0].lower()
    assert n >= 10 or not told.answer.startswith(("Yes", "No:", "The same"))
    top = str(means.idxmax())
    for loss in winner.losses(values_of(**tables), top, found):
        assert loss.decided == ((loss.metric, loss.rival, frozenset((top, loss.rival))) in favoured)


def test_interval_is_the_paired_t_interval():
    psnr = table(n=3, spline=21, unet3d=24)
    paired = (psnr.unet3d - psnr.spline).to_numpy()
    gain = decide.between(compared(psnr=psnr), "unet3d", "spline", "psnr")
    assert gain.mean == pytest.approx(paired.mean())
    assert gain.high - gain.low == pytest.approx(2 * 4.302653 * paired.std(ddof=1) / np.sqrt(3))


@pytest.mark.parametrize(
    ("levels", "likeness", "start", "verb"),
    [
        ({"spline": 24, "unet3d": 21}, {"spline": 0.9, "unet3d": 0.7}, "No: ", "does worse than spline: −3."),
        (
            {"spline": 21.01, "unet3d": 21},
            {"spline": 0.8, "unet3d": 0.8},
            "Not shown: ",
            "the mean of unet3d differs from that of spline by ",
        ),
        ({"spline": 21, "unet3d": 24}, {"spline": 0.9, "unet3d": 0.7}, "Mixed, yes by PSNR and no by SSIM: ", "+3."),
        ({"spline": 21, "unet3d": 24}, {"spline": 0.8, "unet3d": 0.8}, "Yes by PSNR, undecided by SSIM: ", "improves"),
        ({"spline": 21.01, "unet3d": 21}, {"spline": 0.9, "unet3d": 0.7}, "Undecided by PSNR, no by SSIM: ", "differs"),
    ],
)
def test_losing_undecided_and_mixed_results_are_called_so(levels, likeness, start, verb):
    verdict = say(table(**levels), table(spread=0.1, **likeness))[0]
    assert verdict.startswith(start) and verb in verdict
    assert verdict.startswith("Yes") == start.startswith("Yes")


@pytest.mark.parametrize(
    ("patchgan", "answer"),
    [
        (25.5, "Yes: unet3d_patchgan improves on unet3d by +1."),
        (24.0, "Not shown: the mean of unet3d_patchgan differs from that of unet3d by "),
        (22.0, "No: unet3d_patchgan does worse than unet3d: −"),
    ],
)
def test_what_a_model_adds_to_the_unet_is_a_question_of_its_own(patchgan, answer):
    verdict, _, add, *_ = say(table(spline=20, unet3d=24, unet3d_patchgan=patchgan))
    assert verdict.startswith("Yes: ")
    assert answer in add and "n = 12, adjusted p" in add


def test_best_of_several_models_is_said_to_be_picked():
    _, _, add, *cautions = say(table(spline=20, unet3d=24, srgan3d=22, lohiresgan=23))
    assert "lohiresgan does worse than unet3d" in add and "(the best of 2 by PSNR)" in add
    assert "picked among 3" in cautions[-1]


def test_unet_alone_leaves_the_second_question_out():
    psnr = table(spline=20, unet3d=24)
    found = headline({"psnr": psnr}, compared(psnr=psnr))
    assert found.add is None and "SSIM" not in found.answer
    assert not any("picked" in text for text in found.cautions)


@pytest.mark.parametrize(
    ("n", "caution"), [(2, "differences are normal"), (5, "differences are normal"), (6, "not a proof."), (12, None)]
)
def test_small_studies_are_called_small(n, caution):
    cautions = " ".join(say(table(n=n, spline=20, unet3d=24))[3:])
    assert (caution in cautions) if caution else not cautions


def test_one_subject_decides_nothing():
    verdict = say(table(n=1, spline=20, unet3d=24), table(n=1, spline=0.7, unet3d=0.9))[0]
    assert verdict.startswith(
        "Undecided, one test subject is too few: the mean of unet3d differs from that of spline by +"
    )
    assert "(no interval, n = 1) and SSIM +0." in verdict and "nan" not in verdict


def test_missing_values_and_missing_sides():
    psnr = table(n=3, spline=20, unet3d=24)
    psnr.loc["sub-01", "spline"] = np.nan
    assert "n = 2, p = 0.0" in say(psnr)[0]
    psnr["spline"], psnr["unet3d"] = [20, np.nan, np.nan], [np.nan, 24, 24]
    assert say(psnr)[0] == "Undecided: unet3d and spline share no test subject."
    assert say(table(spline=20, identity=19))[0] == "No verdict: there is no network to compare with."
    assert "The best is spline at " in say(table(spline=20, identity=19))[1]
    verdict, _, add, *_ = say(table(unet3d=24, srgan3d=25.5))
    assert verdict == "No verdict: there is no baseline to compare with." and "Yes: srgan3d" in add
    assert say(pd.DataFrame())[0] == "No verdict: nothing was measured."


@pytest.mark.parametrize(
    ("gain", "spread", "start", "state"),
    [
        (0.6, 1, "Yes: ", "yes"),
        (0.2, 1, "The same: unet3d is as good as spline, give or take what does not matter: +0.", "same"),
        (0.4, 2, "Not shown to matter: the mean of unet3d differs from that of spline by +0.", "open"),
        (-0.6, 1, "No: ", "no"),
    ],
)
def test_a_difference_too_small_to_matter_is_no_improvement(gain, spread, start, state):
    psnr = table(spread=spread, spline=21, unet3d=21 + gain)
    found = compared(relevant={"psnr": 0.5}, psnr=psnr)
    assert found["p_holm"].item() < 0.05, "each is more than chance"
    said = headline({"psnr": psnr}, found)
    assert said.answer.startswith(start) and said.state == state
    assert ("less than 0.50 dB PSNR is too small to matter" in said.answer) == (state in ("same", "open"))
    assert headline({"psnr": psnr}, compared(psnr=psnr)).state == ("yes" if gain > 0 else "no")


def test_few_participants_point_to_an_answer():
    for n, start in ((9, "Points to yes: unet3d improves on"), (10, "Yes: unet3d improves on")):
        psnr = table(n=n, spline=20, unet3d=24)
        said = headline({"psnr": psnr}, compared(psnr=psnr))
        assert said.answer.startswith(start) and said.state == "yes" and said.few == (n < 10)
