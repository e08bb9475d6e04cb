"""The one adapter between rules and the library: it runs the step that a rule's params name."""

import sys
from pathlib import Path

# The library beside this file, and not that of another checkout which the environment was made for.
if (Path(__file__).parent / "upfield").is_dir():
    sys.path.insert(0, str(Path(__file__).parent))

from upfield.errors import of_machine

try:
    from upfield.step import run
except (ImportError, MemoryError) as error:
    # Too little memory for the libraries, before anything of a job is there to say so.
    told = of_machine(error)
    if told is None:
        raise
    sys.exit(f"upfield: {snakemake.rule} {' '.join(snakemake.wildcards)}: {told}")

run(snakemake)
