"""Whom and which images a model has seen, as its card says, and whether a scan is among them.

Training and validation count: a model is chosen by what it does on validation scans. People are known by their label
together with the name of their dataset, images by the digest of their voxels (`image.identity`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield.bids import Scan
from upfield.catalogue.rules import raise_first, strict
from upfield.errors import ScanError, UpfieldError
from upfield.files import read_yaml
from upfield.foreign import read_object, warn
from upfield.image import identity
from upfield.place import ROOT

KEY = "seen"
NOTHING: dict[str, Any] = {"participants": {}, "images": [], "complete": True}
Card = Mapping[str, Any]
# Participants that a refusal names.
SHOWN = 5


def record(scans: Iterable[Scan], phantom: bool, start: Card | None) -> dict[str, Any]:
    """What stands in the card of a model that sees `scans`, and all that the model of card `start` has seen.

    Simulated people have the labels of others, so those of a `phantom` are left out. `complete` is false where a model
    that training started from does not say whom it has seen.
    """
    people: dict[str, set[str]] = {}
    images = set[str]()
    for scan in (scan for scan in scans if not scan.simulated):
        name = None if phantom else _dataset(scan)
        if name is not None:
            people.setdefault(name, set()).add(_label(scan))
        images |= set(_digests(scan))
    earlier: dict[str, Any] = NOTHING if start is None else start.get(KEY, NOTHING | {"complete": False})
    for name, labels in earlier["participants"].items():
        people.setdefault(name, set()).update(labels)
    return {
        "participants": {name: sorted(people[name]) for name in sorted(people)},
        "images": sorted(images | set(earlier["images"])),
        "complete": earlier["complete"],
    }


def start_card(folder: str | Path) -> dict[str, Any]:
    """The card of a model that training starts from. Raises UpfieldError if what it says of scans is damaged."""
    path = Path(folder) / "model.json"
    card = read_object(path)
    known = read_yaml(ROOT / "workflow" / "schemas" / "card.schema.yaml")
    rule = {"$defs": known["$defs"], "properties": {KEY: known["properties"][KEY]}}
    raise_first(strict(rule).iter_errors(card), str(path))
    return card


def check_start(method: str, folder: str | Path, tested: Iterable[Scan], images: bool) -> None:
    """Raise UpfieldError if a model to start from has seen a participant who is tested.

    With `images` those of the `tested` scans are read and compared too. A card that does not say whom the model has
    seen, or not of all models that it was trained from, is named in the log.
    """
    card = start_card(folder)
    key = f"train.init_from.{method}"
    if not card.get(KEY, {}).get("complete", False):
        warn(f"{key}: the card of {folder} does not say all that the model has seen; a leak may go unnoticed")
    for scan in tested:
        reason = why(scan, [card], images)
        if reason is not None:
            raise UpfieldError(
                f"config: {key} is {folder}, a model that has seen {scan.participant}, who is tested here ({reason});"
                " start from another model, or let splits.file train on them"
            )


def why(scan: Scan, cards: Sequence[Card], images: bool = True) -> str | None:
    """What says that one of some models has seen a scan or its participant; None if nothing does.

    An image that cannot be read is none that a model has seen.
    """
    if scan.simulated:
        return None
    said = [card[KEY] for card in cards if card.get(KEY) is not None]
    name = _dataset(scan) if said else None
    if name is not None and any(_label(scan) in one["participants"].get(name, []) for one in said):
        return f"{_label(scan)} of dataset {name:.80} is in its card"
    known = {image for one in said for image in one["images"]}
    if images and known and known & set(_digests(scan)):
        return f"the voxels of {Path(scan.path).name} are in its card"
    return None


def complete(cards: Sequence[Card]) -> bool:
    """Whether some models' cards say all that the models have seen."""
    return all(card.get(KEY, {}).get("complete", False) for card in cards)


def refuse(scans: Iterable[Scan], cards: Sequence[Card]) -> None:
    """Raise UpfieldError, which names the participants, if models are to be measured on what they have seen."""
    found: dict[str, str] = {}
    for scan in scans:
        reason = why(scan, cards)
        if reason is not None:
            found.setdefault(scan.participant, reason)
    if found:
        named = ", ".join(list(found)[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        raise UpfieldError(
            f"config: model has seen {named} in training or validation ({next(iter(found.values()))}); name them in"
            " participants.exclude, or measure another model"
        )


def _label(scan: Scan) -> str:
    return scan.original or scan.participant


def _dataset(scan: Scan) -> str | None:
    """The name of a scan's dataset; None where it has none, as in a table of scans."""
    path = Path(scan.root) / "dataset_description.json"
    if not path.is_file():
        return None
    try:
        name = read_object(path).get("Name")
    except UpfieldError:
        return None
    return name.strip() or None if isinstance(name, str) else None


def _digests(scan: Scan) -> list[str]:
    """Of a scan's own image, which is known where planning has read it, and of those that are averaged with it."""
    found = [scan.voxels] if scan.voxels else []
    for path in scan.further if scan.voxels else (scan.path, *scan.further):
        try:
            found.append(identity.digest(path))
        except ScanError:
            continue
    return found
