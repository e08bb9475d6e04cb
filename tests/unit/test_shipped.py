"""The model that comes with Upfield: small, whole, about nobody in particular, and better than what it is given."""

import re

import numpy as np
import pytest
import torch
from upfield.commands.enhance import enhance as command
from upfield.commands.single import Model
from upfield.files import read_json
from upfield.methods import model
from upfield.predict import models as trained
from upfield.study.config import SHIPPED, folder_of

from tests.unit.test_restore import noisy, textured

LARGEST = 10_000_000
NAMES = sorted(folder.name for folder in SHIPPED.iterdir())


def test_restore_is_what_enhance_takes():
    assert "restore" in NAMES
    assert next(option.default for option in command.params if option.name == "model") == "restore"


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_says_nothing_of_a_machine(name):
    folder = SHIPPED / name
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.json"}
    assert (folder / "model.safetensors").stat().st_size < LARGEST
    assert not re.findall(r'"(?:file://)?/[^"]*"', (folder / "model.json").read_text())
    assert folder_of(name) == str(folder) and Model.read(folder).card["keeps_contrast"]
    weights = model.read_weights(folder / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}


@pytest.mark.parametrize("level", [0.05, 0.15])
def test_noise_is_taken_from_an_image_whatever_its_contrast(level):
    (network,), (card,) = trained.load([str(SHIPPED / "restore" / "model.safetensors")])
    assert network.window == max(card["patch"])
    image = textured(size=40)[:1].clamp(0, 1)
    for shown in (image, 1 - image):
        given = noisy(shown, level)
        with torch.no_grad():
            made = network(given)
        before, after = (float((one - shown).square().mean()) for one in (given, made))
        assert 10 * np.log10(before / after) > 3, "dB"


def test_its_card_is_that_of_the_example():
    card = read_json(SHIPPED / "restore" / "model.json")
    example = (SHIPPED.parents[0] / "examples" / "restore.yaml").read_text()
    assert card["redrawn"]["boxes"] == int(re.search(r"boxes: (\d+)", example)[1])
    assert card["epochs"] == int(re.search(r"epochs: (\d+)", example)[1])
    assert len(card["redrawn"]["maps"]) == 10 and len(card["participants"]["train"]) == 10
