"""What participants.tsv says of the participants of a study."""

import re
from collections.abc import Sequence

import pandas as pd

from upfield.errors import UpfieldError


def some(names: Sequence[str]) -> str:
    """The first names, where a sentence has no room for all."""
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


def check_column(table: pd.DataFrame, column: str, key: str) -> None:
    """Raise UpfieldError, which names the key of the config, for a column that participants.tsv does not have."""
    if column not in table.columns:
        raise UpfieldError(f"config: {key} names {column!r}; participants.tsv has {', '.join(table.columns)}")


def values(people: Sequence[str], table: pd.DataFrame, columns: Sequence[str], key: str) -> dict[str, str]:
    """The values in `columns`, joined, of each participant who has a row; `key` of the config asks for them.

    Raises UpfieldError if nobody has one, or somebody has two that differ.
    """
    joined = table[list(columns)].astype(str).agg("|".join, axis=1)
    rows: dict[str, set[str]] = {}
    bare: dict[str, set[str]] = {}
    for name, value in zip(table["participant_id"], joined, strict=True):
        rows.setdefault(name, set()).add(value)
        bare.setdefault(_bare(name), set()).add(name)
    result = {}
    for person in people:
        # Spreadsheets write 1 for sub-01. Where the table has both sub-1 and sub-01, each is who it says.
        names = {person} if person in rows else bare.get(_bare(person), set())
        found = [rows[name] for name in names]
        if len(found) == 1:
            if len(found[0]) > 1:
                raise UpfieldError(f"participants.tsv: {person} has rows that differ in {', '.join(columns)}")
            result[person] = min(found[0])
    if people and not result:
        raise UpfieldError(
            f"participants.tsv: none of its {len(rows)} participants ({', '.join(list(rows)[:2])}, ...) is in the study"
            f" ({', '.join(people[:2])}, ...); {key} needs them"
        )
    return result


def _bare(name: str) -> str:
    """A participant's label without zeros before a number."""
    return re.sub(r"^(sub-(?:source|target)?)0+(?=\d+$)", r"\1", name)
