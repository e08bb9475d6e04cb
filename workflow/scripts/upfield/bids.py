"""BIDS in and out: which scans there are, which belong together, how derivatives are called."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bids2table as b2t
import pandas as pd
from tqdm import tqdm

import upfield
from upfield import nifti
from upfield.errors import ScanError, UpfieldError
from upfield.files import digest, read_json, write_json

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
# Stands for the path of a scan that nobody acquired.
SIMULATED = "n/a"
KEPT_METADATA = ("MagneticFieldStrength", "Manufacturer", "ManufacturersModelName")


# Folders and files of a study that BIDS has no name for.
IGNORED = "".join(
    f"{pattern}\n"
    for pattern in ("patches", "models", "metrics", "report", "logs", "benchmarks", "*.tsv", "**/*_xfm.*")
)


@dataclass(frozen=True)
class Scan:
    """One scan: where it is, what BIDS says of it, and why it cannot be used (`problem`, empty if it can).

    `name` is its file name without suffix and extension (`sub-01_ses-1`); `folder` its folder relative to the
    dataset (`sub-01/ses-1/anat`). Derivatives keep both.
    """

    participant: str
    role: str
    path: str
    folder: str
    name: str
    suffix: str
    session: str = "n/a"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    voxel: tuple[float, ...] = ()
    size: int = 0
    problem: str = ""

    @property
    def key(self) -> str:
        """Name and suffix: unique among the scans of a study."""
        return f"{self.name}_{self.suffix}"

    @property
    def simulated(self) -> bool:
        """Whether this scan is made from another by degradation rather than acquired."""
        return self.path == SIMULATED


@dataclass(frozen=True)
class Pair:
    """A participant's source scan and target scan."""

    participant: str
    source: Scan
    target: Scan


@dataclass(frozen=True)
class Exclusion:
    """A scan or participant left out: in which stage, and why."""

    participant: str
    role: str
    path: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Index:
    """All scans that the filters match, the pairs they form, and what was left out."""

    scans: Sequence[Scan]
    pairs: Sequence[Pair]
    excluded: Sequence[Exclusion]


def derivative(root: str | Path, scan: Scan, description: str, suffix: str | None = None, extra: str = "") -> str:
    """Path of a derivative: `<root>/<folder>/<name>[_extra]_desc-<description>_<suffix>.nii.gz`.

    BIDS allows only letters and digits in a label, so anything else is dropped (`unet3d_patchgan` becomes
    `unet3dpatchgan`).
    """
    middle = f"_{extra}" if extra else ""
    return f"{root}/{scan.folder}/{scan.name}{middle}_desc-{label(description)}_{suffix or scan.suffix}.nii.gz"


def label(text: str) -> str:
    """`text` as a BIDS label: letters and digits only."""
    return "".join(character for character in text if character.isalnum())


def reconstructed(name: str, kind: str) -> str:
    """`name` with the entity `rec-<kind>` where BIDS wants it: after acq and ce, before run; added to an old one."""
    first: list[str] = []
    last: list[str] = []
    for entity in name.split("_"):
        key, _, value = entity.partition("-")
        if key == "rec":
            kind = value + kind
        else:
            (first if key in ("sub", "ses", "sample", "acq", "ce") else last).append(entity)
    return "_".join([*first, f"rec-{kind}", *last])


def sidecar(path: str | Path) -> Path:
    """The JSON file that belongs to an image or a transform."""
    return Path(str(path).removesuffix(".gz")).with_suffix(".json")


def find(bids_dir: str | Path, role: str, entities: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[Scan]:
    """Scans of a dataset whose entities and sidecar fields match, in path order; image files are not opened.

    `entities` and `metadata` map a name to one value or a list of values. Metadata are read with BIDS
    inheritance. Raises UpfieldError for an unknown entity name.
    """
    root = Path(bids_dir).resolve()
    logging.getLogger("bids2table").setLevel(logging.ERROR)
    columns = b2t.index_dataset(root).to_pydict()
    count = len(columns.get("path", []))
    wanted = {_entity_key(name): _values(value) for name, value in entities.items()}
    scans = []
    for row in range(count):
        if columns["ext"][row] not in EXTENSIONS or columns["sub"][row] is None:
            continue
        if any(_text(columns[key][row]) not in values for key, values in wanted.items()):
            continue
        path = Path(columns["path"][row])
        fields = b2t.load_bids_metadata(root / path)
        if any(_text(fields.get(key)) not in _values(value) for key, value in metadata.items()):
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
            )
        )
    return sorted(scans, key=lambda scan: scan.path)


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


def inspect(scan: Scan) -> Scan:
    """`scan` with shape, voxel size and bytes filled in; the image is read whole, and `problem` says what is wrong."""
    path = Path(scan.path)
    size = path.stat().st_size if path.is_file() else 0
    try:
        volume = nifti.load(path)
    except ScanError as error:
        return _replace(scan, size=size, problem=str(error))
    voxel = tuple(round(float(v), 4) for v in volume.grid.spacing)
    return _replace(scan, size=size, shape=volume.data.shape, voxel=voxel)


def _replace(scan: Scan, **changes: Any) -> Scan:
    return Scan(**{**asdict(scan), **changes})


def pair(sources: Iterable[Scan], targets: Iterable[Scan]) -> tuple[list[Pair], list[Exclusion]]:
    """Match sources and targets by participant: one usable scan on each side makes a pair, in participant order.

    Left out, each with a reason: a scan that cannot be read, a second scan of one side (the first by path is
    used), a scan without a counterpart.
    """
    excluded: list[Exclusion] = []
    usable: dict[str, dict[str, Scan]] = {}
    everyone: dict[str, None] = {}
    for scan in [*sources, *targets]:
        everyone[scan.participant] = None
        found = usable.setdefault(scan.participant, {})
        if scan.problem:
            excluded.append(_exclude(scan, scan.problem))
        elif scan.role in found:
            excluded.append(
                _exclude(scan, f"more than one {scan.role} scan; {Path(found[scan.role].path).name} is used")
            )
        else:
            found[scan.role] = scan
    pairs = []
    for participant in sorted(everyone):
        found = usable[participant]
        if len(found) == 2:
            pairs.append(_named_apart(Pair(participant, found["source"], found["target"])))
        # A counterpart that cannot be read has its own row, which names the participant already.
        elif len(found) == 1:
            (scan,) = found.values()
            other = "target" if scan.role == "source" else "source"
            broken = any(row.participant == participant and row.role == other for row in excluded)
            if not broken:
                excluded.append(_exclude(scan, f"no {other} scan of this participant matches the filters"))
    return pairs, excluded


def _exclude(scan: Scan, reason: str) -> Exclusion:
    return Exclusion(scan.participant, scan.role, scan.path, "ingest", reason)


def _named_apart(found: Pair) -> Pair:
    """Source and target of two datasets may have the same name; the source's derivatives then say which they are."""
    if found.source.name != found.target.name:
        return found
    return Pair(
        found.participant, _replace(found.source, name=reconstructed(found.source.name, "source")), found.target
    )


def simulated_source(target: Scan) -> Scan:
    """The scan that degradation will make from `target`."""
    return _replace(target, role="source", name=reconstructed(target.name, "simulated"), path=SIMULATED, metadata={})


def build_index(config: Mapping[str, Any], cache: Path | None = None, rescan: bool = True) -> Index:
    """Find, inspect and pair the scans of a study.

    `cache` is a JSON file in which inspected scans are kept: with `rescan` only new or changed files are opened
    again; without it (a cluster job) the file is trusted as it is and the dataset is not touched.
    Raises UpfieldError if no pair is left.
    """
    key = digest({side: config[side] for side in ("source", "target")} | {"pairing": config["pairing"]})
    known = read_json(cache) if cache is not None and cache.is_file() else {}
    if not rescan and known.get("key") == key:
        scans = [_from_json(row) for row in known["scans"]]
    else:
        sides = ["target"] if config["pairing"] == "simulated" else ["source", "target"]
        found = [scan for side in sides for scan in find(role=side, **config[side])]
        scans = _inspect_all(found, {row["path"]: row for row in known.get("scans", [])})
        fresh = {"key": key, "scans": [_to_json(scan) for scan in scans]}
        if cache is not None and fresh != known:
            write_json(cache, fresh)
    return assemble(scans, config["pairing"])


def assemble(scans: Sequence[Scan], pairing: str) -> Index:
    """Pair scans; for `simulated` pairing every usable target gets a source that degradation will make."""
    targets = [scan for scan in scans if scan.role == "target"]
    sources = [scan for scan in scans if scan.role == "source"]
    if pairing == "simulated":
        sources = [simulated_source(scan) for scan in targets if not scan.problem]
    pairs, excluded = pair(sources, targets)
    # A duplicate target's simulated twin is not a scan that anybody acquired: one row is enough.
    excluded = [row for row in excluded if row.path != SIMULATED]
    same = next((pair.target.path for pair in pairs if pair.source.path == pair.target.path), None)
    if same is not None:
        raise UpfieldError(f"config: source and target filters match the same scan ({same}); tell them apart")
    if not pairs:
        reasons = "; ".join(f"{row.participant}: {row.reason}" for row in excluded[:3]) or "no scan matches the filters"
        raise UpfieldError(f"config: no pair of source and target scans was found ({reasons})")
    return Index(scans, pairs, excluded)


def _inspect_all(scans: list[Scan], known: Mapping[str, Mapping[str, Any]]) -> list[Scan]:
    result = []
    fresh = [scan for scan in scans if not _unchanged(scan, known)]
    bar = tqdm(total=len(fresh), desc="reading scans", unit="scan", disable=len(fresh) < 20)
    for scan in scans:
        if _unchanged(scan, known):
            old = _from_json(dict(known[scan.path]))
            result.append(_replace(scan, shape=old.shape, voxel=old.voxel, size=old.size, problem=old.problem))
        else:
            result.append(inspect(scan))
            bar.update()
    bar.close()
    return result


def _stamp(path: str) -> list[int]:
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _unchanged(scan: Scan, known: Mapping[str, Mapping[str, Any]]) -> bool:
    old = known.get(scan.path)
    return old is not None and Path(scan.path).is_file() and old["stamp"] == _stamp(scan.path)


def _to_json(scan: Scan) -> dict[str, Any]:
    row = {**asdict(scan), "shape": list(scan.shape), "voxel": list(scan.voxel)}
    return {**row, "stamp": _stamp(scan.path) if Path(scan.path).is_file() else []}


def _from_json(row: Mapping[str, Any]) -> Scan:
    values = {key: value for key, value in row.items() if key != "stamp"}
    return Scan(**{**values, "shape": tuple(values["shape"]), "voxel": tuple(values["voxel"])})


def inventory_table(index: Index) -> pd.DataFrame:
    """Every scan found, one row each, with `status` (paired | excluded) and `reason`."""
    reasons = {(row.role, row.path): row.reason for row in index.excluded}
    used = {(scan.role, scan.path) for pair in index.pairs for scan in (pair.source, pair.target)}
    unpaired = "the scan it belongs with cannot be used"
    rows = [
        {
            "participant_id": scan.participant,
            "role": scan.role,
            "session": scan.session,
            "path": scan.path,
            "shape": "x".join(map(str, scan.shape)) or "n/a",
            "voxel_mm": "x".join(f"{v:g}" for v in scan.voxel) or "n/a",
            "field_strength_t": scan.metadata.get("MagneticFieldStrength", "n/a"),
            "manufacturer": scan.metadata.get("Manufacturer", "n/a"),
            "bytes": scan.size,
            "status": "paired" if (scan.role, scan.path) in used else "excluded",
            "reason": "n/a" if (scan.role, scan.path) in used else reasons.get((scan.role, scan.path), unpaired),
        }
        for scan in index.scans
    ]
    return pd.DataFrame(rows)


def pairs_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per pair; `source_path` is n/a where the source is simulated."""
    columns = ["participant_id", "source_path", "target_path", "source_name", "target_name"]
    rows = [(p.participant, p.source.path, p.target.path, p.source.key, p.target.key) for p in pairs]
    return pd.DataFrame(rows, columns=columns)


def excluded_table(excluded: Sequence[Exclusion]) -> pd.DataFrame:
    """One row per scan left out."""
    rows = [(row.participant, row.role, row.path, row.stage, row.reason) for row in excluded]
    return pd.DataFrame(rows, columns=["participant_id", "role", "path", "stage", "reason"])


def participants_table(bids_dirs: Iterable[str | None]) -> pd.DataFrame:
    """participants.tsv of the datasets, laid under each other; empty where there is none."""
    tables = [
        pd.read_csv(Path(folder) / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
        for folder in dict.fromkeys(bids_dirs)
        if folder is not None and (Path(folder) / "participants.tsv").is_file()
    ]
    if not tables:
        return pd.DataFrame({"participant_id": pd.Series(dtype=str)})
    return pd.concat(tables).drop_duplicates("participant_id").reset_index(drop=True)


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
            "SourceDatasets": [{"URL": Path(folder).resolve().as_uri()} for folder in folders if folder is not None],
        },
    )
