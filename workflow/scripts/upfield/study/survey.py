"""What scans a BIDS dataset has, before anybody has said what to do with them: their kinds, and what they are like."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from upfield import bids
from upfield.bids import Scan
from upfield.bids.choose import labels_of
from upfield.errors import PassingError, ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess.brain.plausibility import PLAUSIBLE_CM3

FIELD, MAKER, MODEL = "MagneticFieldStrength", "Manufacturer", "ManufacturersModelName"
# Of each kind of scan so many are opened, to see what they are like.
OPENED = 3
# What lies beside scans in folders `anat` and is none.
NO_SCANS = ("mask", "dseg", "probseg")
# Field strengths that differ by no more than this factor are one: a 3 T scanner may call itself 2.89.
ONE_FIELD = 1.2
NONE = "n/a"


@dataclass(frozen=True)
class Seen:
    """What an image that was opened is like: `voxel` in mm, sorted, and whether it is a brain without its head."""

    voxel: tuple[float, ...]
    stripped: bool
    slab: bool


@dataclass(frozen=True)
class Kind:
    """Scans of one suffix that a side of a study can be: its filters, and what those that were opened are like."""

    suffix: str
    scans: Sequence[Scan]
    seen: Sequence[Seen]
    entities: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def people(self) -> frozenset[str]:
        """Who has such a scan."""
        return frozenset(scan.participant for scan in self.scans)

    @property
    def voxel(self) -> tuple[float, ...]:
        """Median voxel in mm, edges sorted; empty where none could be opened."""
        return tuple(np.median([one.voxel for one in self.seen], axis=0).tolist()) if self.seen else ()

    @property
    def field(self) -> float | None:
        """Median field strength in T, as far as sidecars say."""
        known = [value for value in map(_field, self.scans) if value is not None]
        return float(np.median(known)) if known else None

    @property
    def scanners(self) -> list[str]:
        """Makers and models, as far as sidecars say."""
        names = (
            " ".join(str(scan.metadata[key]) for key in (MAKER, MODEL) if key in scan.metadata) for scan in self.scans
        )
        return sorted({name for name in names if name})

    @property
    def stripped(self) -> bool:
        """Whether these are brains without their heads."""
        return bool(self.seen) and all(one.stripped for one in self.seen)

    @property
    def slabs(self) -> bool:
        """Whether these are a few slices each."""
        return bool(self.seen) and all(one.slab for one in self.seen)

    @property
    def described(self) -> str:
        """Field, scanner and voxels, as far as they are known."""
        strength = f"{self.field:g} T" if self.field is not None else ""
        return ", ".join(text for text in (strength, " and ".join(self.scanners), shown(self.voxel)) if text)


def shown(voxel: Sequence[float]) -> str:
    """Edges of a voxel as text; empty if they are not known."""
    return " x ".join(f"{edge:.3g}" for edge in voxel) + " mm" if voxel else ""


class Survey:
    """The anatomical scans of a dataset that a study could use."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        """Look through a dataset, and open a few scans of each kind. Raises UpfieldError if there is none to use.

        `labels` are those of the participants who count, with or without `sub-`; without any it is everybody.
        """
        # As the user calls it, where it is not by way of a link, or of a folder above.
        self.folder = folder.resolve() if ".." in folder.parts else folder.absolute()
        wrong = bids.no_dataset(folder)
        if wrong:
            raise UpfieldError(f"the dataset is {folder}{wrong}")
        found = bids.find(folder, "target", {"datatype": "anat"}, {})
        wanted = labels_of(labels)
        missing = sorted(wanted - {scan.participant for scan in found})
        if missing:
            raise UpfieldError(f"{folder} has no scan of {missing[0]} in a folder anat")
        found = [scan for scan in found if not wanted or scan.participant in wanted]
        self.scans = [scan for scan in found if not scan.problem and not scan.suffix.endswith(NO_SCANS)]
        if not self.scans:
            named = f" ({found[0].name}: {found[0].problem})" if found and found[0].problem else ""
            raise UpfieldError(f"{folder} has no scan in a folder anat that can be used{named}")
        self._seen: dict[str, Seen | None] = {}
        for kind in self.sessions():
            # Evenly spaced: the first participants of a dataset are often its pilots.
            for place in np.linspace(0, len(kind.scans) - 1, min(OPENED, len(kind.scans))).round().astype(int):
                self._open(kind.scans[place])
        self.unreadable = [path for path, one in self._seen.items() if one is None]

    def _open(self, scan: Scan) -> None:
        if scan.path not in self._seen:
            try:
                self._seen[scan.path] = _look(nifti.load_scan(scan.path))
            except (ScanError, PassingError, OSError):
                self._seen[scan.path] = None

    def _kind(self, scans: Iterable[Scan], **filters: Mapping[str, Any]) -> Kind:
        scans = list(scans)
        seen = [one for scan in scans if (one := self._seen.get(scan.path)) is not None]
        return Kind(scans[0].suffix, scans, seen, **filters)

    def _grouped(self, key: Callable[[Scan], Any], filters: Callable[[Any], Mapping[str, Any]]) -> list[Kind]:
        """Scans of one suffix and one value of `key`; those without a value are of no kind."""
        groups: dict[tuple[str, Any], list[Scan]] = {}
        for scan in self.scans:
            if key(scan) is not None:
                groups.setdefault((scan.suffix, key(scan)), []).append(scan)
        return [self._kind(scans, **filters(value)) for (_, value), scans in groups.items()]

    def suffixes(self) -> list[Kind]:
        """Kinds by suffix alone."""
        return self._grouped(lambda scan: "", lambda value: {})

    def sessions(self) -> list[Kind]:
        """Kinds by suffix and session."""
        return self._grouped(
            lambda scan: scan.session,
            lambda session: {} if session == NONE else {"entities": {"session": session}},
        )

    def fields(self) -> list[Kind]:
        """Kinds by suffix and field strength."""
        steps: list[list[float]] = []
        for value in sorted({value for value in map(_field, self.scans) if value is not None}):
            if steps and value <= ONE_FIELD * steps[-1][0]:
                steps[-1].append(value)
            else:
                steps.append([value])
        place: dict[float | None, tuple[float, ...]] = {value: tuple(step) for step in steps for value in step}
        return self._grouped(
            lambda scan: place.get(_field(scan)),
            lambda step: {"metadata": {FIELD: step[0] if len(step) == 1 else list(step)}},
        )

    def scanners(self, key: str) -> list[Kind]:
        """Kinds by suffix and a sidecar's text: maker or model."""
        return self._grouped(lambda scan: scan.metadata.get(key), lambda name: {"metadata": {key: name}})

    @property
    def table(self) -> pd.DataFrame:
        """A row for each kind, by session."""
        rows = [
            {
                "session": kind.scans[0].session,
                "suffix": kind.suffix,
                "participants": len(kind.people),
                "scans": len(kind.scans),
                "field": f"{kind.field:g} T" if kind.field is not None else NONE,
                "scanner": ", ".join(kind.scanners) or NONE,
                "voxels": (shown(kind.voxel) or NONE) + (", skull-stripped" if kind.stripped else ""),
            }
            for kind in self.sessions()
        ]
        return pd.DataFrame(rows).sort_values(["suffix", "session"], ignore_index=True)


def _field(scan: Scan) -> float | None:
    value = scan.metadata.get(FIELD)
    return None if value is None else float(value)


def _look(volume: Volume) -> Seen:
    """What an image is like. Around a brain that was cut out, and at all faces of the image, there is nothing."""
    data, grid = volume.data != 0, volume.grid
    faces = [data.take(place, axis) for axis in range(3) for place in (0, -1)]
    litres = float(data.sum()) * float(np.prod(grid.spacing)) / 1000
    low, high = PLAUSIBLE_CM3
    slab = grid.slab_axis is not None
    stripped = not slab and not any(face.any() for face in faces) and low <= litres <= high
    return Seen(tuple(sorted(round(float(edge), 3) for edge in grid.spacing)), stripped, slab)
