import re
from copy import deepcopy

import pytest
import yaml
from upfield.catalogue import methods as catalogue
from upfield.errors import UpfieldError
from upfield.evaluate.metrics import METRICS
from upfield.files import merged
from upfield.preprocess.brain.tool import tools
from upfield.quality import judging
from upfield.study import config as module

METHOD = {
    "module": "upfield.methods.toy",
    "preset": "plain",
    "settings": {"base": 32, "loss": {"l1": 1.0, "gan": 0.1}, "learning_rate": 0.001},
    "presets": {"plain": None, "faithful": {"base": 64, "loss": {"gan": 0.5}}},
}


@pytest.fixture
def methods_folder(tmp_path, monkeypatch):
    """config/methods/ with two simple methods instead of the real ones."""
    folder = tmp_path / "methods"
    folder.mkdir()
    for name in ("unet3d", "unet3d_patchgan", "upfield"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(METHOD))
    monkeypatch.setattr(catalogue, "METHOD_FILES", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def default_study(root):
    study = yaml.safe_load((module.ROOT / "config" / "config.yaml").read_text())
    for side in ("source", "target"):
        study[side]["bids_dir"] = str(root)
    return study


@pytest.fixture
def study(bids_tree, methods_folder):
    """The default configuration with both datasets set."""
    return default_study(bids_tree({}))


def changed(base, /, **over):
    return merged(deepcopy(base), over)


def test_default_study_is_valid(study):
    module.check(study)


def test_default_study_is_valid_with_the_methods_that_come_with_it(bids_tree):
    module.check(default_study(bids_tree({})))


@pytest.mark.parametrize("key", ["x" * 5000, "a\nb", "\u202e", "\ud800", "", 1, None, True, 1.5])
@pytest.mark.parametrize("place", [(), ("splits",), ("qc", "thresholds"), ("method_overrides", "unet3d")])
def test_unknown_keys_of_any_kind_are_one_short_line(study, key, place):
    over = {key: 1}
    for name in reversed(place):
        over = {name: over}
    with pytest.raises(UpfieldError, match=r"is not a known|a key") as caught:
        module.check(changed(study, **over) if place else {**study, **over})
    # The longest list of what is expected takes most of it.
    assert len(str(caught.value)) <= 400 and str(caught.value).isprintable()


@pytest.mark.parametrize("name", sorted(path.stem for path in catalogue.METHOD_FILES.glob("*.yaml")))
def test_methods_that_come_with_it_are_valid(name):
    document = yaml.safe_load((catalogue.METHOD_FILES / f"{name}.yaml").read_text())
    for preset in document["presets"]:
        settings = module.method_settings({"method_overrides": {name: {"preset": preset}}}, name)
        assert settings["preset"] == preset and settings["module"] == document["module"]
        assert set(document["presets"][preset] or {}) <= set(document["settings"])


def test_every_default_has_its_schema_entry(study):
    """No key of config.yaml is accepted by accident: each block refuses unknown keys."""
    for block in ("source", "simulate", "preprocess", "splits", "patches", "train", "predict", "evaluate", "report"):
        broken = changed(study, **{block: {"surely_unknown": 1}})
        with pytest.raises(module.UpfieldError, match=f"{block}.surely_unknown is not a known key"):
            module.check(broken)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"preproces": {}}, ["preproces is not a known key", "did you mean preprocess?"]),
        ({"splits": {"fraction": {}}}, ["splits.fraction is not", "did you mean fractions?"]),
        ({"preprocess": {"brain": {"methd": "none"}}}, ["preprocess.brain.methd", "did you mean method?"]),
        ({"train": {"epochs": "many"}}, ["train.epochs", "'many'", "expected a whole number"]),
        ({"train": {"epochs": 0}}, ["train.epochs", "0"]),
        ({"train": {"max_steps": 1.5}}, ["train.max_steps", "1.5", "a whole number or null"]),
        ({"train": {"seeds": []}}, ["train.seeds"]),
        ({"study": "a/b"}, ["study", "'a/b'"]),
        ({"pairing": "unpared"}, ["pairing", "'unpared'", "paired, simulated"]),
        (
            {"preprocess": {"brain": {"method": "robex"}}},
            ["preprocess.brain.method", "'robex'", "bet, deepbet, hdbet"],
        ),
        ({"preprocess": {"spacing": "nativ"}}, ["preprocess.spacing", "'nativ'", "number or one of native, auto"]),
        (
            {"preprocess": {"spacing": "1,5"}},
            ["preprocess.spacing", "'1,5'", "expected a number or one of native, auto"],
        ),
        ({"STUDY": "a"}, ["STUDY is not a known key", "did you mean study?"]),
        ({"Study": "a"}, ["Study is not a known key", "did you mean study?"]),
        ({"source": {"BIDS-Dir": "x"}}, ["source.BIDS-Dir", "did you mean bids_dir?"]),
        ({"source": {"\xa0bids_dir": "x"}}, ["bids_dir is not a known key", "did you mean bids_dir?"]),
        ({"methods": ["UNet3D"]}, ["'UNet3D'", "did you mean unet3d?"]),
        ({"study": "‘s’"}, ["study", "typographic quotes"]),
        ({"study": "a b"}, ["study", "'a b'", "letters, digits"]),
        ({"evaluate": {"metrics": ["psnr", "sim"]}}, ["evaluate.metrics.1", "'sim'", "ssim"]),
        ({"splits": {"fractions": {"train": 0.9}}}, ["splits.fractions", "1.3", "expected 1"]),
        ({"splits": {"fractions": {"train": 1.2}}}, ["splits.fractions.train", "1.2"]),
        ({"source": {"bids_dir": None}}, ["source.bids_dir", "not set"]),
        ({"target": {"bids_dir": "/nowhere"}}, ["target.bids_dir is /nowhere, which is not there"]),
        ({"methods": ["unet3d_patchgam"]}, ["'unet3d_patchgam'", "did you mean unet3d_patchgan?"]),
        ({"methods": "unet3d"}, ["methods", "'unet3d'", "expected a list"]),
        ({"method_overrides": {"unet3d": {"bas": 1}}}, ["method_overrides.unet3d.bas", "did you mean base?"]),
        ({"method_overrides": {"unet3d": 3}}, ["method_overrides.unet3d", "3", "expected keys with values"]),
        ({"method_overrides": {"unet3d": {"preset": "fast"}}}, ["unet3d.preset", "'fast'", "faithful, plain"]),
        ({"method_overrides": {"nobody": {}}}, ["'nobody'", "unet3d"]),
        ({"source": {"entities": ["session"] * 99}}, ["source.entities", "'session'", "expected keys with values"]),
        ({"phantom": {"subjects": 10}, "pairing": "simulated"}, ["phantom", "simulated"]),
        ({"source": {"channels": [{"suffix": "T2w"}]}, "pairing": "simulated"}, ["source.channels", "simulated"]),
        ({"source": {"channels": [{"suffix": "T2w"}]}, "phantom": {"subjects": 5}}, ["source.channels", "phantom"]),
        ({"source": {"channels": [{"suffix": "T2w"}] * 2}}, ["source.channels", "T2w", "more than once"]),
        ({"source": {"channels": ["T2w"]}}, ["source.channels.0", "'T2w'", "expected keys with values"]),
        ({"target": {"channels": []}}, ["target.channels is not a known key"]),
    ],
)
def test_mistakes_are_named_in_one_line(study, refused, over, words):
    with refused("config", *words):
        module.check(changed(study, **over))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (["study"], "study"),
        (["splits", "seed"], "splits.seed"),
        (["preprocess", "brain", "method"], "preprocess.brain.method"),
    ],
)
def test_missing_keys_are_named(study, refused, path, key):
    broken = deepcopy(study)
    block = broken
    for name in path[:-1]:
        block = block[name]
    del block[path[-1]]
    with refused("config", f"{key} is missing"):
        module.check(broken)


def test_wrong_value_at_the_top_is_found_before_a_deeper_one(study, refused):
    with refused("pairing"):
        module.check(changed(study, pairing="x", train={"epochs": 0}))


def test_simulated_study_needs_no_source(study):
    module.check(changed(study, pairing="simulated", source={"bids_dir": None}))


def test_phantom_folder_need_not_exist_yet(study):
    later = {"bids_dir": "/nowhere/yet"}
    module.check(changed(study, phantom={"subjects": 10}, source=later, target=later))


# Methods


def test_method_settings_lie_on_top_of_each_other(study):
    plain = module.method_settings(study, "unet3d")
    assert (plain["base"], plain["loss"]) == (32, {"l1": 1.0, "gan": 0.1})
    over = {"unet3d": {"preset": "faithful", "loss": {"l1": 2.0}}}
    faithful = module.method_settings(changed(study, method_overrides=over), "unet3d")
    assert faithful == {
        "module": "upfield.methods.toy",
        "preset": "faithful",
        "base": 64,
        "loss": {"l1": 2.0, "gan": 0.5},
        "learning_rate": 0.001,
    }


def test_users_own_method_beside_the_run(study, tmp_path):
    (tmp_path / "config" / "methods").mkdir(parents=True)
    own = {**METHOD, "module": "mine.py"}
    (tmp_path / "config" / "methods" / "mine.yaml").write_text(yaml.safe_dump(own))
    assert module.method_settings(study, "mine")["module"] == "mine.py"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"setings": {}}, ["setings", "did you mean settings?"]), ({"preset": 3}, ["preset", "3", "expected a text"])],
)
def test_bad_method_file(study, methods_folder, refused, change, words):
    (methods_folder / "unet3d.yaml").write_text(yaml.safe_dump({**METHOD, **change}))
    with refused("unet3d.yaml", *words):
        module.method_settings(study, "unet3d")


def test_baselines_come_first_and_once(study):
    listed = module.methods(changed(study, methods=["unet3d_patchgan", "unet3d", "identity"]))
    assert listed == ["identity", "spline", "histogram_match", "denoise", "unet3d", "unet3d_patchgan"]
    assert module.trained_methods(study) == ["histogram_match", "denoise", "unet3d", "upfield"]
    assert all(module.method_settings(study, name) == {} for name in module.MODEL_FREE)


def test_numbers_from_the_command_line_are_numbers():
    given = {
        "study": "7",
        "train": {
            "epochs": "2",
            "max_steps": "null",
            "seeds": ["1", "2"],
            "device": "cpu",
            "layer_lr": {"a": {"b": "1e-1"}},
        },
        "preprocess": {"spacing": "1.5", "n4": "false"},
        "source": {"bids_dir": "/data", "entities": {"session": "1"}},
        "phantom": "null",
        "evaluate": {"segmentation": "false", "regions": "true"},
        "method_overrides": {"unet3d": {"lr": "1e-3", "norm": "batch", "input_residual": "true"}},
    }
    found = module.typed(given)
    assert found["train"] == {
        "epochs": 2,
        "max_steps": None,
        "seeds": [1, 2],
        "device": "cpu",
        "layer_lr": {"a": {"b": 0.1}},
    }
    assert found["preprocess"] == {"spacing": 1.5, "n4": False}
    # Where a name may stand too, a truth value is one.
    assert found["evaluate"] == {"segmentation": False, "regions": True}
    # What may be text stays text.
    assert found["study"] == "7"
    assert found["source"] == given["source"]
    assert found["phantom"] is None
    assert found["method_overrides"]["unet3d"] == {"lr": 0.001, "norm": "batch", "input_residual": True}


# Choices and names


def choices_of(node):
    """Names of the lists that a schema leaves to the code."""
    if isinstance(node, dict):
        if isinstance(node.get("choices"), str):
            yield node["choices"]
        for part in node.values():
            yield from choices_of(part)
    elif isinstance(node, list):
        for part in node:
            yield from choices_of(part)


def test_what_the_code_knows_is_listed_in_the_code_alone():
    written = yaml.safe_load((module.SCHEMAS / "config.schema.yaml").read_text())
    assert {"metrics", "brain tools", "pairings", "normalizations", "quality metrics"} <= set(choices_of(written))
    schema = module.schema()
    assert list(choices_of(schema)) == []
    properties = schema["properties"]
    assert properties["evaluate"]["properties"]["metrics"]["items"]["enum"] == list(METRICS)
    assert properties["qc"]["properties"]["thresholds"]["propertyNames"]["enum"][:-2] == list(judging.METRICS)
    assert schema["$defs"]["brain"]["properties"]["method"]["enum"] == list(tools())


def test_comments_of_the_defaults_name_every_choice(study):
    """But for the lists that docs/guide.md and docs/metrics.md hold."""
    text = (module.ROOT / "config" / "config.yaml").read_text()
    properties = module.schema()["properties"]
    prep = properties["preprocess"]["properties"]
    for node in (properties["pairing"], properties["duplicates"], properties["simulate"]["properties"]["kind"],
                 prep["registration"]["properties"]["transform"], prep["normalize"]["properties"]["method"],
                 properties["train"]["properties"]["precision"]):  # fmt: skip
        assert [value for value in node["enum"] if not re.search(rf"\b{value}\b", text)] == []


@pytest.mark.parametrize("given", [{}, {"flip_gain": {"min": 0.02}}, {"mirror_gain": {"min": 0.02}}])
def test_limits_of_the_flip_test_keep_their_old_names(study, given, caplog):
    """The stages, and studies that are finished, know them as the metrics are called."""
    found = module.typed(changed(study, qc={"thresholds": given}))
    module.check(found)
    thresholds = found["qc"]["thresholds"]
    # What the rules of finished studies were given: names, values and their order.
    minimum = 0.02 if given else 0.01
    assert list(thresholds.items()) == [
        ("mirror_gain", {"min": minimum, "action": "exclude"}),
        ("slab_gain", {"min": 0.004, "action": "exclude"}),
        ("mask_dice", {"min": 0.7, "action": "warn"}),
        ("template_dice", {"min": 0.8, "action": "warn"}),
    ]
    old = [record.message for record in caplog.records]
    assert old == (
        ["config: qc.thresholds.mirror_gain is called qc.thresholds.flip_gain now"] if "mirror_gain" in given else []
    )


def test_an_old_name_takes_a_limit_back(study):
    found = module.typed(changed(study, qc={"thresholds": {"slab_gain": None}}), warn=False)
    module.check(found)
    assert found["qc"]["thresholds"]["slab_gain"] is None


def test_an_unknown_limit_is_named(study, refused):
    with refused("qc.thresholds.flip_gian is not a known key", "did you mean flip_gain?"):
        module.check(changed(study, qc={"thresholds": {"flip_gian": {"min": 1, "action": "warn"}}}))


@pytest.mark.parametrize(
    ("over", "found"),
    [
        ({}, ("psnr", "upfield", ["identity", "spline", "histogram_match"])),
        ({"primary": {"baseline": "unet3d"}}, ("psnr", "upfield", ["unet3d"])),
        ({"primary": {"metric": "dice_grey", "method": "unet3d"}, "margin": 0.02}, None),
    ],
)
def test_primary_comparison_is_named_or_known(study, over, found):
    claim = module.primary(changed(study, statistics=over))
    if found:
        assert (claim["metric"], claim["method"]) == found[:2] and set(claim["baselines"]) >= set(found[2])
    else:
        assert (claim["metric"], claim["method"], claim["margin"]) == ("dice_grey", "unet3d", 0.02)
    assert claim["method"] not in claim["baselines"]
    assert module.primary(changed(study, methods=[]))["method"] == "unet3d"
    assert module.primary(changed(study, evaluate={"metrics": ["snr", "mae", "ssim"]}))["metric"] == "mae"


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"primary": {"metric": "pnsr"}}, "statistics.primary.metric is 'pnsr'"),
        ({"primary": {"metric": "vif"}}, "statistics.primary.metric is 'vif'"),
        ({"primary": {"method": "unet"}}, "statistics.primary.method is 'unet'"),
        ({"primary": {"baseline": "upfield"}}, "statistics.primary compares upfield with"),
        ({"primary": {"method": "spline", "baseline": "identity"}}, "at least one of them a network"),
        ({"margin": 0}, "statistics.margin is 0"),
        ({"relevant": {"psnr": 0}}, "statistics.relevant.psnr is 0"),
        ({"relevant": {"pnsr": 1}}, "statistics.relevant names 'pnsr'"),
    ],
)
def test_mistakes_in_the_primary_comparison_are_one_line(study, over, words):
    with pytest.raises(UpfieldError) as caught:
        module.check(changed(study, statistics=over))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_comes_with_upfield_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "restore").mkdir(parents=True)
    assert module.folders_of("restore") == [str(tmp_path / "models" / "restore")]
    assert module.folders_of(["restore", "results/a/restore"])[1] == "results/a/restore"
    assert module.start_of({"train": {"init_from": {"unet3d": "restore"}}}, "unet3d").endswith("models/restore")
    assert module.start_of({"train": {"init_from": {}}}, "unet3d") is None
    assert module.folders_of("other") == ["other"]
    (tmp_path / "restore").mkdir()
    assert module.folders_of("restore") == ["restore"], "a folder here comes first"
