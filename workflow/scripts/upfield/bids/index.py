"""The scans of a study, kept in a file: unchanged ones are not opened again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from upfield.bids.choose import labels_of
from upfield.bids.contrasts import contrasts
from upfield.bids.find import find_some, inspect
from upfield.bids.listing import listing
from upfield.bids.samples import read_samples
from upfield.bids.scan import Scan, changed
from upfield.bids.sidecars import Sidecars
from upfield.errors import PassingError, UpfieldError
from upfield.files import digest, read_json, write_json


def read_scans(
    config: Mapping[str, Any], sides: Sequence[str], cache: Path | None = None, rescan: bool = True
) -> list[Scan]:
    """Find and inspect the scans of some sides (`source`, `target`) of a configuration.

    `cache` is a JSON file in which inspected scans are kept: with `rescan` only new or changed files are opened
    again; without it (a cluster job) the file is trusted as it is and the dataset is not touched. A scan that could
    not be used is opened each time. Raises UpfieldError for one that cannot be read now (no permission, a network
    drive), unless its participant is excluded.
    """
    kept = ("bids_dir", "entities", "metadata", "channels")
    filters = {side: {name: value for name, value in config[side].items() if name in kept} for side in sides}
    samples = config["samples"]
    key = digest(filters if samples is None else [filters, digest(Path(samples))])
    known = read_json(cache) if cache is not None and cache.is_file() else {}
    if not rescan and known.get("key") == key:
        return [_from_json(row) for row in known["scans"]]
    newest = config.get("duplicates") == "newest"
    found = _found(filters, newest) if samples is None else _listed(config, sides)
    unwanted = labels_of(config["participants"]["exclude"])
    scans = _inspect_all(found, {row["path"]: row for row in known.get("scans", [])}, unwanted)
    fresh = {"key": key, "scans": [_to_json(scan) for scan in scans]}
    if cache is not None and fresh != known:
        write_json(cache, fresh)
    return scans


def _found(filters: Mapping[str, Mapping[str, Any]], times: bool) -> list[Scan]:
    """The scans that match the filters of each side."""
    # Both sides are often in one dataset, which is looked through once.
    files = {folder: listing(folder) for folder in {wanted["bids_dir"] for wanted in filters.values()}}
    known = {folder: Sidecars(Path(folder).resolve()) for folder in files}
    return [
        replace(scan, channel=number)
        for side, wanted in filters.items()
        for folder in [wanted["bids_dir"]]
        for number, entities in enumerate(contrasts(wanted))
        for scan in find_some(folder, side, entities, wanted["metadata"], files[folder], times, known[folder])
    ]


def _listed(config: Mapping[str, Any], sides: Sequence[str]) -> list[Scan]:
    """The scans of the study's table."""
    suffixes = {}
    for side in sides:
        suffix = config[side]["entities"].get("suffix", "T1w")
        suffixes[side] = str(suffix[0] if isinstance(suffix, list) else suffix)
    # BIDS knows this folder of a derivative dataset as that of the raw dataset it is made from.
    converted = Path(config["output_dir"]) / config["study"] / "sourcedata" / "raw"
    return read_samples(config["samples"], suffixes, converted)


def _inspect_all(scans: list[Scan], known: Mapping[str, Mapping[str, Any]], unwanted: set[str]) -> list[Scan]:
    from tqdm import tqdm

    result = []
    fresh = [scan for scan in scans if not scan.problem and not _unchanged(scan, known)]
    bar = tqdm(total=len(fresh), desc="reading scans", unit="scan", disable=True if len(fresh) < 20 else None)
    for scan in scans:
        if scan.problem:
            result.append(scan)
        elif _unchanged(scan, known):
            old = _from_json(dict(known[scan.path]))
            seen = {"voxels": old.voxels, "detail": old.detail}
            result.append(changed(scan, shape=old.shape, voxel=old.voxel, size=old.size, **seen))
        else:
            result.append(_inspected(scan, unwanted))
            bar.update()
    bar.close()
    return result


def _inspected(scan: Scan, unwanted: set[str]) -> Scan:
    try:
        return inspect(scan)
    except PassingError as error:
        if scan.participant in unwanted:
            return changed(scan, problem=str(error))
        raise UpfieldError(
            f"{error}; nothing is remembered of it: run again when it can, or name {scan.participant} in"
            " participants.exclude"
        ) from None


def _stamp(path: str) -> list[int]:
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _unchanged(scan: Scan, known: Mapping[str, Mapping[str, Any]]) -> bool:
    old = known.get(scan.path)
    # Why a scan could not be used may lie in what was around it then: only what was read well is remembered.
    # One without the detail of its image was read by an older version.
    return old is not None and not old["problem"] and "detail" in old and _stamp(scan.path) == old["stamp"] != []


def _to_json(scan: Scan) -> dict[str, Any]:
    row = {**asdict(scan), "shape": list(scan.shape), "voxel": list(scan.voxel), "further": []}
    return {**row, "stamp": _stamp(scan.path)}


def _from_json(row: Mapping[str, Any]) -> Scan:
    values = {key: value for key, value in row.items() if key != "stamp"}
    return Scan(**{**values, "shape": tuple(values["shape"]), "voxel": tuple(values["voxel"]), "further": ()})
