"""The two cohorts of an unpaired study: source and target are scans of different people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from upfield.bids.choose import first_of_each, reasons
from upfield.bids.scan import Exclusion, Index, Pair, Scan
from upfield.errors import UpfieldError
from upfield.foreign import read_table

Links = Sequence[tuple[str, str]]
COLUMNS = ("source", "target")


def read_links(path: str | Path) -> list[tuple[str, str]]:
    """The table of those who were scanned on both sides: columns `source` and `target`, labels with or without sub-.

    Returns pairs of `sub-<label>`, as each dataset calls them. Raises UpfieldError for a table that cannot be read,
    lacks a column, or names somebody twice on one side.
    """
    table = read_table(path, COLUMNS, "config: pairs", filled=COLUMNS)
    people = {side: [f"sub-{label.removeprefix('sub-')}" for label in table[side]] for side in COLUMNS}
    for side, names in people.items():
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UpfieldError(f"{path}: {twice} is there more than once as {side}; expected one row each")
    return list(zip(people["source"], people["target"], strict=True))


def in_cohort(scan: Scan) -> Scan:
    """`scan` under the label that it has in an unpaired study, where both datasets may have a `sub-01`.

    `sub-01` of the sources becomes `sub-source01`, also in the names of its derivatives.
    """
    new = cohort_label(scan.role, scan.participant)
    folder, name = (new + text.removeprefix(scan.participant) for text in (scan.folder, scan.name))
    return replace(scan, participant=new, original=scan.participant, folder=folder, name=name)


def cohort_label(role: str, participant: str) -> str:
    """`sub-01` of the sources is `sub-source01`."""
    return f"sub-{role}{participant.removeprefix('sub-')}"


def assemble_cohorts(scans: Iterable[Scan], links: Links) -> Index:
    """One usable scan of each participant of each side; `pairs` are the linked ones whose two scans are usable.

    Raises UpfieldError if a side has no usable scan, a scan is on both sides, or a link names somebody who is not
    there, or two labels of one dataset.
    """
    named = [in_cohort(scan) for scan in scans]
    usable: dict[str, dict[str, Scan]] = {}
    excluded: list[Exclusion] = []
    for role in COLUMNS:
        usable[role], left_out = first_of_each(scan for scan in named if scan.role == role)
        excluded += left_out
        if not usable[role]:
            raise UpfieldError(f"config: no usable {role} scan was found ({reasons(left_out)})")
    sources, targets = usable["source"], usable["target"]
    both = {scan.path for scan in sources.values()} & {scan.path for scan in targets.values()}
    if both:
        raise UpfieldError(f"config: source and target filters match the same scan ({min(both)}); tell them apart")
    _check_links(links, named)
    found = [(cohort_label("source", a), cohort_label("target", b)) for a, b in links]
    pairs = [Pair(a, sources[a], targets[b]) for a, b in found if a in sources and b in targets]
    used = [found[name] for found in (sources, targets) for name in sorted(found)]
    return Index(named, sorted(pairs, key=lambda pair: pair.participant), excluded, used)


def _check_links(links: Links, scans: Sequence[Scan]) -> None:
    roots: Mapping[tuple[str, str], str] = {(scan.role, scan.original): scan.root for scan in scans}
    for link in links:
        for side, name in zip(COLUMNS, link, strict=True):
            if (side, name) not in roots:
                raise UpfieldError(
                    f"config: pairs names {side} {name}, who has no {side} scan that matches the filters"
                )
        if roots["source", link[0]] == roots["target", link[1]] and link[0] != link[1]:
            raise UpfieldError(f"config: pairs says that {link[0]} is {link[1]}; both are labels of one dataset")


def companions(index: Index) -> dict[str, str]:
    """Target participant to the source participant who is the same person: linked, or of one label in one dataset.

    They must be in the same part of every split.
    """
    sources = {(scan.root, scan.original): scan.participant for scan in index.used if scan.role == "source"}
    same = {
        scan.participant: sources[scan.root, scan.original]
        for scan in index.used
        if scan.role == "target" and (scan.root, scan.original) in sources
    }
    return same | {pair.target.participant: pair.source.participant for pair in index.pairs}
