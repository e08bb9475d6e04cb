"""Where Upfield is: a folder that Snakemake can run it from, and the library that belongs to it."""

import re
import sys
from pathlib import Path

# What a shell, to which Snakemake hands the path of Python as it is, reads as something else.
SHELL = re.compile(r"""[\s"'`$&|;()<>*?\[\]#~!{}\\]""")
# What Snakemake takes for a wildcard or for a variable in the path of a script.
WILDCARD = re.compile(r"[{}]|<[a-z][a-z0-9_]*>")


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


if __name__ == "__main__":
    sys.exit(refusal(Path.cwd(), Path.cwd() / sys.argv[1]) or None)
