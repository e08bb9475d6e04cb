"""Trained models as predictions need them: loaded, shown their input, and named in sidecars.

What needs torch is imported where it is used: a baseline would otherwise take longer to start than to run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upfield.catalogue.methods import modules
from upfield.errors import UpfieldError
from upfield.files import digest, relative
from upfield.foreign import read_object
from upfield.image import nifti
from upfield.image.intensity import Curve
from upfield.image.nifti import Volume
from upfield.preprocess.derivatives import landmarks_of

if TYPE_CHECKING:
    from upfield.methods import Method

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Inference:
    """How networks are run, as the config names it: see `inference.ensemble`."""

    overlap: float
    tta: bool
    device: str
    precision: str
    # Bytes that this process may hold in all; None for what the machine has.
    memory: int | None = None

    def options(self) -> dict[str, Any]:
        """What `inference` asks for."""
        from upfield.training import device

        where = device.choose(self.device)
        dtype = device.precision(self.precision, where)
        return {"device": where, "dtype": dtype, "overlap": self.overlap, "tta": self.tta, "memory": self.memory}


def folders(weights: Sequence[str]) -> list[str]:
    """The folders of files of weights."""
    return [str(Path(path).parent) for path in weights]


def load(weights: Sequence[str]) -> tuple[list["Method"], list[Card]]:
    """Networks and model cards, of files of weights; the card lies beside each.

    Raises UpfieldError for a card that names code of no method here: it may come from somebody else.
    """
    from upfield.methods import model

    for folder in folders(weights):
        module = read_object(Path(folder) / "model.json").get("module")
        if module not in modules():
            raise UpfieldError(f"{folder}/model.json names code in {str(module)[:80]!r}, which is no method here")
    networks, cards = zip(*(model.load(folder) for folder in folders(weights)), strict=True)
    for network, card in zip(networks, cards, strict=True):
        if network.local and "patch" in card:
            network.window = max(card["patch"])
    return list(networks), list(cards)


def network_input(preprocessed: str, card: Card) -> Volume:
    """A preprocessed source, on the standard scale of the model's training sources if it has one (Nyúl's method).

    The output stays on the standard scale of the targets: a target's own landmarks are not a model's to know.
    """
    source, curve = nifti.load(preprocessed), to_standard_scale(preprocessed, card)
    return source if curve is None else source.with_data(curve.apply(source.data))


def to_standard_scale(preprocessed: str, card: Card) -> Curve | None:
    """What leads from a source's normalized values to the standard scale of the model's training sources, if any."""
    standard, landmarks = card.get("standard_scale", {}).get("source"), landmarks_of(preprocessed)
    return None if standard is None or landmarks is None else Curve(landmarks, standard)


def summary(weights: str, card: Card) -> dict[str, Any]:
    """What a sidecar says of a model: enough to find it again."""
    kept = ("preset", "fold", "seed", "best_epoch", "split_sha", "upfield", "git_commit")
    return {
        "Folder": relative(Path(weights).parent),
        "Digest": digest(Path(weights)),
        "TrainingParticipants": len(card["participants"]["train"]),
        **{"".join(part.capitalize() for part in key.split("_")): card[key] for key in kept if key in card},
    }
