"""Where Upfield is and where it runs: folders that Snakemake can run from, and the library that belongs to them."""

import os
import re
import sys
from pathlib import Path

# What a shell, to which Snakemake hands the path of Python as it is, reads as something else.
SHELL = re.compile(r"""[\s"'`$&|;()<>*?\[\]#~!{}\\]""")
# What Snakemake takes for a wildcard or for a variable in the path of a script.
WILDCARD = re.compile(r"[{}]|<[a-z][a-z0-9_]*>")
# Where a wheel has the workflow, below what Python calls its prefix.
INSTALLED = Path("share") / "upfield"


def workflow_of(library: Path) -> Path:
    """The folder of the Snakefile, with rules and config, that belongs to a library: its checkout, or pip's folder."""
    checkout = library.parents[2]
    # In a checkout the adapter is beside the library; pip puts the workflow below a folder that both are in.
    if not (library.parent / "step.py").is_file():
        for folder in library.parents:
            if (folder / INSTALLED / "Snakefile").is_file():
                return folder / INSTALLED
    return checkout


# The one answer to where the workflow is.
ROOT = workflow_of(Path(__file__).resolve().parent)


def refusal(folder: str | Path, python: str | Path) -> str:
    """Why Upfield cannot be run from a folder by a Python, in one line; empty if it can."""
    for what, path, special in (("Python", str(python), SHELL), ("Upfield", str(folder), WILDCARD)):
        found = special.search(path)
        if found is not None:
            return (
                f"{what} is at {path!r}, and Snakemake cannot run jobs from a path with {found[0]!r} in it; move"
                " Upfield to a folder without, remove .venv, and run make setup there"
            )
    return ""


def foreign(own: str | Path, imported: str | Path) -> str:
    """Why a library that is imported is not that of a checkout, in one line; empty if it is, or if it has none."""
    own, imported = Path(own), Path(imported)
    if not own.is_dir() or own.resolve() == imported.resolve():
        return ""
    return (
        f"the workflow is in {own.parents[2]}, but its library is imported from {imported}: two versions of Upfield in"
        " one run; use the environment of this folder (make setup)"
    )


def unwritable(folder: Path) -> str:
    """Why Snakemake cannot keep its records in the folder it is started in, in one line; empty if it can."""
    records = folder / ".snakemake"
    places = [path for path in (records, records / "locks", records / "log") if path.exists()] or [folder]
    for place in places:
        if not os.access(place, os.W_OK | os.X_OK):
            return (
                f"{place} cannot be written by you (it belongs to {_owner(place)}); start Snakemake in a folder of your"
                " own, with --snakefile <checkout>/Snakefile"
            )
    return ""


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "somebody else"


if __name__ == "__main__":
    sys.exit(refusal(Path.cwd(), Path.cwd() / sys.argv[1]) or None)
