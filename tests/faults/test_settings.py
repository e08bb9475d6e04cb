"""Damaged configurations and model cards, through planning: understood, or refused in one line."""

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml
from upfield.files import merged, read_yaml
from upfield.methods import model
from upfield.study import config
from upfield.study.application import Application, resolve
from upfield.study.study import Study

from .conftest import outcome
from .mutate import altered, damaged

DEFAULTS = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
GIVEN = {
    "study": "fuzz",
    "output_dir": "results",
    "source": {
        "bids_dir": "bids",
        "entities": {"session": "low", "suffix": "T1w"},
        "metadata": {"MagneticFieldStrength": {"min": 2.5}},
    },
    "target": {"bids_dir": "bids", "entities": {"session": "high"}, "brain": {"method": "none"}},
    "participants": {"include": [], "exclude": ["sub-09"]},
    "preprocess": {"spacing": 2.0, "n4": False, "brain": {"method": "none"}, "normalize": {"method": "zscore"}},
    "qc": {"thresholds": {"mirror_gain": {"min": 0.02, "action": "warn"}}, "outlier": 3},
    "splits": {"scheme": "kfold", "folds": 3, "stratify": ["sex"]},
    "patches": {"size": 32, "per_volume": 4},
    "methods": ["unet3d_patchgan"],
    "method_overrides": {"unet3d_patchgan": {"preset": "faithful", "base": 8, "levels": 2}, "unet3d": {"lr": 0.001}},
    "train": {"epochs": 2, "seeds": [1, 2], "init_from": {}, "layer_lr": {}, "ema": 0.9},
    "evaluate": {"metrics": ["psnr", "ssim"], "seed": 1},
    "reader_study": {"pairs": [["truth", "unet3d"]]},
    "report": {"subjects": 1},
}  # fmt: skip


@pytest.fixture
def place(bids_tree, tmp_path, monkeypatch):
    """A working folder with a dataset of six, from which nothing that a damaged path names leads out."""
    names = [f"sub-{number:02d}" for number in (1, 2, 3, 4, 5, 9)]
    bids_tree(
        {
            "participants.tsv": "participant_id\tsex\n" + "".join(f"{name}\tF\n" for name in names),
            "T1w.json": {"MagneticFieldStrength": 3},
            **{f"{name}/ses-{s}/anat/{name}_ses-{s}_T1w.nii.gz": None for name in names for s in ("low", "high")},
        },
        "a/b/c/d/bids",
    )
    folder = tmp_path / "a/b/c/d"
    monkeypatch.chdir(folder)
    return folder


def harmless(folder: Path) -> str:
    return "something of the input was run" if list(folder.rglob("hacked")) else ""


def test_damaged_configs(tries, tally, place, caplog):
    caplog.set_level("CRITICAL")
    rows = tally("configurations")

    def plan(given: object) -> str:
        settings = merged(DEFAULTS, given) if isinstance(given, dict) else DEFAULTS
        settings = config.typed(settings, warn=False)
        (config.check_schema if given.get("model") else config.check)(settings)
        study = Study(settings)
        assert study.folds.names
        return harmless(place)

    def read(text: bytes) -> str:
        Path("study.yaml").write_bytes(text)
        found = read_yaml("study.yaml", labels=config.LABELS)
        return plan(found) if isinstance(found, dict) else ""

    assert outcome(lambda: plan(GIVEN)) == ""
    whole = yaml.safe_dump(GIVEN, sort_keys=False).encode()
    for try_ in tries(200):
        dice = random.Random(f"config {try_}")
        if dice.random() < 0.7:
            base = GIVEN if dice.random() < 0.6 else merged(DEFAULTS, GIVEN)
            given = altered(base, dice)
            rows.check(str(try_), outcome(lambda given=given: plan(given)))
        else:
            text = damaged(whole, dice)
            rows.check(str(try_), outcome(lambda text=text: read(text)))
    rows.done()


def test_damaged_models(tries, tally, place, trained, caplog):
    caplog.set_level("CRITICAL")
    rows = tally("model cards and weights")
    whole = Path(trained(scale=(1, 1, 1)))
    card = json.loads((whole / "model.json").read_text())
    card["domain"]["source"]["suffix"] = ["T1w"]
    given = {"bids_dir": "bids", "output_dir": "results", "model": "model"}

    def plan() -> str:
        application = Application(resolve(merged(DEFAULTS, given), given))
        # What the plan cannot know, whether the weights are those of the network, is a line as well.
        model.load("model")
        if Path(application.method).name != application.method or not application.paths("table"):
            return "a method with a path was planned"
        return harmless(place)

    for try_ in tries(100):
        dice = random.Random(f"card {try_}")
        shutil.rmtree("model", ignore_errors=True)
        shutil.copytree(whole, "model")
        way = dice.random()
        text = json.dumps(card if way < 0.2 else altered(card, dice)).encode()
        Path("model/model.json").write_bytes(damaged(text, dice) if way > 0.8 else text)
        if way < 0.2:
            weights = Path("model/model.safetensors")
            weights.write_bytes(damaged(weights.read_bytes()[: 1 << 20], dice))
        rows.check(str(try_), outcome(plan))
    rows.done()
