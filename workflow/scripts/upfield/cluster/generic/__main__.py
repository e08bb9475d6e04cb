"""What profiles/generic runs: `submit SCRIPT`, `status JOB`, `cancel JOB...`."""

import os
import sys
from pathlib import Path

# Run as a folder, by the Python of Snakemake: the library around this file, and not that of another checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from upfield.cluster.generic import commands
from upfield.errors import UpfieldError

ACTIONS = {"submit": commands.submit, "status": commands.status, "cancel": commands.cancel}

if __name__ == "__main__":
    try:
        ACTIONS[sys.argv[1]](sys.argv[2:], os.environ)
    except UpfieldError as error:
        sys.exit(f"upfield: {error}")
