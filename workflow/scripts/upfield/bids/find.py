"""Which scans a dataset has: by entities and sidecar fields; and whether each can be read."""

import errno
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield import foreign
from upfield.bids import matching, odd
from upfield.bids.choose import acquisition_time
from upfield.bids.odd import EXTENSIONS
from upfield.bids.scan import Scan, changed
from upfield.bids.sidecars import Sidecars
from upfield.errors import PassingError, ScanError, UpfieldError
from upfield.image import identity, likeness, nifti

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
    times: bool = True,
    sidecars: Sidecars | None = None,
) -> list[Scan]:
    """Scans of a dataset whose entities and sidecar fields match, in path order; image files are not opened.

    `entities` and `metadata` map a name to one value or a list of values, `metadata` also to a range `{min, max}` of
    numbers, both included. Metadata are read with BIDS inheritance. `columns` is the dataset's `listing`, if it has
    been made already, and `sidecars` those that have been read. With `times` it is looked up when a scan was acquired.
    A scan that would match but is not named as BIDS wants, or whose sidecar is damaged where the filters need it, says
    so in `problem`. Raises UpfieldError for an unknown entity name, a value that cannot be meant, and for a range that
    holds no number.
    """
    root = Path(bids_dir).resolve()
    columns = listing(root) if columns is None else columns
    wanted = {_entity_key(name): matching.labels(role, name, value) for name, value in entities.items()}
    for name, value in metadata.items():
        matching.check_range(role, name, value)
    sidecars = Sidecars(root) if sidecars is None else sidecars
    scans = []
    for path, known in _named(root, columns):
        problem = odd.problem(path)
        if not all(matching.label_matches(known.get(key), values) for key, values in wanted.items()):
            continue
        found, damage = sidecars.fields(root / path)
        fields = foreign.understood(found, str(path))
        unmet = [
            key
            for key, value in metadata.items()
            if not any(matching.field_matches(role, key, row.get(key), value) for row in (fields, found))
        ]
        if unmet and not (damage and all(key not in found for key in unmet)):
            continue
        if unmet:
            problem = problem or f"metadata asks for {unmet[0]}, but {damage}"
        suffix = str(known["suffix"])
        scans.append(
            Scan(
                participant=f"sub-{known['sub']}",
                role=role,
                path=str(root / path),
                folder=path.parent.as_posix(),
                name=odd.stem(path.name).removesuffix(f"_{suffix}"),
                suffix=suffix,
                session=known.get("ses") or "n/a",
                metadata={key: fields[key] for key in KEPT_METADATA if key in fields},
                acquired=acquisition_time(root / path, fields) if times else "",
                problem=problem,
            )
        )
    return sorted(scans, key=lambda scan: scan.path)


def _named(root: Path, columns: Mapping[str, Sequence[Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The images of a dataset, relative to its folder, with their entities."""
    keys = [key for key in ENTITY_KEYS.values() if key in columns]
    paths = columns.get("path", [])
    for row, name in enumerate(paths):
        path = Path(name)
        if odd.extension(path.name).lower() not in EXTENSIONS or columns["sub"][row] is None:
            continue
        known = {key: columns[key][row] for key in keys if columns[key][row] is not None}
        # Whose a scan is, and of which session, is the folder's word: a copied folder must not be the original's.
        yield path, {**known, **{key: value for key, value in odd.entities(path).items() if key in ("sub", "ses")}}
    for path in odd.unlisted(root, paths):
        yield path, odd.entities(path)


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


def inspect(scan: Scan) -> Scan:
    """`scan` with shape, voxel size and bytes filled in; the image is read whole, and `problem` says what is wrong.

    What no scan of a head can be is refused by its header, before anything is read of it or asked for.
    Raises PassingError where not the file is at fault but what is around it, such as a network drive.
    """
    path = Path(scan.path)
    if scan.dicom:
        try:
            if not path.is_file():
                # Not converted yet.
                return scan if any(Path(scan.dicom).iterdir()) else changed(scan, problem="the DICOM folder is empty")
        except OSError as error:
            raise PassingError(_passing(scan.dicom, error)) from None
    try:
        if path.exists() and not path.is_file():
            # Opened, a pipe would wait for ever.
            return changed(scan, problem="it is a folder, a pipe or a device; expected a file")
        # NIfTI's reader takes a file that it may not open for one that is not there, or of another kind.
        with path.open("rb") as file:
            file.read(1)
        size = path.stat().st_size
    except OSError as error:
        if error.errno in nifti.PASSING:
            raise PassingError(_passing(path, error)) from None
        if error.errno == errno.ENOENT:
            return changed(scan, problem="the file does not exist")
        size = 0
    try:
        volume = nifti.load_scan(path)
    except ScanError as error:
        return changed(scan, size=size, problem=str(error))
    voxel = tuple(round(float(v), 4) for v in volume.grid.spacing)
    known = {"voxels": identity.of(volume.data), "detail": likeness.detail(volume)}
    return changed(scan, size=size, shape=volume.data.shape, voxel=voxel, **known)


def _passing(path: str | Path, error: BaseException) -> str:
    reason = (error.strerror if isinstance(error, OSError) else "") or " ".join(str(error).split()) or "no memory"
    return f"{path} cannot be read now ({reason[:80]})"
