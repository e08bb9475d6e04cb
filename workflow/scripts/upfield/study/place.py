"""The folder that Snakemake is started in, where it keeps its locks and records."""

import os
from pathlib import Path

from upfield.errors import UpfieldError


def check_folder(folder: Path) -> None:
    """Raise UpfieldError where Snakemake cannot keep its records: a folder of somebody else, a read-only one."""
    records = folder / ".snakemake"
    places = [records, *(path for path in (records / "locks", records / "log") if path.exists())]
    if not records.exists():
        places = [folder]
    for place in places:
        if not os.access(place, os.W_OK | os.X_OK):
            raise UpfieldError(
                f"{place} cannot be written by you (it belongs to {_owner(place)}): start Snakemake in a folder of "
                f"your own, with --snakefile <checkout>/Snakefile"
            )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "somebody else"
