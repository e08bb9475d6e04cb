"""Several sessions and runs of a participant, each of which is a pair of its own.

Such a pair has a label of its own, `sub-01_ses-2_run-1`: the participant's, and the entities in which the participant's
pairs differ. Whatever asks whose it is (splits, statistics, leaks) asks for the person, `names.person`.
"""

from collections.abc import Callable, Mapping, Sequence

from upfield.bids.names import label, reconstructed
from upfield.bids.scan import Scan, changed

# What gets a pair of its own, if not each scan.
PARTICIPANT, SESSION = "participant", "session"


def as_visits(scans: Sequence[Scan], per: str, lead: str) -> list[Scan]:
    """`scans` under the labels of the pairs that they will be of, those of `lead` (a side) deciding how many there are.

    Parameters
    ----------
    scans
        Those that were chosen, the wanted one of each kind first.
    per
        `participant`: one pair, nothing changes. `session`: one for each session of the lead. `scan`: one for each scan
        of its first contrast; what goes with it is of its session, and of its run where there is such a one.
    lead
        `source`, or `target` where sources are made from it.

    A scan of the other side is of the pair of its session; where the two sides have no session in common, as if the
    sessions were the sides, it is of every pair: from the second on as a copy with `rec-for<pair>` in its name.

    """
    if per == PARTICIPANT:
        return list(scans)
    people: dict[str, list[Scan]] = {}
    for scan in scans:
        people.setdefault(scan.participant, []).append(scan)
    return [scan for own in people.values() for scan in _of_person(own, per, lead)]


def _of_person(scans: Sequence[Scan], per: str, lead: str) -> list[Scan]:
    leads = [scan for scan in scans if scan.role == lead and scan.channel == 0]
    visits: dict[str, list[Scan]] = {}
    labels = _labels(leads, per)
    for scan, name in zip(leads, labels, strict=True):
        visits.setdefault(name, []).append(scan)
    result = [_renamed(scan, name) for scan, name in zip(leads, labels, strict=True)]
    kinds: dict[tuple[str, int], list[Scan]] = {}
    for scan in scans:
        if scan not in leads:
            kinds.setdefault((scan.role, scan.channel), []).append(scan)
    for found in kinds.values():
        result += _dealt(found, visits, per)
    return result


def _labels(leads: Sequence[Scan], per: str) -> list[str]:
    """The label of the pair of each of a participant's leads."""
    if per == SESSION:
        several = len({scan.session for scan in leads}) > 1
        return [
            f"{scan.participant}_ses-{scan.session}" if several and scan.session != "n/a" else scan.participant
            for scan in leads
        ]
    said = [_entities(scan) for scan in leads]
    keys = dict.fromkeys(key for entities in said for key in entities)
    apart = [key for key in keys if len({entities.get(key) for entities in said}) > 1]
    return [
        "_".join([scan.participant, *(f"{key}-{entities[key]}" for key in apart if key in entities)])
        for scan, entities in zip(leads, said, strict=True)
    ]


def _dealt(found: Sequence[Scan], visits: Mapping[str, Sequence[Scan]], per: str) -> list[Scan]:
    """The scans of one side and contrast under the labels of the pairs that they are of."""
    sessions = {scan.session for scan in found} & {scan.session for own in visits.values() for scan in own}
    result: list[Scan] = []
    taken = set[str]()
    for name, (first, *_) in visits.items():
        fitting = [scan for scan in found if not sessions or scan.session == first.session]
        chosen = fitting if per == SESSION else _nearest(fitting, first, lambda scan: scan.path in taken)
        for scan in chosen:
            result.append(_renamed(scan, name, again=scan.path in taken))
            taken.add(scan.path)
    # Whatever fits nowhere is said to be left out, under the first label of its session.
    for scan in found:
        if scan.path not in taken:
            own = (name for name, (first, *_) in visits.items() if first.session == scan.session)
            result.append(_renamed(scan, next(own, scan.participant)))
    return result


def _nearest(found: Sequence[Scan], lead: Scan, used: Callable[[Scan], bool]) -> list[Scan]:
    """The one that goes with `lead`: of its run, else one that no other has; those of no use stand behind."""
    run = _entities(lead).get("run")
    order = sorted(found, key=lambda scan: (bool(scan.problem), _entities(scan).get("run") != run, used(scan)))
    return order[:1]


def _renamed(scan: Scan, name: str, again: bool = False) -> Scan:
    """`scan` in the pair `name`; in one after the first its derivatives are called otherwise."""
    if name == scan.participant:
        return scan
    pair = label(name.removeprefix(scan.participant))
    called = reconstructed(scan.name, f"for{pair}") if again else scan.name
    return changed(scan, participant=name, original=scan.original or scan.participant, name=called)


def _entities(scan: Scan) -> dict[str, str]:
    """The entities of a scan's name but its participant."""
    return dict(part.split("-", 1) for part in scan.name.split("_")[1:] if "-" in part)
