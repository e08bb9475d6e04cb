"""The harmonization section of the report: shown for harmonization studies, and no more certain than its numbers."""

import numpy as np
import pandas as pd
import pytest
from test_report import CONFIG, SECTIONS, Page, make_run, make_study, render
from upfield.evaluate import harmonization
from upfield.evaluate.harmonization.cohort import COLUMNS
from upfield.evaluate.statistics.decide import by_change
from upfield.files import read_tsv, write_tsv
from upfield.report.sections.harmonization import headline
from upfield.training import preview

AUCS = {"identity": (0.98, 0.93, 1.0), "cyclegan": (0.62, 0.41, 0.80), "histogram_match": (0.85, 0.7, 0.96),
        "combat": (0.45, 0.3, 0.7)}  # fmt: skip


def decided(now, before):
    """The columns from decision on, of an AUC; its change is as uncertain as it is itself."""
    change, half = now[0] - before[0], 0.55 * (now[2] - now[1])
    p, p_before = (0.01 if auc[1] > 0.5 else 0.3 for auc in (now, before))
    said = by_change((change - half, change + half), before[0], now[0], p_before, goal=0.5)
    return said, p, change, change - half, change + half


def make_harmonization(root, n=4, aucs=AUCS):
    """Tables of a harmonization study beside the others."""
    rows = []
    for method, auc in aucs.items():
        rows.append((method, "scanner_auc", n, n + 1, *auc, *decided(auc, aucs["identity"])))
        rows.append(
            (method, "mmd", n, n + 1, auc[0] - 0.5, auc[1] - 0.5, auc[2] - 0.4, "undecided", 0.2, *(np.nan,) * 3)
        )
        distance = (np.nan,) * 3 if method == "combat" else (auc[0] / 9, auc[0] / 12, auc[0] / 7)
        rows.append((method, "wasserstein", n, n + 1, *distance, "undecided", 0.2, *(np.nan,) * 3))
    write_tsv(root / "metrics/harmonisation.tsv", pd.DataFrame(rows, columns=COLUMNS))
    board = [
        (method, "test", "brain", metric, n, value, 0.01, value - 0.02, value + 0.02)
        for method in aucs
        if method != "combat"
        for metric, value in (("ssim_source", 0.93), ("gradient_correlation", 0.9), ("cycle_error", 0.03))
        if metric != "cycle_error" or method == "cyclegan"
    ]
    columns = ["method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"]
    write_tsv(root / "metrics/leaderboard.tsv", pd.DataFrame(board, columns=columns))
    path = root / "metrics/per_subject.tsv"
    write_tsv(path, read_tsv(path).iloc[:0])
    random = np.random.default_rng(0)
    looks = []
    shifts = {("source", "identity"): 0.25, ("source", "histogram_match"): 0.04, ("source", "cyclegan"): 0.02,
              ("target", "identity"): 0.0}  # fmt: skip
    for (scanner, method), shift in shifts.items():
        for number in range(n):
            levels = np.sort(np.concatenate([random.normal(0.3, 0.06, 40), random.normal(0.75, 0.08, 60)]))
            for level, value in enumerate(levels + shift * (1 - levels)):
                looks.append((f"sub-{scanner}{number}", scanner, method, "brain", f"percentile_{level:02d}.5", value))
    write_tsv(root / "metrics/appearance.tsv", pd.DataFrame(looks, columns=harmonization.COLUMNS))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("harmonized")
    make_study(root)
    make_harmonization(root)
    make_run(root, "cyclegan")
    panel = np.linspace(0, 1, 40 * 48).reshape(40, 48)
    titles = ("A", "A→B", "A→B→A", "B", "B→A", "B→A→B")
    grid = preview.triptych(dict.fromkeys(titles, panel), (0, 1))
    (root / "models/cyclegan/fold-0_seed-42/figures/epoch-0012.png").write_bytes(grid)
    return render(root, [], config=CONFIG | {"pairing": "unpaired", "methods": ["cyclegan"]})


def section(page: Page) -> Page:
    return Page(page.html.split('<section id="harmonization"')[1].split("</section>")[0])


def test_only_a_study_with_harmonization_metrics_has_the_section(page, tmp_path):
    assert [a["id"] for a in page.all("section")] == [*SECTIONS[:2], "harmonization", *SECTIONS[2:]]
    make_study(tmp_path)
    plain = render(tmp_path, [])
    assert "harmonization" not in [a["id"] for a in plain.all("section")] and 'href="#harmonization"' not in plain.html


def test_table_has_before_first_then_the_methods_nearest_to_chance(page):
    text = section(page).text
    body = text[text.index("identity baseline before") :]
    places = [body.index(method) for method in ("identity", "combat", "cyclegan", "histogram_match")]
    assert places == sorted(places)
    for shown in ("0.98", "[0.93, 1.00]", "0.62", "Scanner AUC", "SSIM to the source", "0.930", "Cycle error", "4 / 5"):
        assert shown in text
    assert text.count("n/a") == 6, "no image metrics and no intensities for ComBat; cycle error for cyclegan only"


def test_few_participants_and_what_an_auc_cannot_say_are_said(page):
    text = section(page).text
    assert "With 4 participants on one side, fewer than 5, there are no intervals" in text
    assert "p = 0.010" in text and "change −0.36 [" in text and "], better" in text
    assert "not that there is nothing to find" in text and "ComBat adjusts the features" in text
    drawn = [a for a in section(page).all("img") if a.get("class") == "drawn"]
    assert len(drawn) == 2 and all(a.get("alt") for a in section(page).all("img"))


def test_cycle_grid_gets_the_whole_width_and_a_caption_of_its_own(page):
    training = page.html.split('<section id="training"')[1].split("</section>")[0]
    assert 'class="row"' in training and "brought to the target scanner" in training
    assert "input, output, truth" not in training


def rows(**aucs):
    """Rows of the section with scanner AUCs only."""
    names = COLUMNS[4:]
    cell = {
        name: pd.Series(dict(zip(names, (*auc, *decided(auc, aucs["identity"])), strict=True)))
        for name, auc in aucs.items()
    }
    return [{"method": name, "n": [20, 20], "cells": {"scanner_auc": auc}} for name, auc in cell.items()]


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        (
            (0.98, 0.9, 1.0),
            (0.55, 0.4, 0.7),
            "Yes: the scanners are harder to tell apart after cyclegan, and the classifier is not shown",
        ),
        ((0.98, 0.9, 1.0), (0.7, 0.6, 0.8), "Yes: the scanners are harder to tell apart after cyclegan."),
        ((0.9, 0.7, 1.0), (0.7, 0.5, 0.9), "Not shown: the scanners may be harder"),
        ((0.9, 0.7, 1.0), (0.95, 0.8, 1.0), "Not shown: the scanners are told apart as well"),
        ((0.7, 0.6, 0.8), (0.95, 0.85, 1.0), "No: the scanners are easier to tell apart after cyclegan."),
        ((0.6, 0.4, 0.8), (0.5, 0.3, 0.7), "No verdict: the scanners cannot be told apart before"),
    ],
)
def test_answer_is_as_certain_as_the_intervals(before, after, answer):
    result = headline(rows(identity=before, cyclegan=after))
    assert result.answer.startswith(answer) and not result.cautions


def test_headline_of_the_page_is_about_harmonization(page):
    assert (
        "Points to yes: the scanners are harder to tell apart after cyclegan, and the classifier is not shown"
        in page.text
    )
    assert "SSIM of cyclegan to its own source is 0.930" in page.text and "combat 0.45" in page.text
    assert "this is an indication, not a proof" in page.text


def test_no_verdict_without_an_auc(tmp_path):
    make_study(tmp_path)
    make_harmonization(tmp_path, n=1, aucs={"identity": (np.nan,) * 3, "cyclegan": (np.nan,) * 3})
    text = render(tmp_path, []).text
    assert "No verdict: there are too few scans for a classifier." in text
