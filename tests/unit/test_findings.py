"""The sections behind the leaderboard: what they list, in which order, and that nothing is said of empty tables."""

import numpy as np
import pandas as pd
import pytest
from upfield.files import write_tsv
from upfield.report import tables
from upfield.report.context import StudyContext
from upfield.report.sections import agreement, hallucinations, leaderboard
from upfield.study.designs.narrative import Narrative

METHODS = ["unet3d", "spline"]
NOTE = "3 participants: too few for limits of agreement to be trusted"


def make_findings(root):
    """Write the tables of three participants and two methods."""
    ranks = [["mae", "spline", 3, 2.0, 2, 2, 0, 0.08], ["mae", "unet3d", 3, 1.0, 1, 1, 3, 0.08],
             ["psnr", "spline", 3, 1.0, 1, 1, 3, 0.08], ["psnr", "unet3d", 3, 2.0, 2, 2, 0, 0.08]]  # fmt: skip
    people = ["sub-01", "sub-02", "sub-03"]
    volumes = [[p, m, "grey", "volume_ml", 600 + 10 * k + n, 600 + 10 * k] for k, p in enumerate(people)
               for m, n in (("unet3d", k), ("spline", -30))]  # fmt: skip
    limits = [["grey", 1.0, -1.0, 3.0], ["grey", -30.0, -30.0, -30.0]]
    agreement = [[m, r, "volume_ml", 3, b, b, b, 1, lo, hi, 0.5, 0.9, 0.1, 1, 0.9, 0.1, 1, NOTE, *[b] * 6]
                 for m, (r, b, lo, hi) in zip(METHODS, limits, strict=True)]  # fmt: skip
    audit = [
        [p, m, "spread", 0.01 * n, n, 0, 1, 0.5 * n, 0, 0.1] for p in people for m, n in (("unet3d", 2), ("spline", 0))
    ]
    structures = [["sub-01", "unet3d", n, kind, 1.0, 2.0, 3.0, ml, 5.0, 0.2, 0.0, 0.0]
                  for n, (kind, ml) in enumerate([("added", 0.1), ("changed", 9.0), ("removed", 0.4)])]  # fmt: skip
    lesions = [[p, m, n, radius, contrast, 0.1, 0.1 * share, share, 0.02] for p in people
               for m, share in (("unet3d", 0.5), ("spline", 0.9))
               for n, (radius, contrast) in enumerate([(2.5, 0.3), (6.0, -0.3)])]  # fmt: skip
    outliers = [["sub-01", "unet3d", "psnr", 9, 20.0, 25.0, -5.0, "yes"],
                ["sub-02", "unet3d", "psnr", 9, 24.0, 25.0, -1.0, "no"],
                ["sub-03", "unet3d", "ssim", 9, 0.2, 0.9, -9.0, "yes"]]  # fmt: skip
    rows = {"ranks": ranks, "quantities": volumes, "agreement": agreement, "audit": audit, "structures": structures,
            "lesions": lesions, "outliers": outliers}  # fmt: skip
    for name, values in rows.items():
        write_tsv(root / f"metrics/{name}.tsv", pd.DataFrame(values, columns=tables.COLUMNS[f"metrics/{name}"]))


@pytest.fixture
def table(tmp_path):
    make_findings(tmp_path)
    return tables.read(tmp_path)


def test_ranks_follow_the_metrics_order_and_the_best_comes_first(table):
    found = leaderboard.ranking(table, METHODS)
    assert [(row["metric"], row["method"]) for row in found["rows"]] == [
        ("psnr", "spline"), ("psnr", "unet3d"), ("mae", "unet3d"), ("mae", "spline"),
    ]  # fmt: skip
    assert found["chart"].startswith(b"\x89PNG")
    assert leaderboard.ranking(table, METHODS)["chart"] == found["chart"], "the same bytes"


def test_outliers_are_sorted_by_how_far_they_are(table):
    found = leaderboard.outliers(table)
    assert [row["participant_id"] for row in found["rows"]] == ["sub-03", "sub-01"]
    assert found["all"] == 2 and not found["unknown"]


def test_agreement_names_regions_and_draws_volumes(table):
    found = agreement.agreement(table, METHODS)
    assert [(row["method"], row["named"], row["bias"]) for row in found["rows"]] == [
        ("unet3d", "grey matter", 1.0), ("spline", "grey matter", -30.0),
    ]  # fmt: skip
    assert found["notes"] == [NOTE] and found["chart"].startswith(b"\x89PNG") and found["left_out"] == []
    # A method that is ranked low is left out of the chart, and named.
    many = {f"m{n}": n for n in range(agreement.ROWS + 2)}
    for name in ("quantities", "agreement"):
        part = table[f"metrics/{name}"]
        table[f"metrics/{name}"] = pd.concat([part[part.method == "spline"].assign(method=m) for m in many])
    assert agreement.agreement(table, list(many))["left_out"] == list(many)[agreement.ROWS :]


def test_audit_is_averaged_and_only_structures_that_came_or_went_are_listed(table):
    found = hallucinations.hallucinations(table, METHODS)
    first, second = found["audit"]
    assert (first["method"], first["added"], first["added_ml"], first["n"]) == ("unet3d", 2, 1.0, 3)
    assert second["method"] == "spline" and second["share_beyond"] == 0
    assert [row["kind"] for row in found["structures"]] == ["removed", "added"] and found["all"] == 2
    assert {radius: (cell["n"], cell["mean"]) for radius, cell in found["lesions"][0]["recovered"].items()} == {
        2.5: (3, pytest.approx(0.5)), 6.0: (3, pytest.approx(0.5)),
    }  # fmt: skip
    assert found["lesions"][1]["elsewhere"] == pytest.approx(0.02) and found["participants"] == 3


def test_the_interval_of_lesions_is_over_participants(table):
    """Two lesions of each participant count once: 0.2, 0.4 and 0.9, mean 0.5 with a standard error of 0.2082."""
    lesions = table["metrics/lesions"]
    shares = {"sub-01": 0.2, "sub-02": 0.4, "sub-03": 0.9}
    wobble = np.where(lesions.radius_mm == 6, 0.1, -0.1)
    lesions["radius_mm"] = 4.0
    lesions["recovered"] = lesions.participant_id.map(shares) + wobble
    cell = hallucinations.hallucinations(table, METHODS)["lesions"][0]["recovered"][4.0]
    assert cell["n"] == 3 and cell["mean"] == pytest.approx(0.5)
    half = 4.3027 * 0.20817
    assert (cell["ci_low"], cell["ci_high"]) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


def test_lesions_without_a_value_are_drawn_as_nothing(table):
    lesions = table["metrics/lesions"]
    lesions.loc[lesions.method == "spline", "recovered"] = np.nan
    found = hallucinations.hallucinations(table, METHODS)
    assert [row["method"] for row in found["lesions"]] == ["unet3d"]


def test_nothing_is_said_where_nothing_was_measured(tmp_path):
    table, context = tables.read(tmp_path), StudyContext(tmp_path, {}, {}, Narrative())
    assert leaderboard.ranking(table, []) is None and leaderboard.outliers(table) is None
    assert not agreement.applies(context) and not hallucinations.applies(context)
