"""Targets alone: the sources are made from them by `simulate`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from upfield import bids
from upfield.bids import Index, Scan
from upfield.bids.layout import Layout
from upfield.errors import UpfieldError
from upfield.image.nifti import SAME, Scale
from upfield.simulation import simple
from upfield.study.designs.base import Design
from upfield.study.designs.narrative import Narrative


class Simulated(Design):
    """Each target has a source that degradation makes."""

    name = learned_as = "simulated"
    meaning = "the source is made from the target by `simulate`"
    sides = ("target",)

    def check_scale(self, config: Mapping[str, Any], method: str, scale: Scale) -> None:
        """Degradation reduces by as much as a method enlarges, or by what does not matter to it."""
        simulate = config["simulate"]
        reduced = simple.reduction(simulate)
        if scale != SAME and reduced not in (None, scale):
            by, times = (" x ".join(map(str, factors)) for factors in (reduced or SAME, scale))
            raise UpfieldError(
                f"config: simulate.factor is {simulate['factor']:g} (kind {simulate['kind']} reduces by {by});"
                f" {method} enlarges by {times}, expected the same"
            )

    def assemble(self, scans: Sequence[Scan], config: Mapping[str, Any]) -> Index:
        """Every usable target with the source that will be made from it."""
        targets = [scan for scan in scans if scan.role == "target"]
        return bids.assemble([*bids.simulated_sources(targets), *targets], found=scans)

    def native(self, paths: Layout, scan: Scan) -> str:
        """A target as it was acquired; a source where `simulate` writes it."""
        return paths("simulated", scan) if scan.simulated else super().native(paths, scan)

    def narrative(self, config: Mapping[str, Any]) -> Narrative:
        """That nobody acquired the sources."""
        kind = config["simulate"]["kind"]
        notice = (
            f"The source images are simulated from the target images ({kind}), not acquired. Results on acquired images"
            " will differ."
        )
        return replace(
            super().narrative(config),
            notices=[notice],
            input="made from the target",
            source=f"Source images were simulated from the target images ({kind}){_redrawn(config['simulate'])}.",
        )


def _redrawn(simulate: Mapping[str, Any]) -> str:
    """What is drawn anew while training, to go on a sentence with; empty if nothing is."""
    redraw = simulate.get("redraw")
    if redraw is None:
        return ""
    what = {"contrasts": "with random contrasts", "lesions": "with random lesions", "labels": "from label maps as well"}
    more = [text for key, text in what.items() if redraw.get(key)]
    return ", for training anew in every epoch" + "".join(f", {text}" for text in more)


DESIGN = Simulated()
