"""The index of a study: its scans, and which of them belong together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield import bids
from upfield.bids import Index
from upfield.study import designs, phantoms


def build_index(config: Mapping[str, Any], cache: Path | None = None, rescan: bool = True) -> Index:
    """Find, inspect, choose and assemble the scans of a study; `cache` and `rescan` as for `bids.read_scans`.

    Raises UpfieldError if nothing is left that can be used.
    """
    return assemble(config, bids.read_scans(config, designs.of(config).sides, cache, rescan))


def planned_index(config: Mapping[str, Any]) -> Index:
    """The index of a phantom, which need not exist yet."""
    return assemble(config, phantoms.planned_scans(config))


def assemble(config: Mapping[str, Any], scans: list[bids.Scan]) -> Index:
    """What belongs together of the scans that are wanted."""
    travelling = config["pairs"] is not None
    chosen = bids.choose(scans, config["participants"], config["duplicates"], designs.of(config).one_person, travelling)
    visits = bids.as_visits(chosen, config["pair_per"], designs.of(config).sides[0])
    if config["duplicates"] == "newest":
        bids.say_uncertain(visits)
    return designs.of(config).assemble(visits, config)
