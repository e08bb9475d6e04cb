"""What methods require of a study: the files say what the code is, and what cannot work is named when planning."""

from copy import deepcopy

import pytest
import torch
import yaml
from upfield import methods
from upfield.catalogue import methods as catalogue
from upfield.errors import UpfieldError
from upfield.files import merged
from upfield.study import config, requirements

CHANNELS = [{"suffix": "T1w"}, {"suffix": "T2w"}]
METHOD = {
    "module": "upfield.methods.toy",
    "preset": "plain",
    "settings": {"base": 32},
    "presets": {"plain": None},
}


@pytest.fixture
def methods_folder(tmp_path, monkeypatch):
    """config/methods/ with two simple methods instead of the real ones."""
    for name in ("unet3d", "unet3d_patchgan"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(METHOD))
    monkeypatch.setattr(catalogue, "METHOD_FILES", tmp_path)
    return tmp_path


@pytest.fixture
def study(methods_folder):
    """The default configuration, of one of the simple methods."""
    default = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    return default | {"methods": ["unet3d_patchgan"]}


def changed(base, /, **over):
    return merged(deepcopy(base), over)


@pytest.mark.parametrize("name", sorted(path.stem for path in catalogue.METHOD_FILES.glob("*.yaml")))
def test_files_say_what_their_methods_are(name):
    """The workflow plans from the files alone; the code must agree."""
    # What is planned is not known from the files.
    settings = {"method_overrides": {name: {"preset": "default"}} if catalogue.facts(name).planned else {}}
    with torch.device(_device(name)):
        method = methods.build(config.method_settings(settings, name))
    wanted = requirements.of(settings, name)
    known, values = catalogue.facts(name), config.method_settings(settings, name)
    assert wanted.scale == method.scale
    assert (known.dims, known.divisor(values)) == (method.dims, method.divisor)
    assert known.smallest_patch(values) >= method.smallest_patch
    assert wanted.normalize is None, "outputs are differences from the input, of any size"
    if method.value_range is not None:
        assert requirements.of({"method_overrides": {name: {"preset": "faithful"}}}, name).normalize == "percentile"
    assert wanted.multichannel == _takes(settings, name, 2)


def _device(name):
    """Where a method is built without weights; SwinUNETR reads numbers from a tensor."""
    return "cpu" if name == "swin_unetr" else "meta"


def _takes(settings, name, contrasts):
    try:
        with torch.device(_device(name)):
            return methods.build(config.method_settings(settings, name), contrasts).in_channels == contrasts
    except UpfieldError:
        return False


def test_scale_follows_the_settings(study, methods_folder):
    path = methods_folder / "unet3d.yaml"
    path.write_text(yaml.safe_dump({**METHOD, "scale": ["base", 2, 1]}))
    assert requirements.of(study, "unet3d").scale == (32, 2, 1)
    over = changed(study, method_overrides={"unet3d": {"base": 4}})
    assert requirements.of(over, "unet3d").scale == (4, 2, 1)
    assert requirements.of(study, "spline").scale == (1, 1, 1)


@pytest.mark.parametrize(
    ("document", "over", "words"),
    [
        ({"scale": ["bas", 1, 1]}, {}, ["unet3d_patchgan enlarges by (None, 1, 1)", "whole numbers"]),
        ({"pairings": ["unpaired"]}, {}, ["pairing is paired", "unet3d_patchgan", "unpaired"]),
        (
            {"normalize": "percentile"},
            {"preprocess": {"normalize": {"method": "zscore"}}},
            ["preprocess.normalize.method is zscore", "unet3d_patchgan needs percentile"],
        ),
        (
            {"scale": [4, 4, 1]},
            {"pairing": "simulated", "simulate": {"kind": "inplane", "factor": 2}},
            ["simulate.factor is 2", "inplane reduces by 2 x 2 x 1", "enlarges by 4 x 4 x 1"],
        ),
        (
            {"scale": [2, 2, 1]},
            {"pairing": "simulated", "simulate": {"kind": "kspace", "factor": 2}},
            ["simulate.factor", "kspace reduces by 2 x 2 x 2", "enlarges by 2 x 2 x 1"],
        ),
        ({}, {"simulate": {"kind": "gaussian", "factor": 1.5}}, ["simulate.factor is 1.5", "whole number"]),
        ({}, {"predict": {"uncertainty": 5}}, ["predict.uncertainty is 5", "unet3d_patchgan.dropout", "train.seeds"]),
        ({"settings": {"dropout": 0.1}}, {"predict": {"uncertainty": 1}}, ["predict.uncertainty is 1", "2 samples"]),
        ({}, {"train": {"init_from": {"unet3d": "/nowhere"}}}, ["train.init_from.unet3d", "/nowhere", "trained model"]),
        ({}, {"train": {"init_from": {"cyclegan": "/x"}}}, ["train.init_from names 'cyclegan'", "not trained"]),
        ({}, {"train": {"layer_lr": {"unet": {"x": 1.0}}}}, ["train.layer_lr names 'unet'", "unet3d"]),
        ({}, {"source": {"channels": CHANNELS}}, ["source.channels names 2 contrasts", "unet3d_patchgan takes one"]),
    ],
)
def test_contradictions_are_named_in_one_line(study, methods_folder, refused, document, over, words):
    (methods_folder / "unet3d_patchgan.yaml").write_text(yaml.safe_dump({**METHOD, **document}))
    (methods_folder / "unet3d.yaml").write_text(yaml.safe_dump({**METHOD, "multichannel": True}))
    with refused("config", *words):
        requirements.check(changed(study, **over))


def test_members_of_a_prediction(study, methods_folder):
    path = methods_folder / "unet3d_patchgan.yaml"
    path.write_text(yaml.safe_dump(METHOD | {"settings": {"dropout": 0.1}}))
    for uncertainty, seeds, expected in ((0, [1], 1), (5, [1], 5), (5, [1, 2], 10), (0, [1, 2], 2)):
        over = changed(study, predict={"uncertainty": uncertainty}, train={"seeds": seeds})
        requirements.check(over)
        assert requirements.members(over, "unet3d_patchgan") == expected
        # Without dropout there is one output for each seed, and of an interpolation there is one.
        assert requirements.members(over, "unet3d") == len(seeds)
        assert requirements.members(over, "spline") == requirements.members(over, "histogram_match") == 1


def test_a_sampler_has_samples_without_dropout(study, methods_folder):
    path = methods_folder / "unet3d_patchgan.yaml"
    path.write_text(yaml.safe_dump(METHOD | {"sampler": True}))
    for uncertainty, seeds, drawn, expected in ((0, [1], 0, 1), (1, [1], 1, 2), (5, [1], 5, 6), (5, [1, 2], 5, 12)):
        over = changed(study, predict={"uncertainty": uncertainty}, train={"seeds": seeds})
        requirements.check(over)
        assert requirements.samples(over, "unet3d_patchgan") == drawn
        assert requirements.members(over, "unet3d_patchgan") == expected


def test_scales_that_fit_are_accepted(study, methods_folder):
    (methods_folder / "unet3d_patchgan.yaml").write_text(yaml.safe_dump({**METHOD, "scale": [4, 4, 1]}))
    for over in (
        {"simulate": {"kind": "inplane", "factor": 4}, "pairing": "simulated"},
        {"simulate": {"kind": "lowfield", "factor": 1.5}, "pairing": "simulated"},
        {"simulate": {"kind": "inplane", "factor": 2}, "pairing": "paired"},
    ):
        requirements.check(changed(study, **over))


def test_contrasts_go_to_methods_that_take_several(study, methods_folder):
    for name in ("unet3d", "unet3d_patchgan"):
        (methods_folder / f"{name}.yaml").write_text(yaml.safe_dump({**METHOD, "multichannel": True}))
    requirements.check(changed(study, source={"channels": CHANNELS}))
    (methods_folder / "unet3d.yaml").write_text(yaml.safe_dump(METHOD))
    requirements.check(changed(study, source={"channels": CHANNELS[:1]}))
