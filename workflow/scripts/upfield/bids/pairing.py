"""Which scans belong together."""

from collections.abc import Iterable, Sequence

from upfield.bids.choose import exclude, first_of_each, reasons
from upfield.bids.contrasts import with_contrasts
from upfield.bids.names import reconstructed
from upfield.bids.scan import SIMULATED, Exclusion, Index, Pair, Scan, changed
from upfield.errors import UpfieldError


def pair(sources: Iterable[Scan], targets: Iterable[Scan]) -> tuple[list[Pair], list[Exclusion]]:
    """Match sources and targets by participant: one usable scan on each side makes a pair, in participant order.

    Left out, each with a reason: a scan that cannot be read, a second scan of one side (the first by path is
    used), a scan without a counterpart.
    """
    usable: dict[str, dict[str, Scan]] = {}
    excluded: list[Exclusion] = []
    everyone: set[str] = set()
    for role, scans in (("source", list(sources)), ("target", list(targets))):
        everyone |= {scan.participant for scan in scans}
        usable[role], left_out = first_of_each(scans)
        excluded += left_out
    pairs = []
    for participant in sorted(everyone):
        found = [usable[role][participant] for role in ("source", "target") if participant in usable[role]]
        if len(found) == 2:
            pairs.append(_named_apart(Pair(participant, found[0], found[1])))
        # A counterpart that cannot be read has its own row, which names the participant already.
        elif len(found) == 1:
            (scan,) = found
            other = "target" if scan.role == "source" else "source"
            broken = any(row.participant == participant and row.role == other for row in excluded)
            if not broken:
                excluded.append(exclude(scan, f"no {other} scan of this participant matches the filters"))
    return pairs, excluded


def _labels_apart(sources: Iterable[Scan], targets: Iterable[Scan]) -> str:
    """That nobody is on both sides, in words; empty if somebody is."""
    labels = [sorted({scan.participant for scan in scans}) for scans in (sources, targets)]
    if set(labels[0]) & set(labels[1]):
        return ""
    said = [f"{', '.join(some[:3])}{' ...' if some[3:] else ''}" for some in labels]
    return f"no participant has both: sources are of {said[0]}, targets of {said[1]}"


def _named_apart(found: Pair) -> Pair:
    """Source and target of two datasets may have the same name; the source's derivatives then say which they are."""
    if found.source.name != found.target.name:
        return found
    return Pair(found.participant, changed(found.source, name=reconstructed(found.source.name, "source")), found.target)


def simulated_sources(targets: Iterable[Scan]) -> list[Scan]:
    """The scans that degradation will make from the usable ones of `targets`."""
    return [
        changed(target, role="source", name=reconstructed(target.name, "simulated"), path=SIMULATED, metadata={})
        for target in targets
        if not target.problem
    ]


def assemble(scans: Sequence[Scan], names: Sequence[str] = ("",), found: Sequence[Scan] | None = None) -> Index:
    """Pair scans by participant; `names` are those of the source's contrasts.

    `found` are the scans that the filters match, where those to pair (sources to be simulated) are not they. Raises
    UpfieldError if no pair is left, or a scan is on both sides.
    """
    targets = [scan for scan in scans if scan.role == "target"]
    sources = [scan for scan in scans if scan.role == "source"]
    pairs, excluded = pair([scan for scan in sources if scan.channel == 0], targets)
    # A duplicate target's simulated twin is not a scan that anybody acquired: one row is enough.
    excluded = [row for row in excluded if row.path != SIMULATED]
    same = next((pair.target.path for pair in pairs if pair.source.path == pair.target.path), None)
    if same is not None:
        raise UpfieldError(f"config: source and target filters match the same scan ({same}); tell them apart")
    pairs, incomplete = with_contrasts(pairs, sources, names)
    excluded += incomplete
    if not pairs:
        apart = _labels_apart(sources, targets)
        raise UpfieldError(f"config: no pair of source and target scans was found ({apart or reasons(excluded)})")
    return Index(
        scans if found is None else found,
        pairs,
        excluded,
        [scan for found in pairs for scan in (*found.sources, found.target)],
    )
