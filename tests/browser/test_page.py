"""The report in a browser, opened from disk with the network off: it works by mouse, keyboard and touch."""

import re
import shutil

import pandas as pd
import pytest
from upfield.evaluate import calibration
from upfield.files import write_tsv
from upfield.report.page import build
from upfield.study.designs.narrative import Narrative

from tests.unit.test_findings import make_findings
from tests.unit.test_report import CONFIG, PROVENANCE, make_study

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
PLANES = ("Sagittal", "Coronal", "Axial")
# One page's worth of pixels is little to draw, but a crowded machine may take its time.
PATIENCE = 60_000
playwright.expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A report of three subjects, one of whose methods has a standard deviation; the study's folder."""
    root = tmp_path_factory.mktemp("browser")
    images = make_study(root, trained=["unet3d_patchgan"])
    for subject in images:
        subject.uncertainties["unet3d_patchgan"] = subject.outputs["identity"]
    rows = [("sub-01", "unet3d", "0", n, 50, 0.01 * n, 0.02 * n, 0.25, 1.0) for n in range(1, 11)]
    write_tsv(root / "metrics/calibration.tsv", pd.DataFrame(rows, columns=calibration.COLUMNS))
    board = pd.read_csv(root / "metrics/leaderboard.tsv", sep="\t")
    write_tsv(
        root / "metrics/leaderboard.tsv", pd.concat([board, board[board.region == "brain"].assign(region="white")])
    )
    make_findings(root)
    narrative = Narrative(notices=["A phantom."])
    build(root, root / "report/index.html", config=CONFIG, provenance=PROVENANCE, images=images, narrative=narrative)
    return root


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, study):
    """Open the report in a window of its own; afterwards nothing may have been complained about or asked for."""
    contexts, trouble = [], []

    def opened(viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, offline=True, **options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else trouble.append(r.url))
        page.goto((study / "report/index.html").as_uri())
        page.wait_for_selector(".viewer[data-at]")
        contexts.append(context)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


def methods(page):
    """Methods of the first leaderboard's rows in sight, from the top."""
    return page.locator(".board-part:visible").first.locator("tbody tr:visible .method").all_inner_texts()


def place(page):
    return [int(n) for n in page.locator(".viewer").first.get_attribute("data-at").split()]


def pixels(page, name):
    """All values of a canvas of the first viewer once it has been drawn."""
    return page.evaluate(
        """async name => {
            const root = document.querySelector(".viewer");
            await root.viewer.drawing;
            // Read from a copy: browsers warn of reading a canvas again and again.
            const {width, height} = root.querySelector(name);
            const copy = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
            copy.drawImage(root.querySelector(name), 0, 0);
            return [...copy.getImageData(0, 0, width, height).data];
        }""",
        name,
    )


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_opens_and_fits_into_the_window(visit, viewport):
    page = visit(viewport)
    assert page.title() == "demo <b>&study</b>: Upfield report"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".viewer").first.is_visible()
    for canvas in page.locator(".viewer").first.locator("canvas").all():
        box = canvas.bounding_box()
        assert box["width"] >= 100 and box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"] + 1


def test_a_heading_sorts_by_mouse_and_by_keyboard(visit):
    page = visit()
    heading = page.locator(".board th[data-metric=psnr]").first
    before = methods(page)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending" and methods(page) == before[::-1]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending" and methods(page) == before


def test_the_leaderboard_filters_by_region_metric_and_words(visit):
    page = visit()
    filters, parts = page.locator("form.filters"), page.locator(".board-part:visible")
    total = parts.count()
    filters.get_by_label("Region").select_option("white")
    assert 0 < parts.count() < total
    assert parts.locator("table").first.is_visible(), "what was asked for is unfolded"
    filters.get_by_role("button", name="Show all").click()
    playwright.expect(page.locator(".board-part:not([hidden])")).to_have_count(total)
    filters.get_by_label("Metric").select_option("ssim")
    shown = page.locator(".board").first.locator("thead th:visible").all_inner_texts()
    assert len(shown) == 3 and shown[2].startswith("SSIM")
    filters.get_by_label("Method").fill("unet3d patch")
    assert methods(page) == ["unet3d_patchgan"]
    assert re.match(r"\d+ rows? in \d+ tables?$", filters.locator("output").inner_text())


def test_slices_scroll_by_keyboard_wheel_and_mouse_in_all_planes_at_once(visit):
    page = visit()
    axial, sagittal = "canvas[data-image=target][data-plane=axial]", "canvas[data-image=target][data-plane=sagittal]"
    start, before = place(page), pixels(page, axial)
    line = page.locator(f".marked:has({sagittal}) i").nth(1)
    side = line.get_attribute("style")
    slider = page.locator(".viewer").first.get_by_role("slider", name="Axial")
    slider.press("ArrowRight")
    assert pixels(page, axial) != before and line.get_attribute("style") != side
    assert place(page) == [start[0], start[1], start[2] + 1]
    assert re.match(r"z = −?\d+ mm, slice \d+ of \d+$", slider.get_attribute("aria-valuetext"))
    canvas = page.locator(".viewer").first.locator(axial)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.click(position={"x": 0.25 * box["width"], "y": 0.25 * box["height"]})
    pixels(page, axial)
    x, y, z = place(page)
    assert x < start[0] and y > start[1] and z == start[2] + 1, "left of the middle, in front of it"
    page.mouse.wheel(0, 100)
    playwright.expect(page.locator(".viewer").first).to_have_attribute("data-at", f"{x} {y} {z - 1}")
    page.keyboard.press("ArrowUp")
    playwright.expect(page.locator(".viewer").first).to_have_attribute("data-at", f"{x} {y} {z}")


def test_a_touch_moves_the_crosshair(visit):
    page = visit(PHONE, has_touch=True, is_mobile=True)
    start = place(page)
    canvas = page.locator(".viewer canvas[data-image=input][data-plane=coronal]").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    playwright.expect(page.locator(".viewer").first).not_to_have_attribute("data-at", " ".join(map(str, start)))
    x, y, z = place(page)
    assert x > start[0] and y == start[1] and z > start[2]


def test_before_and_after_share_one_picture(visit):
    page = visit()
    viewer = page.locator(".viewer").first
    split = viewer.get_by_role("slider", name="Before / after")
    half = pixels(page, "canvas[data-role=stage]")
    split.press("End")
    before = pixels(page, "canvas[data-role=stage]")
    split.press("Home")
    after = pixels(page, "canvas[data-role=stage]")
    assert before != half != after != before
    width = page.evaluate("document.querySelector('canvas[data-role=stage]').width")
    start, edge = 4 * width * (len(half) // (4 * width) // 2), 4 * int(width / 2 + 0.5)
    row, first, last = (values[start : start + 4 * width] for values in (half, before, after))
    assert row[:edge] == first[:edge] != last[:edge] and row[edge:] == last[edge:] != first[edge:]


def test_zoom_window_convention_and_crosshair_change_what_is_seen(visit):
    page = visit()
    viewer = page.locator(".viewer").first
    target = "canvas[data-image=target][data-plane=axial]"
    picture = viewer.locator(f".marked:has({target})")
    before, wide = pixels(page, target), viewer.locator(target).bounding_box()["width"]
    assert (
        picture.locator("span").all_inner_texts() == ["L", "R", "A", "P"]
        and picture.locator("b").inner_text() == "2 cm"
    )
    viewer.get_by_label("Convention").select_option("radiological")
    width = page.evaluate("name => document.querySelector(name).width", target)
    rows = [before[i : i + 4 * width] for i in range(0, len(before), 4 * width)]
    turned = [row[4 * c : 4 * c + 4] for row in rows for c in reversed(range(width))]
    assert pixels(page, target) == [value for four in turned for value in four]
    assert picture.locator("span").all_inner_texts() == ["R", "L", "A", "P"]
    others = page.locator(".viewer [data-role=convention]").evaluate_all("all => all.map(one => one.value)")
    assert set(others) == {"radiological"}, "one convention a page"
    viewer.get_by_role("slider", name="Zoom").press("ArrowRight")
    pixels(page, target)
    assert viewer.locator(target).bounding_box()["width"] == pytest.approx(1.25 * wide, rel=0.01)
    assert picture.bounding_box()["width"] == pytest.approx(wide, rel=0.01), "what is enlarged stays in its frame"
    viewer.get_by_role("slider", name="Window").press("PageDown")
    assert sum(pixels(page, target)) != sum(before)
    viewer.get_by_label("Crosshair").uncheck()
    playwright.expect(picture.locator("i").first).to_be_hidden()
    viewer.get_by_role("button", name="Reset display").click()
    viewer.get_by_label("Convention").select_option("neurological")
    assert pixels(page, target) == before
    assert viewer.locator("figcaption").nth(1).inner_text() == f"Output · {viewer.get_by_label('Method').input_value()}"


def test_uncertainty_is_shown_for_the_method_that_has_it(visit):
    page = visit()
    viewer = page.locator(".viewer").first
    panel = viewer.locator("canvas[data-image=uncertainty]").first
    viewer.get_by_label("Method").select_option("unet3d_patchgan")
    panel.wait_for(state="visible")
    viewer.get_by_label("Method").select_option("spline")
    panel.wait_for(state="hidden")


def test_a_structure_of_the_audit_is_shown_where_it_is(visit):
    page = visit()
    page.get_by_text("2 structures added or removed").click()
    page.get_by_role("button", name="Show structure 2 of unet3d, sub-01").click()
    viewer = page.locator(".viewer").first
    assert viewer.get_by_label("Method").input_value() == "unet3d"
    # Half a voxel is 2 mm in plane and 2.5 mm across.
    place = [viewer.get_by_role("slider", name=name).get_attribute("aria-valuetext") for name in PLANES]
    found = [float(re.match(r". = (−?\d+) mm", text)[1].replace("−", "-")) for text in place]
    assert found == pytest.approx([1, 2, 3], abs=3)
    playwright.expect(viewer.get_by_role("slider", name="Axial")).to_be_in_viewport()


def test_a_table_is_saved_with_all_its_digits(visit, study, tmp_path):
    page = visit(accept_downloads=True)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save metrics/leaderboard.tsv").click()
    assert saved.value.suggested_filename == "leaderboard.tsv"
    saved.value.save_as(tmp_path / "saved.tsv")
    assert (tmp_path / "saved.tsv").read_bytes() == (study / "metrics/leaderboard.tsv").read_bytes()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem(visit, viewport, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = visit(viewport, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    serious = {v["id"]: [n["target"] for n in v["nodes"]][:3] for v in found if v["impact"] in ("serious", "critical")}
    assert serious == {}
