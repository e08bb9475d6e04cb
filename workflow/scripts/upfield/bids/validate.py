"""What the official validator says of a dataset, as a table: said, never enforced."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from upfield import program
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
    validator = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if validator is None:
        return [(folder, "unknown", "n/a", 0, "n/a", f"{PROGRAM} is not installed")]
    try:
        done = program.run([validator, "--json", Path(folder).resolve()], seconds=SECONDS)
        # Not strict: line separators inside of texts have become new lines.
        report = json.loads(done.stdout, strict=False)["issues"]
    except (program.ProgramError, ValueError, KeyError) as error:
        reason = str(error) if isinstance(error, program.ProgramError) else done.last_line[:160]
        return [(folder, "unknown", "n/a", 0, "n/a", f"{PROGRAM} gave no report ({reason})")]
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
