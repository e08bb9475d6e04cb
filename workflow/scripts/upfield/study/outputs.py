"""What a study writes as a whole, what in its folder is not of it any more, and what has lost its sidecar."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import label, sidecar
from upfield.bids.layout import KINDS, SCAN, kind_of
from upfield.errors import TEMPORARY
from upfield.files import read_json, write_tsv
from upfield.quality import PICTURES
from upfield.step import step
from upfield.study import kinds, places
from upfield.study.anatomy import FILES, Maps
from upfield.study.application import Application
from upfield.study.cohort import Cohort
from upfield.study.study import Study
from upfield.study.validation import FOLD, Validation

Kind = Cohort | Application | Maps
# One of each in a study.
FIXED = (
    "description", "ignore", "index", "inventory", "pairs", "excluded", "splits", "applied", "validation",
    "quality_table", "report", "reader_key", "reader_images",
)  # fmt: skip
# Of a test participant.
MEASURED = (
    "values", "reference_values", "applied_values", "others_values", "perceptual", "segmentation", "harmonized_values",
    "audit", "structures", "audit_maps", "lesions", "calibration",
    "perception",
)  # fmt: skip
# What is made of scans before anything is learned from them.
OF_SCANS = (
    "converted", "average", "simulated", "mask", "corrected", "transform", "preprocessed", "downsampled",
    "preprocessed_alone",
)  # fmt: skip
# What may be left over. Logs and run times are history, and what was converted may be the user's own raw data.
LOOKED_FOR = (
    *(kind for kind in OF_SCANS if kind != "converted"), "prediction", "uncertainty", "sample", "enhanced",
    "prepared", "typical",
    "external", "tissues", "quality", "picture", "contact_sheet", "store", "model", "card", "history", *MEASURED,
    "appearance", "table", "export",
)  # fmt: skip
KNOWN = {"picture": PICTURES}
SHOWN = 3


@dataclass
class Found:
    """Files of a study's folder, by their paths below it: of kinds that Upfield writes, and half-written ones."""

    # Those that the study does not write (any more), as far as names go.
    others: list[str] = field(default_factory=list)
    # Those that it writes.
    own: set[str] = field(default_factory=set)
    # What was being written when its writer was killed, or is being written.
    temporary: list[Path] = field(default_factory=list)


def written(study: Kind) -> set[str]:
    """Every file and folder of results, sidecars included, that the whole study may write, whatever was asked for.

    Paths below its folder. Of a scan whose results depend on an option (a metric, tissues) all are in it.
    """
    files = {study.paths(kind) for kind in FILES.values()} if study.config["anatomy"] is not None else set()
    if isinstance(study, Cohort | Application):
        files |= set(_of_application(study) if isinstance(study, Application) else _of_cohort(study))
    if isinstance(study, Study):
        files |= set(_of_training(study))
    if isinstance(study, Validation):
        files.add(study.paths("typical", fold=FOLD))
    return {path.removeprefix(f"{study.root}/") for path in files}


def _of_scans(study: Cohort | Application) -> Iterator[str]:
    yield from (study.paths(kind) for kind in FIXED)
    for scan in study.scans.values():
        made = {"average": bool(scan.further), "simulated": scan.simulated, "mask": True, "corrected": True}
        for kind in (kind for kind, wanted in made.items() if wanted):
            yield from study.paths.both(kind, scan)
        yield from _both(study.preprocessed(scan))
        if scan.channel > 0:
            yield from (path for way in (study.to_first(scan), study.from_first(scan)) for path in _both(way))
        if study.template is not None:
            yield from _both(study.to_template(scan))
            yield from _both(study.from_template(scan))


def _of_application(study: Application) -> Iterator[str]:
    yield from _of_scans(study)
    for scan, *_ in study.groups:
        yield from _both(study.enhanced(scan))


def _of_training(study: Study) -> Iterator[str]:
    paths, methods = study.paths, study.methods
    yield from (paths("store", store=store) for store in study.contents)
    yield from (
        paths(kind, method=method, fold=fold, seed=seed)
        for method in methods.trained
        for fold in study.folds.names
        for seed in methods.seeds(method)
        for kind in ("model", "card", "history")
    )
    for method in (name for name, found in methods.external.items() if found.command):
        for pair in study.pairs.values():
            yield from paths.both("external", pair.source, method=method)
    yield from (paths("typical", fold=fold) for fold in study.folds.names if study.as_applied)


def _of_cohort(study: Cohort) -> Iterator[str]:
    yield from _of_scans(study)
    for path in study.series:
        yield from _both(path)
    paths, methods = study.paths, study.methods
    for pair in study.pair_names.values():
        for scan in (*pair.sources, pair.target):
            yield from paths.both("preprocessed", scan)
        for scan in pair.sources:
            yield from _both(study.transform(scan))
            yield from _both(study.inverse(scan))
            for scale in methods.scales:
                yield from _both(study.preprocessed(scan, scale))
    yield from (paths("quality", store=store) for store in study.contents)
    yield from (path for store in study.contents for path in study.pictures(store))
    yield from (paths("appearance", participant=participant) for participant in study.contents)
    yield from (paths("contact_sheet", sheet=sheet) for sheet in study.sheets)
    for participant in study.tested:
        for method in methods.names:
            yield from _both(study.prediction(method, participant))
        for method in methods.uncertain:
            yield from _both(study.uncertainty(method, participant))
        for method in methods.samplers:
            yield from _both(study.sample(method, participant))
        for method in study.as_applied:
            for path in study.prepared(participant, method):
                yield from _both(path)
            yield from _both(study.enhanced(method, participant))
        yield from paths.both("tissues", study.judged_scans(participant)[0])
        yield from (paths(kind, participant=participant) for kind in MEASURED)
    yield from (paths("table", table=table) for table in study.every_table)
    yield from (paths("export", method=method) for method in methods.names)


def _both(path: str) -> tuple[str, str]:
    return path, str(sidecar(path))


def find(study: Kind) -> Found:
    """Look through the folder of a study, but for hidden folders."""
    root, result = Path(study.root), Found()
    if not root.is_dir():
        return result
    expected = written(study)
    for folder, names, files in os.walk(root):
        inside = Path(folder).relative_to(root).as_posix()
        at = "" if inside == "." else f"{inside}/"
        names[:] = sorted(name for name in names if not name.startswith(".") or not at)
        result.temporary += [Path(folder, name) for name in files if name.startswith(TEMPORARY)]
        if at.startswith("."):
            names[:] = []
            continue
        # A folder that is one result, such as the maps of a participant.
        whole = [name for name in names if _is_one(at + name)]
        for path in (at + name for name in (*sorted(files), *whole)):
            if path in expected:
                result.own.add(path)
            elif kind_of(path, KNOWN, LOOKED_FOR) is not None:
                result.others.append(path)
        names[:] = [name for name in names if name not in whole]
    return result


def _is_one(path: str) -> bool:
    return kind_of(path, KNOWN, places.FOLDERS) is not None


def left_over(study: Kind, found: Found) -> list[str]:
    """The files that a study does not write any more: of other participants, methods, splits, seeds or options.

    Never the user's own: of what lies among the images only those whose sidecar Upfield wrote, with the sidecar. Nor
    what the configuration names to be read.
    """
    if not found.others:
        return []
    root = Path(study.root)
    kept = [Path(path).resolve() for _, path in places.read_by(study.config)]
    result = []
    for path in found.others:
        whole = (root / path).resolve()
        if not any(whole == one or one in whole.parents for one in kept) and _ours(root, path):
            result.append(path)
    return result


def _ours(root: Path, path: str) -> bool:
    """Whether Upfield wrote a file, as far as that can be told."""
    kind = kind_of(path, KNOWN, LOOKED_FOR)
    assert kind is not None
    if not KINDS[kind].template.startswith(SCAN):
        return True
    try:
        said = read_json(sidecar(root / path))
        sources = list(said["Sources"])
        method = said.get("Method")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    ours = bool(sources) and all(str(source).startswith(("bids:", "file:")) for source in sources)
    if not ours or "{label}" not in KINDS[kind].template:
        return ours
    # Anything may be called desc-<label>: a prediction says which method's it is.
    return method is not None and f"_desc-{label(str(method))}" in path


def without_sidecar(found: Found, kinds: Sequence[str] | None = None) -> list[str]:
    """The sidecars that images and transforms of the study have lost: without one, nobody knows what is excluded.

    Those of some `kinds` alone, if they are named.
    """
    images = [path for path in found.own if path.endswith((".nii.gz", "_xfm.txt"))]
    lost = (path for path in sorted(images) if sidecar(path).as_posix() not in found.own)
    wanted = (path for path in lost if kinds is None or kind_of(path, KNOWN) in kinds)
    return list(dict.fromkeys(sidecar(path).as_posix() for path in wanted))


def notice(root: str, paths: Sequence[str]) -> str:
    """One line about what is left over; empty if nothing is."""
    if not paths:
        return ""
    shown = ", ".join(paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
    what = "file in {} is" if len(paths) == 1 else "files in {} are"
    return (
        f"{len(paths)} {what.format(root)} not of this study any more ({shown}), from other participants, splits,"
        " methods or options: the target put_aside moves what is left over to .upfield/aside/, out of the way of other"
        " tools"
    )


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.02))
def put_aside(listing: str, config: Mapping[str, Any]) -> None:
    """Move what is left over into the folder of `listing`, a table of it, under the paths that it had."""
    study = kinds.of(config, rescan=False)
    root, folder = Path(study.root), Path(listing).parent
    paths = left_over(study, find(study))
    for path in paths:
        there = folder / path
        there.parent.mkdir(parents=True, exist_ok=True)
        (root / path).rename(there)
        _remove_empty(root, (root / path).parent)
    write_tsv(listing, pd.DataFrame({"path": paths}, dtype=str))


def _remove_empty(root: Path, folder: Path) -> None:
    """Remove a folder below `root`, and those that it is in, as far as nothing is left in them."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
