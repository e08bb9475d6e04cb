"""A report's size is bounded, whatever the number of subjects, methods and models: twenty subjects, small budgets."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from upfield.files import write_tsv
from upfield.report.page import build
from upfield.report.sections import images as section
from upfield.report.sections import training as drawn
from upfield.study.designs.narrative import Narrative

from tests.unit.test_report import CONFIG, PROVENANCE, make_images, make_metrics, make_run

METHODS = ["identity", "spline", "histogram_match", "unet3d", "unet3d_patchgan", "lohiresgan"]
PEOPLE = [f"sub-{n:02d}" for n in range(1, 21)]
SHARE = 10


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The report of twenty subjects, six methods and fourteen models, with a tenth of the budgets for pictures."""
    root = tmp_path_factory.mktemp("size")
    person = make_images(root, "sub-01", METHODS, shape=(46, 56, 44), spacing=(3.4, 3.4, 3.4))
    make_metrics(root, METHODS, PEOPLE, {method: 22.0 + n for n, method in enumerate(METHODS)})
    for fold in range(drawn.DRAWN + 2):
        make_run(root, "unet3d", fold=fold)
    folds = [str(n % (drawn.DRAWN + 2)) for n in range(len(PEOPLE))]
    write_tsv(root / "splits.tsv", pd.DataFrame({"participant_id": PEOPLE, "fold": folds, "split": "test"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section, "VIEWER_VOXELS", section.VIEWER_VOXELS / SHARE)
        patch.setattr(section, "PANEL_PIXELS", section.PANEL_PIXELS / SHARE)
        patch.setattr(drawn, "_curves", lambda run: b"curves of " + run["name"].encode())
        images = [replace(person, participant_id=name) for name in PEOPLE]
        config = CONFIG | {"report": {"subjects": len(PEOPLE)}}
        build(root, root / "page.html", config=config, provenance=PROVENANCE, images=images, narrative=Narrative())
    return (root / "page.html").read_text(encoding="utf-8")


def test_all_subjects_together_keep_to_the_number_of_voxels(html):
    viewers = [json.loads(text) for text in re.findall(r'<script type="application/json">(.+?)</script>', html)]
    assert len(viewers) == len(PEOPLE)
    voxels = sum(np.prod(view["shape"]) * len(view["sheets"]) for view in viewers)
    assert 0.8 < voxels / (section.VIEWER_VOXELS / SHARE) <= 1
    assert all(view["reduced"] > 3.4 for view in viewers)


def test_pictures_are_as_large_as_the_budgets_take_them_to_be(html):
    (images,) = re.findall(r'<section id="images".+?</section>', html, flags=re.S)
    sheets = sum(len(base64.b64decode(data)) for data in re.findall(r"data:image/webp;base64,([^\"]+)", images))
    assert sheets < 0.3 * section.VIEWER_VOXELS / SHARE
    middle = sum(len(base64.b64decode(data)) for data in re.findall(r"data:image/png;base64,([^\"]+)", images))
    # Small pictures have a palette each.
    assert middle < 2.5 * section.PANEL_PIXELS / SHARE


def test_only_some_trainings_are_drawn_and_the_others_are_named(html):
    (training,) = re.findall(r'<section id="training".+?</section>', html, flags=re.S)
    assert len(re.findall(r"<summary><h3>unet3d, fold", training)) == drawn.DRAWN + 2
    assert training.count("Validation slice at") == drawn.DRAWN and training.count("Not drawn") == 2
