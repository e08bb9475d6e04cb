"""Which of the scans found a study wants: by participant, and among several of one side of a participant."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from upfield import foreign
from upfield.bids.acquired import is_later
from upfield.bids.scan import Exclusion, Scan, changed
from upfield.catalogue.rules import near
from upfield.errors import UpfieldError
from upfield.image import likeness


def choose(
    scans: Sequence[Scan],
    participants: Mapping[str, Sequence[str]],
    duplicates: str,
    one_person: Callable[[Scan, Scan], bool] | None = None,
    travelling: bool = False,
) -> list[Scan]:
    """`scans` by role and participant, the wanted one first; those of unwanted participants say so in `problem`.

    Parameters
    ----------
    participants
        `include` and `exclude`: labels with or without `sub-`; an empty `include` is everybody.
    duplicates
        `first` or `newest`: which of several scans of one side of a participant comes first, and so is used. The
        newest is that with the latest acquisition time; where none is known, the last by path. `average`: the first
        by path, to which the others of its session and suffix are added; `combine`: likewise, and it has the finest
        voxels of all along each axis.
    one_person
        Whether two scans are of one participant, as their labels say. With it, a scan that has the voxels of another
        participant's says so in `problem`, all but the first: one of the labels is wrong. So does one that is nearly
        the same image, unless `participants` keeps `near_copies`.
    travelling
        Whether some people are on both sides under two labels, as a table says: sides are not compared then.

    Raises UpfieldError for a participant who has no scan, or who is included and excluded.

    """
    wanted, unwanted = (labels_of(participants[key]) for key in ("include", "exclude"))
    known = {scan.participant for scan in scans}
    for key, labels in (("include", wanted), ("exclude", unwanted)):
        missing = sorted(labels - known)
        if missing and known:
            meant = next((name for name in known if _bare(name) == _bare(missing[0])), None) or near(missing[0], known)
            raise UpfieldError(
                f"config: participants.{key} names {missing[0]}, of whom no scan matches the filters"
                f"{f'; did you mean {meant}?' if meant else ''}"
            )
    both = sorted(wanted & unwanted)
    if both:
        raise UpfieldError(f"config: participants.include and participants.exclude both name {both[0]}")
    result = []
    for scan in scans:
        if scan.participant in unwanted:
            scan = changed(scan, problem="participants.exclude names this participant")
        elif wanted and scan.participant not in wanted:
            scan = changed(scan, problem="participants.include does not name this participant")
        result.append(scan)
    if duplicates == "newest":
        result = sorted(result, key=_age, reverse=True)
    result = sorted(result, key=lambda scan: (scan.role, scan.participant))
    if one_person is not None:
        result = without_copies(result, one_person)
    if one_person is not None and participants["near_copies"] == "exclude":
        result = without_near_copies(result, one_person, travelling)
    if duplicates == "combine":
        return [_combined(first, others) for first, others in _alike(result)]
    if duplicates == "average":
        return [changed(first, further=tuple(scan.path for scan in others)) for first, others in _alike(result)]
    return result


def without_copies(scans: Iterable[Scan], one_person: Callable[[Scan, Scan], bool]) -> list[Scan]:
    """The scans, of which those with the voxels of an earlier one of another participant say so in `problem`."""
    first: dict[str, Scan] = {}
    result = []
    for scan in scans:
        if scan.voxels and not scan.problem:
            other = first.setdefault(scan.voxels, scan)
            if not one_person(scan, other):
                whose = f"{Path(other.path).name} of {other.participant} ({other.role})"
                scan = changed(scan, problem=f"the same voxels as {whose}")
        result.append(scan)
    return result


def without_near_copies(
    scans: Sequence[Scan], one_person: Callable[[Scan, Scan], bool], travelling: bool
) -> list[Scan]:
    """The scans, of which those nearly the same as an earlier one of another participant say so in `problem`."""
    places = [place for place, scan in enumerate(scans) if scan.detail and not scan.problem]
    alike = likeness.likeness([scans[place].detail for place in places])
    result, gone = list(scans), set[int]()
    for later, earlier in np.argwhere(np.tril(alike, -1) >= likeness.COPY).tolist():
        scan, other = scans[places[later]], scans[places[earlier]]
        apart = travelling and scan.role != other.role
        if not {later, earlier} & gone and not apart and not one_person(scan, other):
            gone.add(later)
            whose = f"{Path(other.path).name} of {other.participant} ({other.role})"
            problem = f"nearly the same image as {whose}: their detail correlates by {alike[later, earlier]:.2f}"
            result[places[later]] = changed(scan, problem=problem)
    return result


def _alike(scans: Sequence[Scan]) -> list[tuple[Scan, list[Scan]]]:
    """Each scan with those like it that come after it, if it is the first of its kind; others alone."""
    kinds: dict[tuple[str | int, ...], list[Scan]] = {}
    for scan in scans:
        if not scan.problem:
            kinds.setdefault((scan.role, scan.participant, scan.channel, scan.session, scan.suffix), []).append(scan)
    further = {id(first): others for first, *others in kinds.values()}
    return [(scan, further.get(id(scan), [])) for scan in scans]


def _combined(first: Scan, others: Sequence[Scan]) -> Scan:
    """A scan that others are added to, with the voxels that it will have."""
    sizes = [size for scan in (first, *others) for size in scan.voxel]
    if not others or not sizes or not first.shape:
        return changed(first, further=tuple(scan.path for scan in others))
    extent = [count * size for count, size in zip(first.shape, first.voxel, strict=True)]
    shape = tuple(max(round(edge / min(sizes)), 1) for edge in extent)
    voxel = (min(sizes),) * 3
    return changed(first, further=tuple(scan.path for scan in others), shape=shape, voxel=voxel)


def first_of_each(scans: Iterable[Scan]) -> tuple[dict[str, Scan], list[Exclusion]]:
    """The first usable scan of each participant, by participant, and why the others are left out."""
    found: dict[str, Scan] = {}
    excluded = []
    for scan in scans:
        if scan.problem:
            excluded.append(exclude(scan, scan.problem))
        elif scan.participant in found:
            used = found[scan.participant]
            if scan.path not in used.further:
                reason = f"more than one {scan.role} scan; {Path(used.path).name} is used"
                excluded.append(exclude(scan, reason))
        else:
            found[scan.participant] = scan
    return found, excluded


def reasons(excluded: Iterable[Exclusion]) -> str:
    """Why scans are left out, the most frequent reasons first, in one line; each with how many and one participant."""
    found: dict[str, list[str]] = {}
    for row in excluded:
        found.setdefault(row.reason, []).append(row.participant)
    said = [
        f"{who[0]}{f' and {len(who) - 1} more' if who[1:] else ''}: {reason}"
        for reason, who in sorted(found.items(), key=lambda item: -len(item[1]))
    ]
    return "; ".join(said[:3]) or "no scan matches the filters"


def exclude(scan: Scan, reason: str) -> Exclusion:
    """A scan left out at ingestion."""
    return Exclusion(scan.participant, scan.role, scan.path, "ingest", reason)


def labels_of(names: Iterable[str]) -> set[str]:
    """Participants as they are called in a dataset, `sub-<label>`."""
    return {f"sub-{str(name).removeprefix('sub-')}" for name in names}


def _bare(participant: str) -> str:
    """A label without zeros at its beginning: who is called 1 may be meant by 01."""
    return participant.removeprefix("sub-").lstrip("0")


def _age(scan: Scan) -> tuple[str, str]:
    return scan.acquired, scan.path


def say_uncertain(scans: Iterable[Scan]) -> None:
    """Name in the log whose newest scan is not certainly it, though a time is known; `scans` as they are chosen.

    Those of one label are compared: of a participant, or of a pair of one (`visits`).
    """
    kinds: dict[tuple[str, str, int], list[Scan]] = {}
    for scan in scans:
        if not scan.problem:
            kinds.setdefault((scan.role, scan.participant, scan.channel), []).append(scan)
    for first, *others in kinds.values():
        near = next((scan for scan in others if not is_later(first.acquired, scan.acquired)), None)
        if near is not None and first.acquired:
            foreign.warn(
                f"{first.participant}: it is not certain that {Path(first.path).name} ({first.acquired}) is newer than"
                f" {Path(near.path).name} ({near.acquired or 'time unknown'}); the first is used"
            )
