"""Text of others comes out of a report as text: names, sidecars, tables, configuration, model cards, provenance.

A page with harmless words in every such place has the elements, attributes and scripts that it has with hostile ones.
"""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from upfield.files import read_json, write_json, write_tsv
from upfield.predict import training_range
from upfield.report import narrative, tables
from upfield.report.applied import Enhanced, build_applied

from tests.unit.test_domain import described
from tests.unit.test_report import CONFIG, PROVENANCE, Page, make_images, make_study, render
from tests.unit.test_report_applied import CARD

HARMLESS = "word"
# One after the other in one text: each ends a context that the others stand in.
HOSTILE = " ".join((
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)" x=\'',
    "' autofocus onfocus='alert(4)'",
    "</script><script>alert(5)</script><!--",
    "]]></title></textarea></style><svg/onload=alert(6)>",
    "&lt;img src=x onerror=alert(7)&gt;",
    "{{ 7 * 7 }}{% raw %} $\\frac{ $x$ ${alert(8)} `",
    "javascript:alert(9)",
))  # fmt: skip
# What decides about the page; no text of others.
KEPT = {
    "method", "baseline", "split", "region", "metric", "role", "stage", "fold", "seed", "decision", "family",
    "quantity", "severity", "kind", "standardised_by", "status",
}  # fmt: skip
MORE = {
    "qc/validation": {"dataset": "d", "severity": "error", "code": "c", "files": 1, "example": "e", "message": "m"},
    "metrics/outliers": {"participant_id": "sub-01", "method": "unet3d", "metric": "psnr", "n": 3, "value": 1.0,
                         "median": 20.0, "robust_z": -9.0, "outlier": True},
    "metrics/definitions": {"metric": "psnr", "label": "PSNR", "unit": "dB", "better": "higher", "ideal": "inf",
                            "values": "0 to inf", "definition": "d", "source": "s"},
    "metrics/audit": {"participant_id": "sub-01", "method": "unet3d", "standardised_by": "residual",
                      "share_beyond": 0.1, "added": 1, "removed": 1, "changed": 1, "added_ml": 1.0,
                      "removed_ml": 1.0, "changed_ml": 1.0},
    "metrics/structures": {"participant_id": "sub-01", "method": "unet3d", "structure": 1, "kind": "added",
                           "x_mm": 1.0, "y_mm": 2.0, "z_mm": 3.0, "volume_ml": 1.0, "peak_z": 5.0,
                           "contrast_output": 1.0, "contrast_truth": 0.1, "contrast_input": 0.1},
}  # fmt: skip


def spoiled(value, word, kept=()):
    """`value` with a word at the end of every text, in nested lists and mappings too, but for the keys `kept`."""
    if isinstance(value, dict):
        return {key: item if key in kept else spoiled(item, word, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [spoiled(item, word, kept) for item in value]
    return f"{value}{word}" if isinstance(value, str) else value


def skeleton(page):
    """Elements with the names of their attributes, the targets of links, and the number of scripts."""
    return sorted((tag, tuple(sorted(attributes))) for tag, attributes in page.tags)


def check(page, plain, word):
    """What a page with a hostile word must have in common with the harmless one."""
    assert skeleton(page) == skeleton(plain)
    assert page.html.count("</script") == plain.html.count("</script")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        links = [attributes[name] for name in ("src", "href", "srcset", "action", "formaction") if name in attributes]
        assert all(link.startswith(("data:", "#")) for link in links)
    for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page.html, re.DOTALL):
        json.loads(text)
    seen = page.text + " ".join(str(value) for _, attributes in page.tags for value in attributes.values())
    told = " ".join(word.split())
    assert " ".join(seen.split()).count(told) > 5, "the text itself is not lost"
    assert "alert(1)" in page.html and "<script>alert" not in page.html


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    images = make_study(root, trained=["unet3d_patchgan"])
    for name, row in MORE.items():
        write_tsv(root / f"{name}.tsv", pd.DataFrame([row]))
    return root, images


@pytest.fixture(scope="module")
def of_study(study):
    """The page of a study in which every text of others ends in a word."""
    root, images = study
    read, card = tables._table, root / "models/unet3d_patchgan/fold-0_seed-42/model.json"
    written = read_json(card)

    def make(word):
        def table(path):
            found = read(path)
            texts = [name for name in found if found[name].dtype == object and name not in KEPT]
            return found.assign(**{name: [spoiled(cell, word) for cell in found[name]] for name in texts})

        config = spoiled(CONFIG, word, ("pairing", "methods", "scheme", "method", "transform", "suffix"))
        config["target"]["metadata"] = {f"Manufacturer{word}": [word, {"min": 1}]}
        write_json(card, spoiled(written, word, ("method", "seed", "fold")))
        shown = [replace(subject, participant_id=f"{subject.participant_id}{word}") for subject in images]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "_table", table)
            patch.setattr("tests.unit.test_report.PROVENANCE", spoiled(PROVENANCE, word, ("created",)))
            return render(root, shown, notices=[f"Note {word}"], config=config)

    return make


@pytest.fixture(scope="module")
def of_application(tmp_path_factory):
    """The page of a model that was applied, its card and its scans spoiled alike."""
    folder = tmp_path_factory.mktemp("applied")
    images = make_images(folder, "sub-01", ["unet3d"])

    def make(word):
        row = {"participant_id": "sub-01", "session": None, "scan": "sub-01", "path": "a/b", "status": "applied",
               "warnings": "warned", "reason": "r", "output": "o"}  # fmt: skip
        known = training_range.describe([described()], [described()])
        for side, key in (("source", "suffix"), ("source", "manufacturer"), ("target", "suffix")):
            known[side][key] = [f"x{word}"]
        build_applied(
            folder,
            folder / "report/index.html",
            config={"study": f"apply{word}", "pairing": "paired"},
            provenance=spoiled(PROVENANCE, word, ("created",)),
            narrative=narrative.of({"pairing": "paired"}),
            applied=pd.DataFrame([spoiled(row, word, ("status",))]),
            scans=[Enhanced(f"sub-01{word}", images.source, images.mask, images.outputs["unet3d"])],
            cards=[spoiled(CARD, word, ("method", "pairing", "participants"))],
            training_range=known,
        )
        return Page((folder / "report/index.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture(scope="module")
def plain(of_study, of_application):
    return {"study": of_study(HARMLESS), "application": of_application(HARMLESS)}


def test_the_words_get_into_every_section(plain):
    for page in plain.values():
        parts = {part.split('"')[0]: part for part in re.split(r'<section id="', page.html)[1:]}
        without = {name for name, part in parts.items() if HARMLESS not in part}
        assert without <= {"methods", "tables", "quality"}


def test_text_of_others_is_text_in_the_report_of_a_study(of_study, plain):
    check(of_study(HOSTILE), plain["study"], HOSTILE)


def test_text_of_others_is_text_in_the_report_of_an_application(of_application, plain):
    check(of_application(HOSTILE), plain["application"], HOSTILE)
