"""A trained model measured on other data: what its card decides, whom it must not have seen, and what the page says."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from upfield.bids import sidecar
from upfield.files import merged, write_json, write_tsv
from upfield.image import identity
from upfield.predict import training_range
from upfield.report import narrative, validation
from upfield.report.sections import methods
from upfield.report.validation import build_validation
from upfield.study import config, kinds, outputs
from upfield.study.application import Application
from upfield.study.designs.narrative import Narrative
from upfield.study.validation import FOLD, OWN, Validation, screen

from tests.unit.test_domain import described
from tests.unit.test_report import PROVENANCE, Page, make_study

SEEN = {"participants": {}, "images": [], "complete": True}


@pytest.fixture
def dataset(bids_tree):
    """Three participants at 64 mT and 3 T."""
    return bids_tree(
        {
            f"sub-0{n}/ses-{s}/anat/sub-0{n}_ses-{s}_{suffix}.nii.gz": None
            for n in range(1, 4)
            for s, suffix in ((1, "T2w"), (2, "T1w"))
        },
        "new",
    )


@pytest.fixture
def given(dataset, tmp_path):
    """What a user gives, with changes, as it is resolved."""

    def make(**changes):
        sides = {side: {"bids_dir": str(dataset)} for side in ("source", "target")}
        said = merged({"output_dir": str(tmp_path / "out"), **sides}, changes)
        said = {key: value for key, value in said.items() if value is not None}
        defaults = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
        return kinds.resolved(merged(defaults, said), said)

    return make


def test_the_card_decides_how_scans_are_prepared_and_the_user_how_pairs_are_registered_and_judged(given, trained):
    model = trained(seen=SEEN)
    found = given(model=model, qc={"outlier": None}, evaluate={"metrics": ["psnr"]})
    assert found["study"] == "evaluate-unet3d" and found["methods"] == ["unet3d"]
    assert found["preprocess"]["spacing"] == "native" and found["preprocess"]["n4"] is False
    assert found["preprocess"]["registration"]["transform"] == "rigid", "the card's is of its own pairs"
    assert found["source"]["entities"] == {"suffix": ["T2w"]} and found["target"]["entities"] == {"suffix": ["T1w"]}
    study = kinds.of(found)
    assert isinstance(study, Validation) and list(study.pairs) == ["sub-01", "sub-02", "sub-03"]
    assert study.methods.names == ["identity", "spline", "unet3d"], "nothing that is fitted or trained"
    assert study.tested == dict.fromkeys(study.pairs, FOLD)
    assert study.models("unet3d", "sub-01")["card"] == [f"{model}/model.json"]
    assert study.models("identity", "sub-01")["model"] == []
    assert study.methods.all_seeds == {"unet3d": [42]} and study.methods.uncertain == []
    assert study.delivered("spline", "sub-01") == study.enhanced("identity", "sub-01")
    assert not {"calibration", "lesions"} & set(study.tables) and "as_applied" in study.tables
    mine = given(model=model, study="mine", preprocess={"registration": {"transform": "none"}})
    assert mine["study"] == "mine" and mine["preprocess"]["registration"]["transform"] == "none"


def test_a_model_that_enlarges_keeps_the_scale_of_its_card(given, trained):
    model = trained("srgan3d", scale=(2, 2, 2), seen=SEEN, over={"factor": 2, "filters": 4, "blocks": 1})
    study = kinds.of(given(model=model))
    assert study.methods.scale == {"identity": (1, 1, 1), "spline": (1, 1, 1), "srgan3d": (2, 2, 2)}
    assert "res-2x2x2" in study.prepared("sub-01", "srgan3d")[0] and study.methods.multiple == (2, 2, 2)


def test_sources_are_simulated_as_the_card_says_where_that_is_asked_for(given, trained):
    defaults = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    said = defaults["simulate"] | {"kind": "gaussian", "factor": 3}
    found = given(model=trained(pairing="simulated", simulate=said, seen=SEEN), pairing="simulated",
                  source={"bids_dir": None}, simulate={"blur": 1.0})  # fmt: skip
    assert found["simulate"] == said | {"blur": 1.0}
    assert all(pair.source.simulated for pair in kinds.of(found).pairs.values())


def test_baselines_that_learned_from_the_same_people_are_measured_where_they_lie_beside_the_model(given, trained):
    model = trained(name="models/unet3d/fold-0_seed-42", seen=SEEN)
    folder = Path(model).parents[1] / "denoise"
    for name, fold, split in (
        ("fold-0_seed-7", "0", "0123"),
        ("fold-0_seed-5", "0", "other"),
        ("fold-1_seed-7", "1", "0123"),
    ):
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "model.json", {"fold": fold, "seed": int(name[-1]), "split_sha": split})
    study = kinds.of(given(model=model))
    assert study.methods.names == ["identity", "spline", "denoise", "unet3d"]
    assert study.models("denoise", "sub-01")["model"] == [f"{folder}/fold-0_seed-7/model.safetensors"]
    assert study.methods.all_seeds == {"denoise": [7], "unet3d": [42]} and study.methods.networks == ["unet3d"]
    other = trained(name="models/unet3d/fold-1_seed-42", seen=SEEN)
    both = kinds.of(given(model=[model, other]))
    assert both.methods.names == ["identity", "spline", "unet3d"], "of which fold?"
    assert both.methods.all_seeds == {"unet3d": [42, 42]}


def test_without_a_target_the_model_is_applied(given, trained, dataset):
    found = given(model=trained(), bids_dir=str(dataset), source=None, target=None)
    assert isinstance(kinds.of(found), Application)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"splits": {"seed": 3}}, ["splits has no effect", "its card decides", "docs/guide.md"]),
        ({"train": {"epochs": 3}}, ["train.epochs has no effect"]),
        ({"preprocess": {"spacing": 1.0}}, ["preprocess.spacing has no effect"]),
        ({"evaluate": {"lesions": True}}, ["evaluate.lesions has no effect"]),
        ({"bids_dir": "/data"}, ["bids_dir has no effect", "on a target"]),
        ({"methods": ["srgan3d"]}, ["methods has no effect"]),
        ({"qcc": {}}, ["qcc is not a known key", "qc"]),
        ({"pairing": "unpaired"}, ["pairing is unpaired", "no output has a target"]),
        ({"statistics": {"primary": {"baseline": "denoise"}}}, ["statistics.primary.baseline", "denoise"]),
        ({"source": {"bids_dir": None}}, ["source.bids_dir is not set"]),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_one_line(given, trained, refused, changes, words):
    with refused("config", *words):
        kinds.of(given(**{"model": trained(seen=SEEN), **changes}))


def test_the_guide_lists_what_may_be_set():
    guide = (config.ROOT / "docs" / "guide.md").read_text().split("## Measure a model on another dataset")[1]
    section = guide.split("\n## ")[0]
    missing = [key for key in OWN if f"`{key}`" not in section and f"`{key.split('.')[-1]}`" not in section]
    assert missing == []


# Who must not be tested


def test_a_test_participant_whom_the_model_has_seen_stops_the_run(given, trained, refused):
    """By label and name of dataset; whoever trained is named, and can be excluded."""
    said = SEEN | {"participants": {"new": ["sub-01", "sub-03"], "old": ["sub-02"]}}
    model = trained(seen=said)
    with refused("model has seen sub-01, sub-03 in training", "sub-01 of dataset new", "participants.exclude"):
        kinds.of(given(model=model))
    study = kinds.of(given(model=model, participants={"exclude": ["sub-01", "sub-03"]}))
    assert list(study.tested) == ["sub-02"]


@pytest.mark.parametrize("role", ["source", "target"])
def test_an_image_that_the_model_has_seen_stops_the_run_whatever_its_label(given, trained, refused, dataset, role):
    session, suffix = {"source": (1, "T2w"), "target": (2, "T1w")}[role]
    path = f"sub-0{{n}}/ses-{session}/anat/sub-0{{n}}_ses-{session}_{suffix}.nii.gz"
    model = trained(seen=SEEN | {"images": [identity.digest(dataset / path.format(n=1))]})
    # The same bytes under a label that the model does not know.
    shutil.copy(dataset / path.format(n=1), dataset / path.format(n=2))
    with refused("model has seen sub-02 in training", "the voxels of sub-02"):
        kinds.of(given(model=model, participants={"exclude": ["sub-01"]}))


def test_an_image_that_planning_could_not_read_is_compared_before_anything_is_reported(
    given, trained, refused, monkeypatch, tmp_path
):
    """As what is converted from DICOM."""
    settings = given(model=trained(seen=SEEN | {"images": ["0123456789abcdef"]}))
    late = [replace(scan, voxels="0123456789abcdef") for scan in kinds.of(settings).index.used[:1]]
    monkeypatch.setattr(Validation, "described", lambda self: replace(self.index, used=late))
    with refused("model has seen sub-01", "the voxels of"):
        screen(str(tmp_path / "applied.tsv"), settings)


def test_an_older_card_is_named_in_the_log_and_on_the_page(given, trained, caplog):
    kinds.of(given(model=trained()))
    assert "does not say all that it has seen" in caplog.text
    applied = pd.DataFrame({"warnings": [None, "voxels"]})
    card = {"method": "unet3d", "participants": {"train": ["a"]}, "upfield": "0.1.0"}
    (unknown, apart) = validation.told(Narrative(), applied, [card]).notices
    assert "may know these participants" in unknown and apart.startswith("1 of 2 sources are unlike")
    found = validation.told(Narrative(), applied, [card | {"seen": SEEN}])
    assert len(found.notices) == 1 and "none of their scans is among those" in found.trained[0]


# What it writes


def test_the_table_of_sources_says_what_sets_them_apart_and_who_is_left_out(given, trained):
    study = kinds.of(given(model=trained(seen=SEEN)))
    within = {"RobustRange": [0, 250], "IntensityProfile": [0.15, 0.35, 0.55, 0.75, 0.85], "BrainVolume": 110,
              "NativeVoxelSize": [2, 2, 4], "IntensityOffset": 0, "IntensityScale": 1}  # fmt: skip
    for participant in study.tested:
        for path in study.judged_by(participant):
            write_json(path, within)
    write_json(sidecar(study.prepared("sub-02", "unet3d")[0]), within | {"NativeVoxelSize": [1, 1, 1]})
    write_json(sidecar(study.preprocessed(study.pairs["sub-03"].target)), {"Excluded": "no brain found"})
    table = study.screened().set_index("participant_id")
    assert table["status"].to_dict() == {"sub-01": "applied", "sub-02": "applied", "sub-03": "excluded"}
    assert table["warnings"]["sub-01"] is None and table["warnings"]["sub-02"].startswith("voxels of 1 x 1 x 1 mm")
    assert table["reason"]["sub-03"] == "no brain found" and table["output"]["sub-03"] is None
    assert table["output"]["sub-01"] == "sub-01/ses-1/anat/sub-01_ses-1_desc-unet3d_T1w.nii.gz"


def test_what_it_writes_is_known_and_nothing_of_it_is_left_over(given, trained):
    study = kinds.of(given(model=trained(seen=SEEN)))
    expected = outputs.written(study)
    names = [f"sub-01/ses-1/anat/sub-01_ses-1_{name}.nii.gz" for name in
             ("space-target_desc-spline_T1w", "desc-unet3d_T1w", "space-orig_res-1x1x1_desc-alone_T2w")]  # fmt: skip
    assert {*names, "models/targets_fold-external.json", "applied.tsv", "metrics/as_applied.tsv"} <= expected
    assert not [path for path in expected if path.startswith("patches/") or path.endswith("model.json")]
    assert not outputs.left_over(study, outputs.find(study))


def test_the_page_says_nothing_of_training_or_splits(tmp_path):
    images = make_study(tmp_path)
    write_tsv(tmp_path / "benchmarks/predict/sub-01.tsv", pd.DataFrame({"s": [12.0], "max_rss": [800.0]}))
    card = {"method": "unet3d", "preset": "corrected", "fold": 0, "seed": 42, "pairing": "paired", "scale": [1, 1, 1],
            "preprocess": {"spacing": 1.0}, "participants": {"train": ["sub-01", "sub-02"]}, "upfield": "0.1.0",
            "seen": SEEN}  # fmt: skip
    applied = {"participant_id": "sub-01", "session": None, "scan": "sub-01_T1w", "path": "a/b", "status": "applied",
               "warnings": "another contrast", "reason": None, "output": "out.nii.gz"}  # fmt: skip
    settings = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    build_validation(
        tmp_path,
        tmp_path / "report/index.html",
        config=settings | {"methods": ["unet3d"], "study": "external"},
        provenance=PROVENANCE,
        narrative=narrative.of({"pairing": "paired"}),
        applied=pd.DataFrame([applied]),
        images=images,
        cards=[card],
        training_range=training_range.describe([described()], [described()]),
    )
    page = Page((tmp_path / "report/index.html").read_text(encoding="utf-8"))
    sections = [a["id"] for a in page.all("section")]
    assert {"other-data", "model", "result", "leaderboard", "images", "methods"} <= set(sections)
    assert not {"split", "training"} & set(sections)
    assert "another contrast" in page.text and "1 of 1 sources are unlike" in page.text
    text = (tmp_path / "report/index.html").read_text().split('id="methods-text"')[1].split("</blockquote>")[0]
    assert "trained before on 2 participants of other data with Upfield 0.1.0" in text
    assert not [words for words in ("we trained", "epoch", "split", "fold") if words in text]
    assert "had been fitted" not in text and "Left out, since what they learned" in page.text
    assert (
        methods.learned(["spline", "denoise"])
        == "denoise had been fitted to the participants that the model was trained on"
    )
    shown = validation.effective(settings)
    assert shown["train"] == {"device": "auto", "precision": "auto"} and "splits" not in shown
