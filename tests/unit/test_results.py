"""The tables of docs/results.md: made from the files of a study, put where the page has a place for them."""

import pytest

from benchmarks import results
from tests.unit.test_report import make_comparisons, make_metrics

METHODS = ["identity", "denoise", "unet3d"]
PAGE = "# Results\n\n<!-- study: small -->\nold\n<!-- end -->\n\n<!-- study: other -->\nkept\n<!-- end -->\n"


@pytest.fixture
def small(tmp_path):
    root = tmp_path / "small"
    make_metrics(root, METHODS, ["sub-01", "sub-02", "sub-03"], {"identity": 20.0, "denoise": 22.0, "unet3d": 21.0})
    return root


def test_a_study_fills_its_place_and_no_other(small, tmp_path):
    make_comparisons(small)
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    results.main([str(small), "--write", str(page)])
    text = page.read_text()
    assert "old" not in text and "<!-- study: other -->\nkept\n<!-- end -->" in text
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["method", "denoise (baseline)", "unet3d", "identity (baseline)"]
    assert text.index("**") < text.index("| method")
    results.main([str(small), "--write", str(page)])
    assert page.read_text() == text


def test_a_study_without_a_place_or_without_results_is_said(small, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("# Results\n")
    with pytest.raises(SystemExit, match="has no place for small; write <!-- study: small --> and <!-- end -->"):
        results.main([str(small), "--write", str(page)])
    with pytest.raises(SystemExit, match=r"there is no metrics/leaderboard\.tsv"):
        results.section(tmp_path)
