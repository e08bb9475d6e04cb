"""The index as tables, and the files that make a study a BIDS dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import upfield
from upfield.bids.cohorts import cohort_label
from upfield.bids.names import link
from upfield.bids.scan import Exclusion, Index, Pair
from upfield.files import write_json
from upfield.foreign import read_table

NAMES = ("participant_id",)
# Folders and files of a study that BIDS has no name for.
NOT_BIDS = (
    "patches", "models", "metrics", "qc", "report", "reader_study", "logs", "benchmarks", "*.tsv", "**/*_xfm.*",
)  # fmt: skip
IGNORED = "".join(f"{pattern}\n" for pattern in NOT_BIDS)


def inventory_table(index: Index) -> pd.DataFrame:
    """Every scan found, one row each, with `status` (used | excluded) and `reason`."""
    reasons = {(row.role, row.path): row.reason for row in index.excluded}
    used = {(scan.role, path) for scan in index.used for path in (scan.path, *scan.further)}
    unpaired = "the scan it belongs with cannot be used"
    rows = [
        {
            "participant_id": scan.participant,
            "original_id": scan.original or scan.participant,
            "role": scan.role,
            "session": scan.session,
            "path": scan.path,
            "shape": "x".join(map(str, scan.shape)) or "n/a",
            "voxel_mm": "x".join(f"{v:g}" for v in scan.voxel) or "n/a",
            "field_strength_t": scan.metadata.get("MagneticFieldStrength", "n/a"),
            "manufacturer": scan.metadata.get("Manufacturer", "n/a"),
            "bytes": scan.size,
            "status": "used" if (scan.role, scan.path) in used else "excluded",
            "reason": "n/a" if (scan.role, scan.path) in used else reasons.get((scan.role, scan.path), unpaired),
        }
        for scan in index.scans
    ]
    return pd.DataFrame(rows)


def pairs_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per pair; `source_path` is n/a where the source is simulated.

    `source_path_2` and so on are further contrasts of the source, where there are any.
    """
    further = [f"source_path_{number}" for number in range(2, max((len(p.sources) for p in pairs), default=1) + 1)]
    columns = ["participant_id", "source_path", "target_path", "source_name", "target_name", *further]
    rows = [
        (p.participant, p.source.path, p.target.path, p.source.key, p.target.key, *(scan.path for scan in p.others))
        for p in pairs
    ]
    return pd.DataFrame(rows, columns=columns)


def excluded_table(excluded: Sequence[Exclusion]) -> pd.DataFrame:
    """One row per scan left out."""
    rows = [(row.participant, row.role, row.path, row.stage, row.reason) for row in excluded]
    return pd.DataFrame(rows, columns=["participant_id", "role", "path", "stage", "reason"])


def participants_table(bids_dirs: Mapping[str, str | None], cohorts: bool = False) -> pd.DataFrame:
    """participants.tsv of the datasets of both sides, laid under each other; empty where there is none.

    Somebody has a row for each that differs; the index says where it stands, file and line. With `cohorts` the
    participants are called as in an unpaired study. Raises UpfieldError for a table that cannot be read.
    """
    tables = []
    for side, folder in bids_dirs.items():
        if folder is not None and (Path(folder) / "participants.tsv").is_file():
            path = Path(folder) / "participants.tsv"
            table = read_table(path, NAMES, filled=NAMES)
            # Some write 01 for sub-01.
            table["participant_id"] = [f"sub-{name.removeprefix('sub-')}" for name in table["participant_id"]]
            table.index = pd.Index([f"{path}, line {line}" for line in table.index])
            if cohorts:
                table["participant_id"] = [cohort_label(side, name) for name in table["participant_id"]]
            tables.append(table)
    if not tables:
        return pd.DataFrame({"participant_id": pd.Series(dtype=str)})
    return pd.concat(tables).fillna("n/a").drop_duplicates()


def describe_converted(folder: str | Path, study: str) -> None:
    """dataset_description.json of the images that were DICOM series."""
    write_json(Path(folder) / "dataset_description.json", {"Name": f"{study}, converted", "BIDSVersion": "1.10.0"})


def write_description(path: str | Path, config: Mapping[str, Any]) -> None:
    """dataset_description.json of a study's folder: a BIDS derivative dataset."""
    folders = dict.fromkeys(config[side]["bids_dir"] for side in ("source", "target"))
    write_json(
        path,
        {
            "Name": f"Upfield study {config['study']}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "Upfield", "Version": upfield.__version__}],
            "DatasetLinks": {link(folder): Path(folder).resolve().as_uri() for folder in folders if folder is not None},
            "SourceDatasets": [{"URL": Path(folder).resolve().as_uri()} for folder in folders if folder is not None],
        },
    )
