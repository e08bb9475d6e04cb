"""The page of a model that was applied: scans, what the model has seen, the images, and what it cost."""

import pandas as pd
from upfield.files import write_tsv
from upfield.predict import training_range as domain
from upfield.report import narrative
from upfield.report.applied import Enhanced, build_applied

from tests.unit.test_domain import described
from tests.unit.test_report import PROVENANCE, Page, make_images

CARD = {"method": "unet3d", "preset": "corrected", "fold": 0, "seed": 42, "pairing": "paired", "scale": [1, 1, 1],
        "preprocess": {"spacing": 1.0}, "participants": {"train": ["sub-01", "sub-02"]}, "phantom": True}  # fmt: skip


EXCLUDED = {"status": "excluded", "warnings": None, "reason": "found 3 cm3", "output": None}


def page(folder, **changes):
    """The page of one scan, and its text; `changes` of its row in the table."""
    images = make_images(folder, "sub-01", ["unet3d"])
    status = {"status": "applied", "warnings": "a warning <b>", "reason": None, "output": "out.nii.gz", **changes}
    table = pd.DataFrame([{"participant_id": "sub-01", "session": None, "scan": "sub-01", "path": "a/b"} | status])
    write_tsv(folder / "benchmarks/predict/sub-01_unet3d_T1w.tsv", pd.DataFrame({"s": [12.0], "max_rss": [800.0]}))
    build_applied(
        folder,
        folder / "report/index.html",
        config={"study": "apply-unet3d", "pairing": "paired"},
        provenance=PROVENANCE,
        narrative=narrative.of({"pairing": "paired"}),
        applied=table,
        scans=[Enhanced("sub-01", images.source, images.mask, images.outputs["unet3d"])][
            : status["status"] == "applied"
        ],
        cards=[CARD],
        training_range=domain.describe([described()], [described()]),
    )
    return Page((folder / "report/index.html").read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_needs_nothing_else(tmp_path):
    found = page(tmp_path)
    assert [a["id"] for a in found.all("section")] == ["result", "images", "model", "provenance"]
    linked = {a["href"][1:] for a in found.all("a")} - {"main"}
    assert linked == {a["id"] for a in found.all("section")}
    assert not [a for tag in ("img", "image", "script", "link") for a in found.all(tag)
                if not (a.get("src") or a.get("href") or "data:").startswith("data:")]  # fmt: skip
    for words in ("trained on a phantom", "a warning <b>", "2 participants", "12.0 s", "Voxels (mm"):
        assert words in found.text
    assert len(found.all("image")) == 6, "input and output in three planes"


def test_a_page_of_which_every_scan_is_excluded_says_why(tmp_path):
    found = page(tmp_path, **EXCLUDED)
    assert "found 3 cm3" in found.text and "sub-01" in found.text
    assert not found.all("image")
