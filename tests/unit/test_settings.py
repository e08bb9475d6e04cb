"""Settings of methods: what a plan accepts builds and trains, and what it refuses is named in one line."""

import itertools
import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from upfield import methods
from upfield.catalogue import methods as catalogue
from upfield.catalogue import settings as kinds
from upfield.catalogue.rules import suits
from upfield.errors import UpfieldError
from upfield.files import digest, merged
from upfield.methods import losses, schedules
from upfield.methods.augmentation import Augmentation
from upfield.study import config, requirements

NAMES = sorted(path.stem for path in catalogue.BUILT_IN.glob("*.yaml"))
SMALL = {
    "unet3d": {"base": 2, "levels": 3},
    "unet3d_patchgan": {"base": 2, "levels": 3, "discriminator_base": 2},
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 2, "spectral_norm": False},
    "srdcgan": {"width": 2},
    "srgan3d": {"filters": 4, "blocks": 1, "discriminator_base": 2, "discriminator_dense": 4},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 2},
    "upfield": {"preset": "default", "base": 2, "levels": 3},
    "rectified_flow": {"preset": "default", "base": 2, "levels": 3},
    "restore": {"base": 2, "blocks": 1},
    "dynunet": {"filters": [2, 4, 8, 16]},
    "mednext": {"init_filters": 2},
    "restormer": {"dim": 8},
    "swin_unetr": {"feature_size": 12},
}
CASES = [(name, key) for name in NAMES for key in catalogue.facts(name).settings]
# Of another type than any setting, whatever its rule.
STRANGE = ["many", True, None, 0.5, 3, [], {}, [1, 2, 3, 4], {"surely_unknown": 1}, float("nan")]


def overridden(name, **values):
    return {"method_overrides": {name: {**SMALL[name], **values}}}


def inside(rule, default):
    """Values at the limits of a rule, and all choices."""
    if "enum" in rule:
        return rule["enum"]
    values = [default]
    if rule["type"] in ("number", "integer"):
        step = 1 if rule["type"] == "integer" else 1e-3
        values += [rule[key] for key in ("minimum", "maximum") if key in rule]
        values += [rule["exclusiveMinimum"] + step] if "exclusiveMinimum" in rule else []
        values += [rule["exclusiveMaximum"] - step] if "exclusiveMaximum" in rule else []
    if rule["type"] == "array" and "minItems" in rule and "maxItems" in rule:
        values += [[value] * rule["minItems"] for value in inside(rule["items"], default[0])]
    if rule["type"] == "object":
        parts = {key: inside(part, default[key]) for key, part in rule["properties"].items() if key in default}
        values += [{**default, key: value} for key, found in parts.items() for value in found]
    if rule["type"] == "boolean":
        values += [True, False]
    return [value for value in values if suits(rule, value)]


def outside(rule, default=None):
    """Values that are no such setting: of another type, beyond a limit, of another length, with a wrong part.

    A mapping is laid over the default, which may have what it lacks.
    """
    values = [value for value in STRANGE if not suits(rule, value)]
    step = 1 if rule.get("type") == "integer" else 1e-3
    values += [rule["minimum"] - step] if "minimum" in rule else []
    values += [rule["maximum"] + step] if "maximum" in rule else []
    values += [rule[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in rule]
    if rule.get("type") == "array":
        values += [[value] * max(rule.get("minItems", 1), 1) for value in outside(rule["items"])]
    if rule.get("type") == "object":
        values += [{key: value} for key, part in rule["properties"].items() for value in outside(part)]
        values = [value for value in values if not isinstance(value, dict) or not suits(rule, merged(default, value))]
    return values


@pytest.mark.parametrize(("name", "key"), CASES)
def test_values_outside_are_refused_when_a_study_is_planned(name, key):
    setting = catalogue.facts(name).settings[key]
    wrong = outside(setting.rule, setting.default)
    assert len(wrong) >= 3
    for value in wrong:
        with pytest.raises(UpfieldError) as caught:
            config.check_method(overridden(name, **{key: value}), name)
        line = str(caught.value)
        assert line.startswith(f"config: method_overrides.{name}.{key}") and "\n" not in line, line
        assert re.search(r"expected|not a known key|missing", line), line


@pytest.mark.parametrize(("name", "key"), CASES)
def test_values_inside_build_the_method(name, key):
    setting = catalogue.facts(name).settings[key]
    for value in inside(setting.rule, setting.default):
        # Super-resolution has an affine change at factor 1 alone; a large width is not what is tested.
        single = {"factor": 1} if key == "augmentation" and "factor" in catalogue.facts(name).settings else {}
        study = overridden(name, **{**single, key: value})
        config.check_method(study, name)
        # SwinUNETR reads numbers from a tensor.
        with torch.device("cpu" if name == "swin_unetr" else "meta"):
            methods.build(config.method_settings(study, name))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("unet3d_patchgan", {"gan_loss": "wgan"}, ["gan_loss is 'wgan'", "expected one of lsgan, bce"]),
        ("unet3d", {"norm": "layer"}, ["norm is 'layer'", "batch, instance, group"]),
        ("unet3d", {"schedule": {"kind": "sine"}}, ["schedule.kind is 'sine'", "linear_to_zero"]),
        ("unet3d", {"schedule": {"kind": "exponential"}}, ["schedule.rate is missing"]),
        ("unet3d", {"schedule": {"warm": 3}}, ["schedule.warm is not a known key"]),
        ("unet3d", {"dropout": 2.0}, ["dropout is 2.0", "expected less than 1"]),
        ("unet3d", {"levels": 0}, ["levels is 0", "expected at least 1"]),
        ("unet3d", {"levels": 4.0}, ["levels is 4.0", "expected a whole number"]),
        ("unet3d", {"lr": -1e-3}, ["lr is -0.001", "expected at least 0"]),
        ("unet3d", {"betas": [0.5]}, ["betas is [0.5]", "expected at least 2 values"]),
        ("unet3d", {"augmentation": {"flips": 0.5}}, ["augmentation.flips is not a known key", "did you mean flip?"]),
        ("lohiresgan", {"content": {"l2": 1.0}}, ["content.l2 is not a known key"]),
        ("lohiresgan", {"content": {"l1": 0.0}, "lambda_adv": 0.0}, ["content is", "expected a weight above 0"]),
        ("srgan3d", {"variant": "bilinear"}, ["variant is 'bilinear'", "subpixel, subpixel_nn, nn"]),
        ("srgan3d", {"reduction": "median"}, ["reduction is 'median'", "mean, sum"]),
        ("srgan3d", {"augmentation": {"affine": 0.5}}, ["augmentation.affine is 0.5", "expected 0 since factor"]),
        ("srdcgan", {"factor": 3}, ["factor is 3", "expected one of 1, 2, 4"]),
        ("srdcgan", {"discriminator_grid": [4]}, ["discriminator_grid is [4]", "2 values"]),
    ],
)
def test_mistakes_are_named_with_what_is_expected(refused, name, values, words):
    with refused(f"config: method_overrides.{name}.", *words):
        config.check_method({"method_overrides": {name: values}}, name)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_described_and_every_preset_keeps_the_rules(name):
    known = catalogue.facts(name)
    for setting in known.settings.values():
        assert setting.rule is not None and len(setting.description) > 6, setting.name
    for preset in known.document["presets"]:
        known.check({"preset": preset, **known.resolved(preset, {})}, name)


def test_kinds_are_those_of_the_code():
    """What the catalogue says there is, is what the networks take."""
    assert set(kinds.AUGMENTATIONS) == set(Augmentation.__dataclass_fields__)
    for kind, parameter in kinds.SCHEDULES.items():
        assert schedules.make(kind, **({} if parameter is None else {parameter: 0.5}))(0.0, 2.0) > 0
    with pytest.raises(ValueError, match="sine"):
        schedules.make("sine")
    for kind in kinds.KINDS["gan_loss"]["enum"]:
        losses.adversarial(torch.zeros(1), True, kind)
    no_features = {term: 1.0 for term in kinds.TERMS if term not in requirements.OF_FEATURES}
    losses.Content(no_features)
    with pytest.raises(ValueError, match=", ".join(kinds.TERMS)):
        losses.Content({"surely_unknown": 1.0})


# -- patches -------------------------------------------------------------------------------------------------------

SIZES = {3: (8, 16, 24, 32), 2: (16, 32, 64)}
VARIANTS = {
    "unet3d": [{"norm": norm, "batch_size": batch} for norm in ("batch", "instance", "group") for batch in (1, 2)]
    + [{"norm": "group", "batch_size": 1, "base": 1}, {"levels": 4, "norm": "instance"}, {"levels": 1}],
    "unet3d_patchgan": [{}, {"batch_size": 1}, {"norm": "instance"}, {"levels": 4, "norm": "instance"}],
    "srgan3d": [
        {"factor": factor, "batch_size": batch, **more}
        for factor, batch in itertools.product((1, 2, 4), (1, 2))
        for more in ({}, {"content": {"ssim": 1.0}})
    ],
    "srdcgan": [{"factor": factor, "batch_size": batch} for factor in (1, 2, 4) for batch in (1, 2)],
    "upfield": [{"levels": levels, "batch_size": batch} for levels in (1, 3) for batch in (1, 2)],
    "lohiresgan": [{"batch_size": 1}, {"batch_size": 2}, {"content": {"ssim": 1.0}, "batch_size": 2}],
    "cyclegan": [
        {"levels": levels, "norm": norm, "batch_size": batch}
        for levels, norm, batch in itertools.product((0, 2, 5), ("batch", "instance"), (1, 2))
    ],
}
PATCHES = [(name, values) for name, found in VARIANTS.items() for values in found]


def trains(name, values, size):
    """Whether the networks take a step on patches of this edge."""
    method = methods.build(config.method_settings(overridden(name, **values), name)).train()
    edges = [size] * method.dims
    small = [edge // factor for edge, factor in zip(edges, method.scale, strict=False)]
    batch = {"source": torch.rand(method.batch_size, 1, *small), "target": torch.rand(method.batch_size, 1, *edges)}
    batch["mask"] = torch.ones_like(batch["target"])
    try:
        method.training_step(batch, lambda **losses: None)
    except (RuntimeError, ValueError):
        return False
    return True


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "values"), PATCHES, ids=[f"{name}-{json.dumps(values)}" for name, values in PATCHES])
def test_smallest_patch_is_that_of_the_networks(name, values):
    """Of the sizes that a patch can have, which are multiples of what the networks take."""
    settings = config.method_settings(overridden(name, **values), name)
    config.check_method(overridden(name, **values), name)
    known = catalogue.facts(name)
    unit = known.divisor(settings) * max(known.scale(settings))
    sizes = [size for size in SIZES[known.dims] if size % unit == 0]
    accepted = [size for size in sizes if size >= known.smallest_patch(settings)]
    assert accepted == [size for size in sizes if trains(name, values, size)]


@pytest.mark.parametrize(
    ("patches", "over", "words"),
    [
        ({"size": 16}, {"unet3d_patchgan": {}}, ["patches.size is 16", "at least 24", "unet3d_patchgan"]),
        ({"size": 16}, {"unet3d": {"norm": "instance"}}, ["patches.size is 16", "at least 17", "unet3d needs"]),
        ({"slice_size": 32}, {"cyclegan": {"levels": 5}}, ["patches.slice_size is 32", "at least 33", "cyclegan"]),
    ],
)
def test_patches_that_are_too_small_stop_the_plan(refused, patches, over, words):
    study = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    study = merged(deepcopy(study), {"patches": patches, "methods": list(over), "method_overrides": over})
    with refused("config", *words):
        requirements.check(study)


# -- what a finished study was trained with -----------------------------------------------------------------------

# Digests of repr(settings), keys in their order: a change of one trains every study of that method anew.
DIGESTS = yaml.safe_load((Path(__file__).parent / "settings.yaml").read_text())


@pytest.mark.parametrize("key", sorted(DIGESTS))
def test_settings_of_finished_studies_are_what_they_were(key):
    name, preset = key.split()
    found = config.method_settings({"method_overrides": {name: {"preset": preset}}}, name)
    assert digest(repr(found)) == DIGESTS[key], found


# -- methods from outside ------------------------------------------------------------------------------------------


def test_plain_settings_need_no_description(tmp_path, monkeypatch, refused):
    """Two files of a user: nothing but defaults, among them a mapping."""
    document = {
        "module": "mine.py",
        "preset": "plain",
        "settings": {"width": 8, "schedule": {"kind": "my own", "steps": 3}, "weights": None},
        "presets": {"plain": None, "wide": {"width": 16}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(catalogue, "METHOD_FILES", tmp_path)
    study = {"method_overrides": {"mine": {"preset": "wide", "schedule": {"steps": 4}, "weights": "a.safetensors"}}}
    config.check_method(study, "mine")
    assert config.method_settings(study, "mine") == {
        "module": "mine.py",
        "preset": "wide",
        "width": 16,
        "schedule": {"kind": "my own", "steps": 4},
        "weights": "a.safetensors",
    }
    with refused("method_overrides.mine.width is 'wide'", "expected a number such as 8"):
        config.check_method({"method_overrides": {"mine": {"width": "wide"}}}, "mine")
    with refused("method_overrides.mine.widht is not a known setting", "did you mean width?"):
        config.check_method({"method_overrides": {"mine": {"widht": 1}}}, "mine")
