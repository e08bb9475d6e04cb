"""Text that others wrote: sidecars, tables. One reader, which says the file and the reason in one line.

Every fault is an UpfieldError; who asks for something that is not needed makes it a warning.
"""

import codecs
import csv
import functools
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.errors import UpfieldError

LOG = logging.getLogger(__name__)
# Bytes of the largest text that is read: a table of a hundred thousand participants has a tenth of that.
LARGEST = 64 * 2**20
# UTF-32 before UTF-16, whose mark its own begins with.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What no text holds; tab, line feed, form feed and carriage return are allowed.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
# What nobody sees at the edges of a cell: spaces of any kind, also without width, marks of byte order and direction.
UNSEEN = r"[\s\ufeff\u200b-\u200f\u2060]+"
EDGES = re.compile(rf"^{UNSEEN}|{UNSEEN}$")
PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
FIELD = re.compile(r"(\d+(?:[.,]\d+)?)\s*(t|tesla|mt)?", re.IGNORECASE)
# Tesla; no magnet for people comes near.
STRONGEST = 30.0


@functools.cache
def warn(message: str) -> None:
    """Say something once in the log."""
    LOG.warning("%s", message)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32 with or without a mark, or else in Latin-1; line ends are `\\n`.

    Raises UpfieldError for a file that is missing, cannot be read, is too large, or is no text.
    """
    path = Path(path)
    try:
        if path.is_symlink() and not path.exists():
            raise UpfieldError(_told(path, "is a link to a file that is not there; fetch it (git-annex, DataLad)"))
        if not path.exists():
            raise UpfieldError(_told(path, "does not exist"))
        if not path.is_file():
            raise UpfieldError(_told(path, "is no file"))
        size = path.stat().st_size
        if size > LARGEST:
            raise UpfieldError(_told(path, f"has {size:,} bytes; expected a text of at most {LARGEST:,}"))
        content = path.read_bytes()
    except OSError as error:
        raise UpfieldError(_told(path, f"cannot be read ({error.strerror or error})")) from None
    text = _decoded(path, content)
    if CONTROL.search(text):
        raise UpfieldError(_told(path, "is no text (it holds control characters)"))
    # A mark stands at the start of a file, and within one that was made of several.
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path, content: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    # Without a mark UTF-16 shows by the zeros in every second byte of what is mostly ASCII.
    half = len(content) // 2
    if encoding is None and half and b"\0" in content:
        for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if content[start::2].count(0) > 0.8 * half and not content[1 - start :: 2].count(0):
                encoding = name
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if encoding is not None:
            raise UpfieldError(_told(path, f"is no text (damaged {encoding.upper()})")) from None
    return content.decode("latin-1")


def read_object(path: str | Path) -> dict[str, Any]:
    """A JSON object, as sidecars are. Raises UpfieldError also for other JSON and for what is none."""
    text = read_text(path)
    if not text.strip():
        raise UpfieldError(_told(path, "is empty; expected JSON"))
    twice: set[str] = set()

    def joined(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        twice.update(key for key, value in pairs if repr(result[key]) != repr(value))
        return result

    try:
        # Not strict: scanners' software puts tabs and line ends into texts.
        value = json.loads(text, strict=False, object_pairs_hook=joined)
    except json.JSONDecodeError as error:
        raise UpfieldError(_told(path, f"is no JSON ({error.msg}, line {error.lineno})")) from None
    except (ValueError, RecursionError):
        raise UpfieldError(_told(path, "is no JSON (too long a number, or too deep)")) from None
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else "a single value"
        raise UpfieldError(_told(path, f"holds {kind}; expected a JSON object {{...}}"))
    if twice:
        raise UpfieldError(_told(path, f"has {min(twice)!r} twice, with different values"))
    return value


def read_table(
    path: str | Path, columns: Sequence[str] = (), what: str = "", filled: Sequence[str] = ()
) -> pd.DataFrame:
    """A tab-separated table as text, spaces around its cells left out, without empty rows and columns.

    Short rows end in empty cells. `columns` must be there, and those of `filled` have a text in every row; `what` names
    the key of the config that says the path. The index has the numbers of the lines. Raises UpfieldError also for a
    table without columns, a column that is there twice, a quotation mark that is not closed on its line, and a row with
    too many cells.
    """
    where = f"{what} {path}".strip()
    try:
        lines = read_text(path).split("\n")
    except UpfieldError as error:
        if not what:
            raise
        reason = str(error).removeprefix(f"{path} ")
        wanted = f"; expected a table {', '.join(columns)}" if columns else ""
        raise UpfieldError(f"{what} is {path}, which cannot be read (it {reason}){wanted}") from None
    # Line by line: a quotation mark that nobody closed must not swallow the rows after it.
    rows = [(number, _cells(where, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    rows = [(number, cells) for number, cells in rows if cells]
    wanted = f"; expected {', '.join(columns)}" if columns else ""
    if not rows:
        raise UpfieldError(f"{where}: the table is empty{wanted}")
    header, body = rows[0][1], rows[1:]
    other = next((name for mark, name in ((",", "commas"), (";", "semicolons")) if mark in header[0]), None)
    if len(header) == 1 and other is not None:
        raise UpfieldError(f"{where}: columns are separated by {other}; expected tabs")
    marked = next((name for name in header if name.endswith((",", ";"))), None)
    if marked is not None:
        raise UpfieldError(
            f"{where}: column {marked!r:.60} ends in {marked[-1]!r}; expected tabs alone between columns"
        )
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise UpfieldError(f"{where}: column {twice!r} is there twice; expected different names")
    missing = [name for name in columns if name not in header]
    if missing:
        raise UpfieldError(f"{where}: columns are {_short(header)}; {missing[0]} is missing{wanted}")
    for number, cells in body:
        said = [place for place, cell in enumerate(cells) if cell]
        extra = next((place for place in said if place >= len(header) or not header[place]), None)
        if extra is not None:
            raise UpfieldError(f"{where}: line {number} has {cells[extra]!r:.40} in column {extra + 1}, without a name")
        empty = next((name for name in filled if header.index(name) not in said), None)
        if empty is not None:
            raise UpfieldError(f"{where}: line {number} has no {empty}; expected a text in each row, or no such row")
    named = [place for place, name in enumerate(header) if name]
    values = [[cells[place] if place < len(cells) else "" for place in named] for _, cells in body]
    lines_of = [number for number, _ in body]
    return pd.DataFrame(values, index=lines_of, columns=[header[place] for place in named], dtype=str)


def _cells(where: str, number: int, line: str) -> list[str]:
    """The cells of a line; empty ones at its end are left out: Excel adds them to every row."""
    try:
        # Strict: a quotation mark that nothing closes would swallow the cells after it.
        cells = [EDGES.sub("", cell) for cell in next(csv.reader([line], delimiter="\t", strict=True))]
    except csv.Error as error:
        reason = "the cell is too long" if "larger" in str(error) else "a quotation mark is not closed on this line"
        raise UpfieldError(f"{where}: line {number} cannot be read ({reason})") from None
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _short(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _told(path: str | Path, reason: str) -> str:
    return f"{path} {reason}"


def number(value: Any) -> Decimal | None:
    """A number, or text that is one without exponent and needless zeros, exactly; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    return Decimal(value) if isinstance(value, str) and PLAIN_NUMBER.fullmatch(value) else None


def understood(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Sidecar fields that Upfield uses itself, with values of the kinds that BIDS wants.

    A field strength such as `3T` or `64 mT` becomes a number. What is not understood is left out: it is unknown, and
    the log says so.
    """
    result = dict(fields)
    for key, reader in (("MagneticFieldStrength", _tesla), ("Manufacturer", _name), ("ManufacturersModelName", _name)):
        if key not in result:
            continue
        value = reader(result.pop(key))
        if value is not None:
            result[key] = value
        # Nothing, said in one of the usual ways.
        elif fields[key] not in (None, "", "n/a"):
            warn(f"{where}: {key} is {fields[key]!r:.40}, which is not understood; it is taken as unknown")
    # In the order given: it stands in files.
    return {key: result[key] for key in fields if key in result}


def _tesla(value: Any) -> float | None:
    if isinstance(value, str):
        match = FIELD.fullmatch(value.strip())
        if match is None:
            return None
        tesla = float(match[1].replace(",", "."))
        tesla = tesla / 1000 if (match[2] or "").lower() == "mt" else tesla
        value = int(tesla) if tesla.is_integer() else tesla
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 < value <= STRONGEST else None


def _name(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    # Lone surrogates, which JSON can hold, cannot be written.
    text = CONTROL.sub(" ", str(value)).encode("utf-8", "replace").decode()
    return re.sub(r"[\t\r\n]", " ", text) or None
