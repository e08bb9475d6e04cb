"""Several contrasts of one source session, the channels of a network's input."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from upfield.bids.choose import exclude, first_of_each
from upfield.bids.names import reconstructed
from upfield.bids.scan import Exclusion, Pair, Scan, changed
from upfield.errors import UpfieldError


def contrasts(side: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entities of each contrast of a side of a study: each of its `channels` laid over its `entities`."""
    return [{**side["entities"], **channel} for channel in side.get("channels") or [{}]]


def contrast_names(side: Mapping[str, Any]) -> list[str]:
    """What tells the contrasts of a side apart, as text: the entities of each channel, such as `T2w`."""
    channels = side.get("channels") or [{"suffix": side["entities"].get("suffix", "any")}]
    return [
        " ".join("/".join(map(str, value)) if isinstance(value, list | tuple) else str(value) for value in row.values())
        for row in channels
    ]


def with_contrasts(
    pairs: Sequence[Pair], sources: Sequence[Scan], names: Sequence[str]
) -> tuple[list[Pair], list[Exclusion]]:
    """Add the scans of the second and further contrasts to pairs of the first, by participant.

    `sources` are scans of every contrast, which `Scan.channel` counts, and `names` those of the contrasts. Left out,
    each with a reason: a scan that cannot be read, a second scan of one contrast, a pair that lacks a contrast. Raises
    UpfieldError if one file is two contrasts, or a contrast and the target.
    """
    found: dict[int, dict[str, Scan]] = {}
    excluded: list[Exclusion] = []
    for number in range(1, len(names)):
        found[number], left_out = first_of_each(scan for scan in sources if scan.channel == number)
        excluded += left_out
    broken = {scan.participant for scan in sources if scan.channel and scan.problem}
    whole = []
    for pair in pairs:
        missing = [names[number] for number, scans in found.items() if pair.participant not in scans]
        if not missing:
            whole.append(_named_apart(pair, [scans[pair.participant] for scans in found.values()]))
        # A scan that cannot be read has its own row, which names the participant already.
        elif pair.participant not in broken:
            reason = f"no source scan of contrast {', '.join(missing)} of this participant matches the filters"
            excluded.append(exclude(pair.source, reason))
    return whole, excluded


def _named_apart(pair: Pair, others: Sequence[Scan]) -> Pair:
    """Masks and transforms have no suffix in their names: contrasts of one session say in `rec-` which they are."""
    scans = [pair.target, pair.source]
    for scan in others:
        same = next((other for other in scans if other.path == scan.path), None)
        if same is not None:
            raise UpfieldError(
                "config: source.channels: two contrasts, or a contrast and the target, match the same scan"
                f" ({scan.path}); tell them apart"
            )
        taken = {other.name for other in scans}
        scans.append(changed(scan, name=reconstructed(scan.name, scan.suffix)) if scan.name in taken else scan)
    return replace(pair, others=tuple(scans[2:]))
