"""Models of others: nothing in weights, cards or settings is run, and damaged weights are told in one line."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
from upfield.catalogue import weights
from upfield.catalogue.methods import facts
from upfield.errors import UpfieldError
from upfield.files import merged, read_json, read_yaml, write_json
from upfield.methods import model
from upfield.predict import models
from upfield.study.application import read_card
from upfield.training import checkpoint

MARK = "was-run"


class Payload:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return Path.touch, (Path(MARK),)


CODE = f"import pathlib\npathlib.Path({MARK!r}).touch()\n"
TAG = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{MARK}]]"


def card_with(folder, **changes):
    path = Path(folder) / "model.json"
    path.write_text(json.dumps(merged(read_json(path), changes)))
    return folder


def pickled(folder):
    Path(f"{folder}/model.safetensors").write_bytes(pickle.dumps(Payload()))
    read_card(folder)


def pickled_in_the_format_of_torch(folder):
    with zipfile.ZipFile(f"{folder}/model.safetensors", "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Payload()))
    models.load([f"{folder}/model.safetensors"])


def pickled_weights_of_a_loss(folder):
    Path("vgg16.pth").write_bytes(pickle.dumps(Payload()))
    weights.vgg("method_overrides.unet3d.features", "vgg16.pth")


def pickled_checkpoint(folder):
    Path("checkpoint.safetensors").write_bytes(pickle.dumps(Payload()))
    checkpoint.load("checkpoint.safetensors")


def tag_in_a_config(folder):
    Path("study.yaml").write_text(f"study: {TAG}\n")
    read_yaml("study.yaml")


def tag_in_the_file_of_a_method(folder):
    Path("config/methods").mkdir(parents=True)
    Path("config/methods/evil.yaml").write_text(f"module: {TAG}\n")
    facts("evil")


def file_as_the_module_of_a_card(folder):
    Path("evil.py").write_text(CODE)
    read_card(card_with(folder, module=str(Path("evil.py").resolve())))


def file_as_the_module_in_a_study(folder):
    Path("evil.py").write_text(CODE)
    models.load([f"{card_with(folder, module='evil.py')}/model.safetensors"])


def module_beside_the_study(folder):
    Path("evil.py").write_text(CODE)
    models.load([f"{card_with(folder, module='evil')}/model.safetensors"])


def expression_as_a_setting(folder):
    read_card(card_with(folder, settings={"base": f"__import__('pathlib').Path({MARK!r}).touch()"}))


def program_as_a_brain_tool(folder):
    read_card(card_with(folder, preprocess={"brain": {"method": f"/usr/bin/touch {MARK}"}}))


ATTEMPTS = (
    pickled, pickled_in_the_format_of_torch, pickled_weights_of_a_loss, pickled_checkpoint, tag_in_a_config,
    tag_in_the_file_of_a_method, file_as_the_module_of_a_card, file_as_the_module_in_a_study, module_beside_the_study,
    expression_as_a_setting, program_as_a_brain_tool,
)  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=[attempt.__name__ for attempt in ATTEMPTS])
def test_nothing_of_others_is_run(trained, tmp_path, monkeypatch, attempt):
    folder = trained()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UpfieldError) as caught:
        attempt(folder)
    assert str(caught.value) and "\n" not in str(caught.value)
    assert not Path(MARK).exists()


# -- weights and their card ------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:20])


def emptied(path):
    path.write_bytes(b"")


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def of_another_model(path):
    path.write_bytes(path.with_name("other.safetensors").read_bytes())


DAMAGES = (cut, cut_in_the_header, emptied, one_bit, of_another_model)


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.__name__ for damage in DAMAGES])
def test_weights_that_are_not_those_of_the_card_are_refused(trained, refused, tmp_path, damage):
    folder = Path(trained())
    path = folder / "model.safetensors"
    other = {name: value + 1 for name, value in model.read_weights(path).items() if value.is_floating_point()}
    model.save_weights(folder / "other.safetensors", {**model.read_weights(path), **other})
    damage(path)
    for load in (model.load, lambda folder: models.load([f"{folder}/model.safetensors"])):
        with refused("model.safetensors", "card"):
            load(folder)
    network = model.methods.build({"module": read_json(folder / "model.json")["module"], **_settings(folder)})
    with refused("model.safetensors", "card"):
        model.transfer(network, folder)
    with refused("model.safetensors", "card"):
        weights.read_arrays(path)


def _settings(folder):
    return read_json(folder / "model.json")["settings"]


@pytest.mark.parametrize("damage", [cut, cut_in_the_header, emptied])
def test_damaged_weights_without_a_digest_are_one_line_too(trained, refused, damage):
    folder = Path(trained())
    without_digest(folder)
    damage(folder / "model.safetensors")
    with refused("model.safetensors cannot be read"):
        model.load(folder)
    with refused("model.safetensors cannot be read"):
        weights.read_arrays(folder / "model.safetensors")


def without_digest(folder):
    card = read_json(folder / "model.json")
    write_json(folder / "model.json", {key: value for key, value in card.items() if key != weights.DIGEST})


def test_a_model_of_before_the_digest_is_loaded(trained):
    folder = Path(trained())
    now = models.load([f"{folder}/model.safetensors"])[0][0].state_dict()
    without_digest(folder)
    assert weights.DIGEST not in read_card(str(folder))
    before = models.load([f"{folder}/model.safetensors"])[0][0].state_dict()
    assert all(bool((now[name] == before[name]).all()) for name in now)


def test_a_damaged_card_is_one_line(trained, refused):
    folder = Path(trained())
    (folder / "model.json").write_text("{")
    with refused("model.json", "no JSON"):
        model.load(folder)
