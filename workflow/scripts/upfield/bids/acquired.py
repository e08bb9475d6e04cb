"""When scans were acquired: from the table of their session or their sidecar, as far as it can be meant in one way."""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from upfield import foreign
from upfield.bids import odd
from upfield.errors import UpfieldError

UNKNOWN = ("", "n/a", "N/A", "NA", "nan", "None")
ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
CLOCK = rf"(?:[T ]\s*(?P<H>\d\d?):(?P<M>\d\d)(?::(?P<S>\d\d)(?:[.,](?P<f>\d+))?)?\s*(?P<half>[AP]M)?\s*{ZONE})?"
# Year first, as DICOM writes it, with a name of the month, and two numbers of which either may be the month.
MOMENTS = [
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        rf"(?P<y>\d{{4}})[-/.](?P<m>\d\d?)[-/.](?P<d>\d\d?){CLOCK}",
        rf"(?P<y>(?:1[89]|2[01])\d\d)(?P<m>\d\d)(?P<d>\d\d)(?:T?(?P<H>\d\d)(?P<M>\d\d)(?:(?P<S>\d\d)(?:\.(?P<f>\d+))?)?{ZONE})?",
        rf"(?P<d>\d\d?)[-/. ]?(?P<name>[a-z]{{3,9}})[-/., ]*(?P<y>\d{{4}}){CLOCK}",
        rf"(?P<name>[a-z]{{3,9}})[. ]+(?P<d>\d\d?),? (?P<y>\d{{4}}){CLOCK}",
        rf"(?P<one>\d\d?)[-/.](?P<two>\d\d?)[-/.](?P<y>\d{{4}}){CLOCK}",
    )
]
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
MIDNIGHT = "T00:00:00"
EXPECTED = "expected one such as 2019-03-12T10:11:12"


def acquisition_time(path: Path, fields: Mapping[str, Any]) -> str:
    """When a scan was acquired, as `moment` writes it: from the `scans.tsv` of its session, else its sidecar."""
    folder = path.parent.parent
    name = "_".join(part for part in folder.parts[-2:] if part.startswith(("sub-", "ses-")))
    listed = _times(folder / f"{name}_scans.tsv").get(_key(path.parent.name, path.name), "")
    if listed:
        return listed
    said = str(fields.get("AcquisitionDateTime", "")).strip()
    found = moment(said)
    if not found and said not in UNKNOWN:
        foreign.warn(f"{path}: AcquisitionDateTime is {said!r:.40}; {EXPECTED}; it is taken as unknown")
    return found


def moment(text: str) -> str:
    """A date, or date and time, in ISO 8601, in UTC (`+00:00`) where it says its zone; empty if it is not certain.

    `12/03/2019` may be in March or in December, and a spreadsheet's 43556 in 2019 or in 2023.
    """
    match = next((match for pattern in MOMENTS if (match := pattern.fullmatch(text.strip()))), None)
    if match is None:
        return ""
    said = match.groupdict()
    month, day = _month_and_day(said)
    try:
        if not said["H"]:
            return date(int(said["y"]), month, day).isoformat()
        hour = int(said["H"])
        if said.get("half"):
            if not 1 <= hour <= 12:
                return ""
            hour = hour % 12 + (12 if said["half"].upper() == "PM" else 0)
        zone = said["zone"] or ""
        result = datetime.fromisoformat(
            f"{int(said['y']):04}-{month:02}-{day:02}T{hour:02}:{said['M']}:{said['S'] or '00'}"
            f".{(said['f'] or '0'):0<6.6}{zone.upper()}"
        )
        return (result.astimezone(UTC) if zone else result).isoformat()
    except (ValueError, OverflowError):
        # No such day or time.
        return ""


def _month_and_day(said: Mapping[str, str | None]) -> tuple[int, int]:
    """The month and the day of a date; no month (0) where either of two numbers may be it."""
    name = (said.get("name") or "").lower()
    if name:
        number = next((number for number, month in enumerate(MONTHS, 1) if month.startswith(name)), 0)
        return number, int(said["d"] or 0)
    if said.get("one"):
        one, two = int(said["one"] or 0), int(said["two"] or 0)
        return (0, 0) if max(one, two) <= 12 and one != two else (min(one, two), max(one, two))
    return int(said["m"] or 0), int(said["d"] or 0)


def is_later(one: str, other: str) -> bool:
    """Whether a scan of the time `one` is certainly later than a scan of the time `other`; both as `moment` writes it.

    It is not where one of them is unknown, where one has a date alone and both are of one day, or where one says its
    zone and the other does not and less than a day is between them. Midnight is what programs write after a date alone.
    """
    if not one or not other:
        return False
    one, other = one.removesuffix(MIDNIGHT), other.removesuffix(MIDNIGHT)
    if one.startswith(other) or other.startswith(one):
        return False
    first, second = (datetime.fromisoformat(text) for text in (one, other))
    apart = timedelta() if (first.tzinfo is None) == (second.tzinfo is None) else timedelta(days=1)
    return first.replace(tzinfo=None) > second.replace(tzinfo=None) + apart


@cache
def _times(path: Path) -> dict[str, str]:
    """The known times in a `scans.tsv`, by folder and name without extension; empty without such a table.

    What cannot be used of it is said once for each kind, with the first line.
    """
    if not os.path.lexists(path):
        return {}
    try:
        table = foreign.read_table(path, ("filename", "acq_time"), filled=("filename",))
    except UpfieldError as error:
        foreign.warn(f"{error}; nothing of it is used")
        return {}
    known = _Files(path.parent)
    nowhere, unclear = dict[int, str](), dict[int, str]()
    found: dict[str, dict[str, int]] = {}
    for line, name, said in zip(table.index, table["filename"], table["acq_time"], strict=True):
        key, time = known.key(name), moment(said)
        if not key:
            nowhere[line] = name
        elif time:
            found.setdefault(key, {}).setdefault(time, line)
        elif said not in UNKNOWN:
            unclear[line] = said
    _say(path, nowhere, "{} names no file there; expected one such as anat/sub-01_T1w.nii.gz; it is not used")
    _say(path, unclear, "acq_time is {}; " + EXPECTED + "; it is taken as unknown")
    for key, times in found.items():
        if len(times) > 1:
            lines = " and ".join(map(str, times.values()))
            foreign.warn(f"{path}, lines {lines}: {key} has different times ({_short(times)}); none of them is used")
    return {key: next(iter(times)) for key, times in found.items() if len(times) == 1}


def _say(path: Path, rows: Mapping[int, str], what: str) -> None:
    if rows:
        line, cell = next(iter(rows.items()))
        more = f" (so in {len(rows) - 1} more lines)" if len(rows) > 1 else ""
        foreign.warn(f"{path}, line {line}: {what.format(f'{cell!r:.80}')}{more}")


def _short(words: Iterable[str]) -> str:
    return ", ".join(words)[:80]


def _key(folder: str, name: str) -> str:
    return f"{folder}/{odd.stem(name)}"


class _Files:
    """The files of a session, as the cells of its table may call them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = [part for part in folder.parts[-2:] if part.startswith(("sub-", "ses-"))]
        # By folder and name, and by name alone, in small letters and without extension.
        self.known: dict[str, set[str]] = {}
        for path in folder.glob("*/*"):
            key = _key(path.parent.name, path.name)
            for called in (key, odd.stem(path.name)):
                self.known.setdefault(called.casefold(), set()).add(key)

    def key(self, cell: str) -> str:
        """The one file that a cell can mean, as folder and name without extension; empty if there is none.

        Cells are relative to the session's folder, to that of the dataset, or absolute on some other machine; with
        slashes of either kind, with any extension or none, in letters of either case if that leaves one file.
        """
        parts = [part for part in re.split(r"[/\\]", cell.removeprefix("bids::")) if part not in ("", ".")]
        for start in range(len(parts) - len(self.own), -1, -1):
            if self.own and parts[start : start + len(self.own)] == self.own:
                parts = parts[start + len(self.own) :]
                break
        if not parts or ".." in parts:
            return ""
        *folders, name = parts
        key = "/".join([*folders, odd.stem(name)])
        found = self.known.get(key.casefold(), set())
        if key in found or (folders and len(found) != 1 and os.path.lexists(self.folder.joinpath(*parts))):
            return key
        return next(iter(found)) if len(found) == 1 else ""
