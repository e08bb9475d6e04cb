"""The first screen of a report: a verdict, three numbers, pictures of the participant in the middle."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from upfield.files import read_tsv, write_tsv
from upfield.report import glance
from upfield.report.context import StudyContext
from upfield.study.designs.narrative import Narrative

from tests.unit.test_report import CONFIG, LEVEL, make_study, render


def context(root, images):
    return StudyContext(root, CONFIG, {}, Narrative(), images=images)


@pytest.fixture
def study(tmp_path):
    return tmp_path, make_study(tmp_path, n=5)


def test_tiles_say_the_gain_the_error_removed_and_who_was_left_out(study):
    root, images = study
    write_tsv(
        root / "qc" / "quality.tsv",
        pd.DataFrame(
            [("sub-02", "pair", "ncc", 0.1, "warn"), ("sub-01", "pair", "ncc", 0.9, "ok")],
            columns=["participant_id", "role", "metric", "value", "flag"],
        ),
    )
    gain, way, out = glance.tiles(context(root, images), "psnr", "unet3d_patchgan", "spline")
    assert gain.title == "Gain over spline" and re.match(r"\+3\.\d\d dB PSNR$", gain.value)
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}5" in gain.note and "CI" in gain.note
    # 4 dB nearer than the input, give or take: the error is 10^(-4/20) of what it was.
    assert way.share == pytest.approx(1 - 10 ** (-4 / 20), abs=0.02)
    assert way.value == f"{100 * way.share:.0f}\N{NO-BREAK SPACE}%"
    assert out.value == "1 · 1" and out.note.startswith("of 6 participants")


def test_an_output_that_is_farther_than_its_input_says_so(tmp_path):
    images = make_study(tmp_path, level={**LEVEL, "unet3d_patchgan": 20.0})
    way = glance.tiles(context(tmp_path, images), "psnr", "unet3d_patchgan", "spline")[1]
    assert way.title.startswith("Farther from the target") and way.value.startswith("−26") and way.share == 0


def test_the_participant_in_the_middle_is_shown_and_the_next_if_it_cannot_be(study):
    root, images = study
    values = read_tsv(root / "metrics" / "per_subject.tsv")
    own = values[(values.metric == "psnr") & (values.method == "unet3d_patchgan")].set_index("participant_id")["value"]
    order = list((own - own.median()).abs().sort_values().index)
    seen = glance.sight(context(root, images), "psnr", "unet3d_patchgan")
    assert seen.participant == order[0] and seen.median
    assert [picture.title for picture in seen.pictures] == ["Input", "Output", "Target", "Error"]
    pixels = [np.asarray(Image.open(io.BytesIO(picture.image)).convert("L"), dtype=float) for picture in seen.pictures]
    assert np.abs(pixels[1] - pixels[2]).mean() < np.abs(pixels[0] - pixels[2]).mean(), "the output is nearer"
    next(images_ for images_ in images if images_.participant_id == order[0]).target.write_bytes(b"broken")
    assert glance.sight(context(root, images), "psnr", "unet3d_patchgan").participant == order[1]
    assert glance.sight(context(root, []), "psnr", "unet3d_patchgan") is None


@pytest.mark.parametrize(
    ("level", "n", "state", "sign"),
    [(LEVEL, 3, "yes", "✓"), ({**LEVEL, "unet3d_patchgan": 20.0, "unet3d": 19.0, "lohiresgan": 18.0}, 5, "no", "✗"),
     ({**LEVEL, "unet3d_patchgan": 22.41, "unet3d": 22.0, "lohiresgan": 22.0}, 3, "open", "?")],
)  # fmt: skip
def test_the_sign_is_that_of_the_corrected_comparison(tmp_path, level, n, state, sign):
    page = render(tmp_path, make_study(tmp_path, level=level, n=n))
    assert re.search(r'class="verdict (\w+)(?: few)?"', page.html)[1] == state
    assert re.search(r'class="sign"[^>]*>(.)<', page.html)[1] == sign
    decisions = read_tsv(tmp_path / "metrics" / "comparisons.tsv")
    primary = decisions[(decisions.family == "primary") & (decisions.baseline == "spline")]["decision"]
    assert (state == "yes") == (set(primary) == {"better"}) and (state == "no") == (set(primary) == {"worse"})


def test_pictures_come_before_words(study):
    html = render(*study).html
    result = html.split('<section id="result"')[1].split("</section>")[0]
    places = [result.index(text) for text in ('class="verdict', 'class="tiles', 'class="sight', "What this rests on")]
    assert places == sorted(places)
    assert result.count("<p>") - result.split("What this rests on")[1].count("<p>") <= 3, "titles of tiles alone"
