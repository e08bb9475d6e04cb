"""What participants.tsv says of the participants of a study."""

import re
from collections.abc import Sequence

import pandas as pd

from upfield.errors import UpfieldError
from upfield.foreign import warn

# What a cell without a value holds.
EMPTY = ("", "n/a")


def some(names: Sequence[str]) -> str:
    """The first names, where a sentence has no room for all."""
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


def check_column(table: pd.DataFrame, column: str, key: str) -> None:
    """Raise UpfieldError, which names the key of the config, for a column that participants.tsv does not have."""
    if column not in table.columns:
        raise UpfieldError(f"config: {key} names {column!r}; participants.tsv has {', '.join(table.columns)}")


def values(people: Sequence[str], table: pd.DataFrame, columns: Sequence[str], key: str) -> dict[str, str]:
    """The values in `columns`, joined, of each participant who has a row; `key` of the config asks for them.

    Where rows of somebody contradict each other the value is n/a, and the log says so. Raises UpfieldError if nobody
    has a row.
    """
    rows = {
        str(name): "|".join(_one_value(str(name), said[column]) for column in columns)
        for name, said in table[["participant_id", *columns]].astype(str).groupby("participant_id", sort=False)
    }
    bare: dict[str, set[str]] = {}
    for name in rows:
        bare.setdefault(_bare(name), set()).add(name)
    result = {}
    for person in people:
        # Spreadsheets write 1 for sub-01. Where the table has both sub-1 and sub-01, each is who it says.
        names = {person} if person in rows else bare.get(_bare(person), set())
        if len(names) == 1:
            result[person] = rows[min(names)]
    if people and not result:
        raise UpfieldError(
            f"participants.tsv: none of its {len(rows)} participants ({', '.join(list(rows)[:2])}, ...) is in the study"
            f" ({', '.join(people[:2])}, ...); {key} needs them"
        )
    return result


def _one_value(name: str, cells: pd.Series) -> str:
    """What the rows of somebody say in one column: the one value of those that have one, n/a if there are several."""
    known = [(place, cell) for place, cell in cells.items() if cell not in EMPTY]
    if len({cell for _, cell in known}) > 1:
        said = "; ".join(f"{cell!r:.30} ({place})" for place, cell in known[:2])
        warn(f"participants.tsv: {name} has rows that differ in {cells.name!s:.40}: {said}; it is taken as n/a")
        return "n/a"
    return str(known[0][1] if known else cells.iloc[0])


def _bare(name: str) -> str:
    """A participant's label without zeros before a number."""
    return re.sub(r"^(sub-(?:source|target)?)0+(?=\d+$)", r"\1", name)
