"""Whether entities and sidecar fields are those that a study wants: as text, as numbers only where exactly equal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.errors import UpfieldError
from upfield.foreign import number


def labels(role: str, name: str, value: Any, key: str = "") -> list[str | None]:
    """The values that an entity may have, as text, without the prefix `<key>-` that names of files have before them.

    Raises UpfieldError for an empty list, and for what is no label, such as `no` in YAML.
    """
    where = f"config: {role}.entities.{name}"
    if isinstance(value, list | tuple) and not value:
        raise UpfieldError(f"{where} is an empty list, which no scan matches; expected a label, or no such key")
    result: list[str | None] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, bool):
            raise UpfieldError(f"{where} is the truth value {str(item).lower()}, not a text; put it in quotes")
        if isinstance(item, float) and item.is_integer() and abs(item) < 2**53:
            item = int(item)
        if item is not None and not isinstance(item, str | int):
            raise UpfieldError(f"{where} is {item!r:.40}; expected a label; put it in quotes")
        result.append(None if item is None else str(item).removeprefix(f"{key}-"))
    return result


def label_matches(found: Any, wanted: Sequence[str | None]) -> bool:
    """Whether an entity has one of some labels; zeros before a number do not count: BIDS writes 01."""
    if found is None:
        return None in wanted
    return any(item is not None and _bare(str(found)) == _bare(item) for item in wanted)


def _bare(label: str) -> str:
    return label.lstrip("0") or "0" if label.isascii() and label.isdigit() else label


def check_range(role: str, name: str, wanted: Any) -> None:
    """Raise UpfieldError for a range that holds no number."""
    if isinstance(wanted, Mapping) and wanted.get("min", -np.inf) > wanted.get("max", np.inf):
        raise UpfieldError(
            f"config: {role}.metadata.{name} is from {wanted['min']:g} to {wanted['max']:g}; expected min below max"
        )


def field_matches(role: str, name: str, found: Any, wanted: Any) -> bool:
    """Whether a sidecar field is one of some values, or a number of a range.

    Raises UpfieldError for a truth value where sidecars have text: what YAML reads from `no` without quotes.
    """
    if isinstance(wanted, Mapping):
        try:
            value = np.nan if isinstance(found, bool) else float(found)
        except (TypeError, ValueError, OverflowError):
            return False
        return bool(wanted.get("min", -np.inf) <= value <= wanted.get("max", np.inf))
    for item in wanted if isinstance(wanted, list | tuple) else [wanted]:
        if isinstance(item, bool) and isinstance(found, str):
            raise UpfieldError(
                f"config: {role}.metadata.{name} is the truth value {str(item).lower()}, but sidecars have text"
                f" ({found!r:.40}); put it in quotes"
            )
        if _same(found, item):
            return True
    return False


def _same(found: Any, wanted: Any) -> bool:
    if any(value is None or isinstance(value, bool) for value in (found, wanted)):
        return found is wanted
    one, other = number(found), number(wanted)
    if one is not None and other is not None:
        return one == other
    return str(found) == str(wanted)
