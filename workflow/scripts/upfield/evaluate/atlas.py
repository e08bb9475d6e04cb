"""Regions of the user's own: label images and a table of their names.

One image per participant, in the target's world, or one for all, in the space of the study's template.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from upfield.errors import UpfieldError
from upfield.foreign import number, read_table
from upfield.preprocess import template

PLACE = "{participant}"
COLUMNS = ("index", "name")
# Regions that every study has.
TAKEN = ("brain", "volume")


def image_of(pattern: str, participant: str) -> str:
    """The label image of a participant, `sub-<label>`."""
    return pattern.replace(PLACE, participant)


def region_names(path: str | Path) -> dict[int, str]:
    """Names of labels from a table as BIDS has beside a `dseg` image: columns `index` and `name`.

    Raises UpfieldError if it is no such table, or if a name occurs twice or is one that every study has.
    """
    key = f"config: evaluate.atlas.names is {path}"
    if not Path(path).is_file():
        raise UpfieldError(f"{key}, which is no file; expected a table with columns index and name")
    table = read_table(path, COLUMNS, "config: evaluate.atlas.names", filled=COLUMNS)
    names = list(table["name"])
    wrong = next((name for name in names if names.count(name) > 1 or name in TAKEN), None)
    if wrong is not None:
        raise UpfieldError(f"{key}, where {wrong!r} is {'a region already' if wrong in TAKEN else 'named twice'}")
    labels = [_whole(text) for text in table["index"]]
    wrong = next((text for text, label in zip(table["index"], labels, strict=True) if label is None), None)
    if wrong is not None:
        raise UpfieldError(f"{key}, where index is {wrong!r:.40}; expected whole numbers")
    return {label: name for label, name in zip(labels, names, strict=True) if label is not None}


def _whole(text: str) -> int | None:
    """A whole number, 3 or 3.0."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def in_template(config: Mapping[str, Any]) -> bool:
    """Whether the label image of a study is one for all, in its template's space."""
    pattern = config["evaluate"]["atlas"]["images"]
    return pattern is not None and PLACE not in pattern


def check(config: Mapping[str, Any], participants: Iterable[str]) -> None:
    """Raise UpfieldError, one line that names the key, if the atlas of a study cannot be used."""
    atlas = config["evaluate"]["atlas"]
    images, names = atlas["images"], atlas["names"]
    if images is None and names is None:
        return
    if images is None or names is None:
        missing = "images" if images is None else "names"
        raise UpfieldError(f"config: evaluate.atlas.{missing} is not set; images and names belong together")
    if PLACE not in images and not template.given(config["preprocess"]["template"]):
        raise UpfieldError(
            f"config: evaluate.atlas.images is {images}; expected a path with {PLACE} in it, or a preprocess.template"
            " in whose space this image lies"
        )
    region_names(names)
    if not any(Path(image_of(images, participant)).is_file() for participant in participants):
        found = "no participant of the study has this file" if PLACE in images else "expected the path of an image"
        raise UpfieldError(f"config: evaluate.atlas.images is {images}; {found}")
