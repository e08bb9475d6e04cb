"""A trained model on disk: `model.safetensors` with the weights, `model.json` with everything else about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from upfield import methods
from upfield.catalogue.weights import DIGEST, require_own
from upfield.errors import UpfieldError
from upfield.files import atomic, digest, write_json
from upfield.foreign import read_object
from upfield.methods import Method, parameter_counts


def save(folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write weights, then the card: a folder with a card is complete. Raises UpfieldError for a weight not finite.

    The card gets the digest of the weights.
    """
    path = folder / "model.safetensors"
    save_weights(path, weights)
    write_json(folder / "model.json", {**card, DIGEST: digest(path)})


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights, on the disk before they have their name. Raises UpfieldError if one is not finite."""
    _require_finite(path, weights)
    with atomic(path, durable=True) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a file. Raises UpfieldError, one line, if it is absent, damaged, or holds one that is not finite.

    So it does if they are not those of the model card beside it.
    """
    try:
        require_own(path)
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UpfieldError(f"{path} cannot be read ({reason}); copy or train the model again") from None
    _require_finite(path, weights)
    return weights


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None if there is none."""
    floats = ((name, value) for name, value in weights.items() if value.is_floating_point())
    return next((name for name, value in floats if not bool(torch.isfinite(value).all())), None)


def _require_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    name = not_finite(weights)
    if name is not None:
        raise UpfieldError(f"{path}: {name} holds values that are not finite; the training diverged, train it again")


def load(folder: str | Path) -> tuple[Method, dict[str, Any]]:
    """A method with its trained weights, in evaluation mode on the CPU, and its card.

    Raises UpfieldError if the weights do not fit the settings in the card, or one of the two is damaged.
    """
    card = read_object(Path(folder) / "model.json")
    method = methods.build({"module": card["module"], **card["settings"]}, card.get("in_channels", 1))
    try:
        method.load_state_dict(read_weights(Path(folder) / "model.safetensors"))
    except RuntimeError as error:
        raise UpfieldError(f"{folder}: the weights do not fit the card ({str(error).splitlines()[0]})") from error
    return method.eval(), card


def transfer(method: Method, folder: Path) -> dict[str, str]:
    """Give the networks of `method` the weights that the model in `folder` has for networks of the same names.

    What only one of the two has (a discriminator) is left as it is. Returns where the weights came from, and their
    digest. Raises UpfieldError if no network has the same name, or one differs in a name or shape of a tensor.
    """
    path = folder / "model.safetensors"
    given, own = read_weights(path), method.state_dict()
    networks = set(parameter_counts(method)) & {name.split(".")[0] for name in given}
    if not networks:
        raise UpfieldError(f"{path} holds {', '.join(_networks(given))}; expected any of {', '.join(_networks(own))}")
    for name in dict.fromkeys([*own, *given]):
        if name.split(".")[0] in networks:
            found, wanted = (tuple(side[name].shape) if name in side else "absent" for side in (given, own))
            if found != wanted:
                raise UpfieldError(f"{path} does not fit: {name} is {found} there and {wanted} in the method to train")
    kept = {name: value for name, value in given.items() if name.split(".")[0] in networks}
    method.load_state_dict(kept, strict=False)
    return {"model": str(folder), "sha": digest(path)}


def _networks(state: Mapping[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(name.split(".")[0] for name in state))
