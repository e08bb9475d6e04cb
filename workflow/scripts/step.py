"""The one adapter between rules and the library: it runs the step that a rule's params name."""

import sys
from pathlib import Path

# The library beside this file, and not that of another checkout which the environment was made for.
if (Path(__file__).parent / "upfield").is_dir():
    sys.path.insert(0, str(Path(__file__).parent))

from upfield.step import run

run(snakemake)
