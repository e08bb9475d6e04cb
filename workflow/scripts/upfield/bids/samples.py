"""Scans that are in no BIDS dataset: a table says whose they are; DICOM series among them are converted first."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from upfield.bids.find import KEPT_METADATA
from upfield.bids.names import sidecar
from upfield.bids.scan import Scan
from upfield.bids.sidecars import beside
from upfield.errors import UpfieldError
from upfield.foreign import read_table, understood
from upfield.place import WILDCARD

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*|%[A-Za-z_]\w*%")


def read_samples(table: str | Path, suffixes: Mapping[str, str], converted: str | Path) -> list[Scan]:
    """The scans of a table `participant_id, source, target[, session]`, in its order, sources first.

    Parameters
    ----------
    table
        Tab-separated. A cell is a NIfTI file or a folder with the DICOM files of one series, relative to the table's
        folder, absolute, below a home (`~`) or a `file://` address; empty or `n/a` if there is none. `participant_id`
        and `session` with or without `sub-`, `ses-`.
    suffixes
        Contrast of each side that is wanted, as BIDS names it.
    converted
        The dataset in which DICOM series will be, as NIfTI.

    A row whose labels BIDS does not allow, or that names no file of this machine, says so in `problem`. Raises
    UpfieldError for a table that cannot be read and columns that are missing.

    """
    path = Path(table)
    rows = read_table(path, ("participant_id", *suffixes), "config: samples")
    scans = []
    for side in suffixes:
        for line, row in zip(rows.index, rows.to_dict("records"), strict=True):
            cell = row[side]
            if cell not in ("", "n/a"):
                session, where = row.get("session", ""), f"{path}, line {line}"
                file, problem = _file(path.parent, cell)
                scan = _scan(where, file, row["participant_id"], session, side, suffixes[side], converted)
                scans.append(replace(scan, problem=scan.problem or problem))
    return scans


def _file(folder: Path, cell: str) -> tuple[Path, str]:
    """The file that a cell of a table in `folder` names, and why there is none; empty if there may be."""
    address = ADDRESS.match(cell)
    if address is not None and address[1].lower() != "file":
        return folder / cell, f"{cell!r:.80} is no file of this machine; download it, and give its path"
    plain = unquote(cell[address.end() :].removeprefix("localhost")) if address is not None else cell
    file = folder / plain
    if os.path.lexists(file):
        return file, ""
    if plain.startswith("~"):
        try:
            return Path(plain).expanduser(), ""
        except RuntimeError:
            return file, f"{plain!r:.80} begins with a home that nobody has here; write the path out"
    slashed = folder / plain.replace("\\", "/")
    if os.path.lexists(slashed):
        return slashed, ""
    if VARIABLE.search(plain):
        return file, f"{plain!r:.80} is not there; variables such as $HOME are not filled in: write the path out"
    return file, ""


def _scan(
    where: str, file: Path, participant: str, session: str, side: str, suffix: str, converted: str | Path
) -> Scan:
    person, visit = participant.removeprefix("sub-"), session.removeprefix("ses-")
    visit = "" if visit == "n/a" else visit
    wrong = [label for label in (person, visit or person) if not (label.isascii() and label.isalnum())]
    name = f"sub-{person}" + (f"_ses-{visit}" if visit else "")
    folder = f"sub-{person}/" + (f"ses-{visit}/" if visit else "") + "anat"
    # Unlike Path.resolve, this takes links that lead in a circle for what they are.
    found = Path(os.path.realpath(file))
    special = WILDCARD.search(str(found))
    if special is not None:
        raise UpfieldError(
            f"{where}: {str(found)!r:.120} has {special[0]!r} in it, which Snakemake reads otherwise; rename it"
        )
    dicom = str(found) if os.path.isdir(found) else ""  # noqa: PTH112
    path = f"{converted}/{folder}/{name}_rec-{side}_{suffix}.nii.gz" if dicom else str(found)
    fields = understood(beside(sidecar(path)), path)
    return Scan(
        participant=f"sub-{person}",
        role=side,
        path=path,
        folder=folder,
        name=name,
        suffix=suffix,
        session=visit or "n/a",
        metadata={key: fields[key] for key in KEPT_METADATA if key in fields},
        dicom=dicom,
        problem=f"{wrong[0]!r:.40} in {Path(where).name} is no BIDS label; expected letters and digits only"
        if wrong
        else "",
    )
