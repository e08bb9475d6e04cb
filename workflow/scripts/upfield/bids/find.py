"""Which scans a dataset has: by entities and sidecar fields; and whether each can be read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upfield.bids.choose import acquisition_time
from upfield.bids.scan import Scan, changed
from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti

# bids2table's short names of entities, by the long names that BIDS and our config use.
ENTITY_KEYS = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "run": "run",
    "space": "space",
    "part": "part",
    "echo": "echo",
    "inversion": "inv",
    "suffix": "suffix",
    "datatype": "datatype",
}
EXTENSIONS = (".nii", ".nii.gz")
KEPT_METADATA = ("MagneticFieldStrength", "Manufacturer", "ManufacturersModelName")


def listing(bids_dir: str | Path) -> dict[str, list[Any]]:
    """The files of a dataset with their entities: one list per column of bids2table."""
    # Imported where it is used, as in `find`: training and prediction know names of files and look for none.
    import bids2table as b2t

    logging.getLogger("bids2table").setLevel(logging.ERROR)
    columns: dict[str, list[Any]] = b2t.index_dataset(Path(bids_dir).resolve()).to_pydict()
    return columns


def find(
    bids_dir: str | Path,
    role: str,
    entities: Mapping[str, Any],
    metadata: Mapping[str, Any],
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> list[Scan]:
    """Scans of a dataset whose entities and sidecar fields match, in path order; image files are not opened.

    `entities` and `metadata` map a name to one value or a list of values, `metadata` also to a range `{min, max}` of
    numbers, both included. Metadata are read with BIDS inheritance. `columns` is the dataset's `listing`, if it has
    been made already. Raises UpfieldError for an unknown entity name, and for a range that holds no number.
    """
    import bids2table as b2t

    root = Path(bids_dir).resolve()
    columns = listing(root) if columns is None else columns
    count = len(columns.get("path", []))
    wanted = {_entity_key(name): _values(value) for name, value in entities.items()}
    for name, value in metadata.items():
        _check_range(role, name, value)
    scans = []
    for row in range(count):
        if columns["ext"][row] not in EXTENSIONS or columns["sub"][row] is None:
            continue
        if any(_text(columns[key][row]) not in values for key, values in wanted.items()):
            continue
        path = Path(columns["path"][row])
        fields = b2t.load_bids_metadata(root / path)
        if not all(_matches(fields.get(key), value) for key, value in metadata.items()):
            continue
        suffix = str(columns["suffix"][row])
        stem = path.name.split(".")[0]
        scans.append(
            Scan(
                participant=f"sub-{columns['sub'][row]}",
                role=role,
                path=str(root / path),
                folder=str(path.parent),
                name=stem.removesuffix(f"_{suffix}"),
                suffix=suffix,
                session=columns["ses"][row] or "n/a",
                metadata={key: fields[key] for key in KEPT_METADATA if key in fields},
                acquired=acquisition_time(root / path, fields),
            )
        )
    return sorted(scans, key=lambda scan: scan.path)


def brain_masks(scan: Scan, bids_dir: str, derivatives: str | None) -> list[str]:
    """Brain masks of an acquired scan on its own grid, `*_desc-brain_mask.nii[.gz]`, the best place first.

    They are looked for in `derivatives`, a derivative dataset, or if it is None in the scan's own dataset and in every
    folder of its `derivatives`.
    """
    own = Path(bids_dir)
    roots = [Path(derivatives)] if derivatives is not None else [own, *sorted((own / "derivatives").glob("*"))]
    # The scan's name among the derivatives of a study may differ from that of its file.
    stem = Path(scan.path).name.split(".")[0].removesuffix(f"_{scan.suffix}")
    paths = [root / scan.folder / f"{stem}_desc-brain_mask{ext}" for root in roots for ext in (".nii.gz", ".nii")]
    return [str(path) for path in paths if path.is_file()]


def _entity_key(name: str) -> str:
    key = ENTITY_KEYS.get(name, name)
    if key not in ENTITY_KEYS.values():
        raise UpfieldError(
            f"config: {name!r} is not a BIDS entity of an image; expected one of {', '.join(ENTITY_KEYS)}"
        )
    return key


def _text(value: Any) -> str:
    """Entities and sidecar fields are compared as text; 3, 3.0 and "3" are the same, and so are run 1 and 01."""
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)


def _values(value: Any) -> set[str]:
    return {_text(item) for item in (value if isinstance(value, list | tuple) else [value])}


def _check_range(role: str, name: str, wanted: Any) -> None:
    if isinstance(wanted, Mapping) and wanted.get("min", -np.inf) > wanted.get("max", np.inf):
        raise UpfieldError(
            f"config: {role}.metadata.{name} is from {wanted['min']:g} to {wanted['max']:g}; expected min below max"
        )


def _matches(found: Any, wanted: Any) -> bool:
    """Whether a sidecar field is one of some values, or a number of a range."""
    if not isinstance(wanted, Mapping):
        return _text(found) in _values(wanted)
    try:
        return bool(wanted.get("min", -np.inf) <= float(found) <= wanted.get("max", np.inf))
    except (TypeError, ValueError):
        return False


def inspect(scan: Scan) -> Scan:
    """`scan` with shape, voxel size and bytes filled in; the image is read whole, and `problem` says what is wrong.

    What no scan of a head can be is refused by its header, before anything is read of it or asked for.
    """
    path = Path(scan.path)
    size = path.stat().st_size if path.is_file() else 0
    if scan.dicom and not path.is_file():
        # Not converted yet.
        return scan if any(Path(scan.dicom).iterdir()) else changed(scan, problem="the DICOM folder is empty")
    try:
        volume = nifti.load_scan(path)
    except ScanError as error:
        return changed(scan, size=size, problem=str(error))
    voxel = tuple(round(float(v), 4) for v in volume.grid.spacing)
    return changed(scan, size=size, shape=volume.data.shape, voxel=voxel)
