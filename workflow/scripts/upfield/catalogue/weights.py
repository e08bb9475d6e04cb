"""Files of network weights that users give: looked at when a study is planned, without running anything in them."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.foreign import read_object

# Names of convolutions, as in torchvision's VGG, and of the linear layers of LPIPS, as in its authors' files.
CONVOLUTION = r"features\.(\d+)\.weight"
HEAD = "lin{}.model.1.weight"
Shapes = Mapping[str, Sequence[int]]
# The key of a model card under which the digest of the weights beside it stands.
DIGEST = "weights_sha"
# Of a card: whether outputs have the contrast of their input, whatever it is, on its scale of intensities.
KEEPS_CONTRAST = "keeps_contrast"


def require_own(path: str | Path) -> None:
    """Raise UpfieldError, one line, if a model's weights are not those that the card beside them is of.

    Cards of versions before the digest have none, and nothing is said of their weights.
    """
    path = Path(path)
    card = path.with_name("model.json")
    said = read_object(card).get(DIGEST) if card.is_file() else None
    if said is not None and said != digest(path):
        raise UpfieldError(
            f"{path} is not what the card beside it was written with (cut, changed, or of another model); copy both"
            " files of the model again"
        )


def keeps_contrast(card: Mapping[str, Any]) -> bool:
    """Whether a model undoes acquisitions alone; cards that do not say are of models that give what targets are."""
    return bool(card.get(KEEPS_CONTRAST))


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of a model's weights, for what needs no torch. Raises UpfieldError, one line, as `require_own` does.

    So it does for a file that is absent or damaged.
    """
    try:
        require_own(path)
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UpfieldError(f"{path} cannot be read ({reason}); copy or train the model again") from None


def shapes(key: str, path: str) -> dict[str, list[int]]:
    """Shape of every tensor of a safetensors file by its name; the tensors are not read.

    Raises UpfieldError, one line that names the configuration's `key`, for another kind of file.
    """
    if not path.endswith(".safetensors"):
        raise UpfieldError(
            f"{key} is {path}; expected .safetensors. Convert a file you trust:"
            " safetensors.torch.save_file(torch.load('vgg16.pth', weights_only=True), 'vgg16.safetensors')"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UpfieldError(f"{key} is {path}, which cannot be read as safetensors ({error})") from None


def convolutions(found: Shapes) -> list[int]:
    """Numbers of the convolutions of a VGG, as torchvision counts its layers; empty if it is none.

    A ReLU follows each, and a number left out between two of them is a max-pooling.
    """
    numbers = sorted(int(match[1]) for name in found if (match := re.fullmatch(CONVOLUTION, name)))
    plain = all(len(found[f"features.{n}.weight"]) == 4 and f"features.{n}.bias" in found for n in numbers)
    return numbers if plain and all(after - before > 1 for before, after in pairwise(numbers)) else []


def vgg(key: str, path: str) -> dict[str, list[int]]:
    """`shapes` of a file of VGG weights. Raises UpfieldError as `shapes` does, and for another network."""
    found = shapes(key, path)
    if not convolutions(found):
        raise UpfieldError(
            f"{key} is {path}; expected tensors features.0.weight, features.0.bias, ... as in a VGG without batch norm"
        )
    return found


def blocks(numbers: Sequence[int]) -> list[int]:
    """Number of the last ReLU before each max-pooling, and of the last one: the layers that LPIPS compares."""
    return [n + 1 for n in numbers if n + 2 not in numbers]


def poolings(numbers: Sequence[int], layer: int) -> int:
    """How many max-poolings of 2 come before the output of a layer (or are it): each halves an image."""
    return sum(number + 2 not in numbers and number + 2 <= layer for number in numbers)


def lpips(key: str, path: str) -> None:
    """Raise UpfieldError if a file is not that of a VGG with a linear layer for each of its blocks."""
    found = vgg(key, path)
    heads = [found[HEAD.format(level)] for level in range(len(found)) if HEAD.format(level) in found]
    given = [head[1] if len(head) == 4 and head == [1, head[1], 1, 1] else tuple(head) for head in heads]
    wanted = [found[f"features.{layer - 1}.weight"][0] for layer in blocks(convolutions(found))]
    if given != wanted:
        raise UpfieldError(
            f"{key} is {path}; expected linear layers {HEAD.format(0)}, ... of {wanted} channels, one for each block"
            f" of the VGG; found {given or 'none'}"
        )
