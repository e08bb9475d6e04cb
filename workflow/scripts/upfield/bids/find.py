"""Which scans a dataset has: by entities and sidecar fields; and whether each can be read."""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield import foreign
from upfield.bids import matching, odd
from upfield.bids.acquired import acquisition_time
from upfield.bids.listing import listing
from upfield.bids.scan import Scan, changed
from upfield.bids.sidecars import Sidecars
from upfield.bids.unmatched import unmatched
from upfield.catalogue.rules import hint
from upfield.errors import PassingError, ScanError, UpfieldError
from upfield.image import identity, likeness, nifti

# Short names of entities, as in names of files, by the long names that BIDS and our config use.
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
# What an OSError says of a path, and not of the machine.
UNUSABLE = {
    errno.ENOENT: "the file does not exist",
    errno.ENOTDIR: "the file does not exist: what its path takes for a folder is a file",
    errno.ELOOP: "it is a link, or below one, that leads back to itself",
    errno.ENAMETOOLONG: "its path, or a name in it, is longer than the file system takes",
}
KEPT_METADATA = ("MagneticFieldStrength", "Manufacturer", "ManufacturersModelName")


def find(
    bids_dir: str | Path,
    role: str,
    entities: Mapping[str, Any],
    metadata: Mapping[str, Any],
    listed: Sequence[Path] | None = None,
    times: bool = True,
    sidecars: Sidecars | None = None,
) -> list[Scan]:
    """Scans of a dataset whose entities and sidecar fields match, in path order; image files are not opened.

    `entities` and `metadata` map a name to one value or a list of values, `metadata` also to a range `{min, max}` of
    numbers, both included. Metadata are read with BIDS inheritance. `listed` is the dataset's `listing`, if it has
    been made already, and `sidecars` those that have been read. With `times` it is looked up when a scan was acquired.
    A scan that would match but is not named as BIDS wants, or whose sidecar is damaged where the filters need it, says
    so in `problem`. Raises UpfieldError for an unknown entity name, a value that cannot be meant, and for a range that
    holds no number.
    """
    root = Path(bids_dir).resolve()
    keys = {name: _entity_key(name) for name in entities}
    wanted = {keys[name]: matching.labels(role, name, value, keys[name]) for name, value in entities.items()}
    for name, value in metadata.items():
        matching.check_range(role, name, value)
    sidecars = Sidecars(root) if sidecars is None else sidecars
    scans = []
    for path in listing(root) if listed is None else listed:
        known, problem = odd.entities(path), odd.problem(path)
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
        suffix = known["suffix"]
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


def find_some(
    bids_dir: str | Path,
    role: str,
    entities: Mapping[str, Any],
    metadata: Mapping[str, Any],
    listed: Sequence[Path],
    times: bool,
    sidecars: Sidecars,
) -> list[Scan]:
    """What `find` finds; raises UpfieldError, with the filter and what the dataset has, where that is nothing."""
    found = find(bids_dir, role, entities, metadata, listed, times, sidecars)
    if not found:
        wanted = {name: (_entity_key(name), value) for name, value in entities.items()}
        raise UpfieldError(unmatched(role, Path(bids_dir).resolve(), wanted, metadata, listed, sidecars))
    return found


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
        raise UpfieldError(f"config: {name!r:.60} is not a BIDS entity of an image{hint(name, list(ENTITY_KEYS))}")
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
        reason = UNUSABLE.get(error.errno or 0, f"it cannot be opened ({error.strerror})")
        return changed(scan, problem=reason)
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
