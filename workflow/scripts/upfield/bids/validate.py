"""The official validator's verdict on a dataset, as a table: said, never enforced."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from upfield.files import write_tsv
from upfield.step import step

COLUMNS = ["dataset", "severity", "code", "files", "example", "message"]
PROGRAM = "bids-validator-deno"
# A network drive with a thousand participants takes minutes.
SECONDS = 1800


@step(version=0, memory=(400, 0.5), minutes=(0.5, 0.01))
def validate(datasets: Sequence[str], validation: str) -> None:
    """Write what the validator says of some datasets."""
    write_tsv(validation, validation_table(datasets))


def validation_table(folders: Iterable[str | Path]) -> pd.DataFrame:
    """One row per dataset and kind of issue, errors first: `dataset, severity, code, files, example, message`.

    `severity` is `error` or `warning`; a dataset without issues has one row `valid`, one that could not be checked
    has one row `unknown` with the reason.
    """
    rows = [row for folder in dict.fromkeys(map(str, folders)) for row in _issues(folder)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _issues(folder: str) -> list[tuple[str, str, str, int, str, str]]:
    program = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if program is None:
        return [(folder, "unknown", "n/a", 0, "n/a", f"{PROGRAM} is not installed")]
    try:
        done = subprocess.run([program, "--json", folder], capture_output=True, text=True, timeout=SECONDS, check=False)
        report = json.loads(done.stdout)["issues"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return [(folder, "unknown", "n/a", 0, "n/a", f"{PROGRAM} gave no verdict ({type(error).__name__})")]
    found: dict[tuple[str, str], list[str]] = {}
    for issue in report["issues"]:
        if issue.get("severity") in ("error", "warning"):
            found.setdefault((issue["severity"], issue["code"]), []).append(issue.get("location", ""))
    messages = report.get("codeMessages", {})
    rows = [
        (folder, severity, code, len(set(places)), places[0].lstrip("/"), " ".join(messages.get(code, "").split()))
        for (severity, code), places in sorted(found.items())
    ]
    return rows or [(folder, "valid", "n/a", 0, "n/a", "no errors and no warnings")]
