"""Why no scan of a dataset is what a side of a study asks for: which filter is wrong, and what the dataset has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upfield import foreign
from upfield.bids import matching, odd
from upfield.bids.sidecars import Sidecars
from upfield.catalogue.rules import near, shown

# Values in one line.
SHOWN = 8


@dataclass(frozen=True)
class _Image:
    """What is known of an image: entities by their short names, and sidecar fields as understood and as found."""

    entities: Mapping[str, Any]
    understood: Mapping[str, Any]
    found: Mapping[str, Any]


@dataclass(frozen=True)
class _Filter:
    """One filter of a side: its key in the configuration, what it asks for, and what images have there."""

    key: str
    name: str
    value: Any
    matches: Callable[[_Image], bool]
    of: Callable[[_Image], Mapping[str, Any]]


def unmatched(
    role: str,
    root: Path,
    entities: Mapping[str, tuple[str, Any]],
    metadata: Mapping[str, Any],
    files: Sequence[Path],
    sidecars: Sidecars,
) -> str:
    """The first filter after which no scan is left, what it asks for and what there is instead, in one line.

    `entities` map names of a configuration to short names and values; `files` are those of the dataset `root`.
    """
    if not files:
        return f"config: {role}.bids_dir is {root}, where no folder sub-<label> has an image"
    images = [_image(root, path, sidecars) for path in files]
    left, before = images, list[str]()
    for one in _filters(role, entities, metadata):
        fit = [image for image in left if one.matches(image)]
        if not fit:
            # Where others have it, it is the filters before that leave none of them.
            with_them = f" with {' and '.join(before)}" if before and any(map(one.matches, images)) else ""
            known = _values(one, left if with_them else images)
            names = {name for image in images for name in one.of(image)}
            instead = _instead(one.value, known) if known else _absent(one.name, names)
            return f"config: {role}.{one.key} is {shown(one.value)}, which no scan{with_them} has{instead}"
        left = fit
        before.append(f"{one.name} {shown(one.value)}")
    return f"config: no {role} scan matches the filters"


def _image(root: Path, path: Path, sidecars: Sidecars) -> _Image:
    found, _ = sidecars.fields(root / path)
    return _Image(odd.entities(path), foreign.understood(found, str(path)), found)


def _filters(role: str, entities: Mapping[str, tuple[str, Any]], metadata: Mapping[str, Any]) -> list[_Filter]:
    found = []
    for name, (key, value) in entities.items():
        labels = matching.labels(role, name, value, key)

        def has(image: _Image, key: str = key, labels: Sequence[str | None] = labels) -> bool:
            return matching.label_matches(image.entities.get(key), labels)

        found.append(_Filter(f"entities.{name}", key, value, has, lambda image: image.entities))
    for name, value in metadata.items():

        def says(image: _Image, name: str = name, value: Any = value) -> bool:
            fields = (image.understood, image.found)
            return any(matching.field_matches(role, name, row.get(name), value) for row in fields)

        found.append(_Filter(f"metadata.{name}", name, value, says, lambda image: image.understood))
    return found


def _values(one: _Filter, images: Iterable[_Image]) -> list[str]:
    found = (one.of(image).get(one.name) for image in images)
    return sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in found if value is not None})


def _instead(value: Any, known: Sequence[str]) -> str:
    meant = near(value, known) if isinstance(value, str) else None
    if meant:
        return f"; did you mean {meant}?"
    return f"; there is {', '.join(map(shown, known[:SHOWN]))}{' ...' if len(known) > SHOWN else ''}"


def _absent(name: str, known: Iterable[str]) -> str:
    meant = near(name, known)
    return f"; did you mean {meant}?" if meant else f"; no scan has {shown(name)} at all"
