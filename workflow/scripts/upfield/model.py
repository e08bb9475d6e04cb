"""A trained model on disk: `model.safetensors` with the weights, `model.json` with everything else about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from upfield import methods
from upfield.errors import UpfieldError
from upfield.files import atomic, read_json, write_json
from upfield.methods import Method


def save(folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write weights, then the card: a folder with a card is complete."""
    with atomic(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
    write_json(folder / "model.json", card)


def load(folder: str | Path) -> tuple[Method, dict[str, Any]]:
    """A method with its trained weights, in evaluation mode on the CPU, and its card.

    Raises UpfieldError if the weights do not fit the settings in the card.
    """
    card = read_json(Path(folder) / "model.json")
    method = methods.build({"module": card["module"], **card["settings"]})
    try:
        method.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    except RuntimeError as error:
        raise UpfieldError(f"{folder}: the weights do not fit the card ({str(error).splitlines()[0]})") from error
    return method.eval(), card
