"""Two cohorts of different people, whose scanners are to be harmonized; some may have been scanned on both sides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from upfield import bids
from upfield.bids import Exclusion, Index, Pair, Scan
from upfield.bids.layout import Layout
from upfield.catalogue.methods import NEED_A_TARGET
from upfield.errors import UpfieldError
from upfield.image.nifti import SAME, Scale
from upfield.study import splits
from upfield.study.designs.base import PAIR, Content, Design, Paths, fault
from upfield.study.designs.narrative import Narrative


class Unpaired(Design):
    """Nothing is registered across participants, and no output has an image that it should have been."""

    name = learned_as = "unpaired"
    meaning = "source and target are different people, whose scanners are to be harmonized"
    baselines = tuple(name for name in Design.baselines if name not in NEED_A_TARGET)
    has_reference = False
    adds_change = True
    takes_samples = False

    def check(self, config: Mapping[str, Any]) -> None:
        """What needs a target of the same participant is refused."""
        super().check({**config, "pairs": None})
        useless = next((name for name in config["methods"] if name in NEED_A_TARGET), None)
        refused = (
            (useless is not None, f"methods names {useless}; it needs source and target of one participant"),
            (config["preprocess"]["spacing"] == "native", "preprocess.spacing is native; expected mm"),
            (any(config["preprocess"]["template"][key] is not None for key in ("name", "image", "mask")),
             "preprocess.template is set; every scan keeps a space of its own"),
            (config["evaluate"]["lpips_weights"] is not None, "evaluate.lpips_weights is set; expected null"),
            (config["evaluate"]["atlas"]["images"] is not None or config["evaluate"]["atlas"]["names"] is not None,
             "evaluate.atlas is set; nothing has a target to be measured against"),
            (config["pair_per"] != "participant",
             f"pair_per is {config['pair_per']}; expected participant: one scan of each is used"),
            (bool(config["external"]), "external is set; nothing has a target to be measured against"),
            (config["predict"]["uncertainty"] > 0,
             f"predict.uncertainty is {config['predict']['uncertainty']}; expected 0: no target to judge it by"),
        )  # fmt: skip
        for wrong, words in refused:
            if wrong:
                raise UpfieldError(f"config: pairing is unpaired, but {words}")

    def one_person(self, first: Scan, second: Scan) -> bool:
        """A label means the same person in one dataset alone."""
        return super().one_person(first, second) and first.root == second.root

    # -- scans and splits ------------------------------------------------------------------------------------------

    def assemble(self, scans: Sequence[Scan], config: Mapping[str, Any]) -> Index:
        """One usable scan of each participant; pairs of those whom the table `pairs` names."""
        links = bids.read_links(config["pairs"]) if config["pairs"] is not None else []
        return bids.assemble_cohorts(scans, links)

    def participants_table(self, config: Mapping[str, Any]) -> pd.DataFrame:
        """As for others, with the labels that participants have here."""
        if not splits.needs_table(config["splits"]):
            return bids.participants_table({})
        return bids.participants_table({side: config[side]["bids_dir"] for side in self.sides}, cohorts=True)

    def assign(self, index: Index, config: Mapping[str, Any]) -> pd.DataFrame:
        """Both cohorts in the same fractions or folds; who is in both is in one part."""
        table = self.participants_table(config)
        return splits.assign_cohorts(self.cohorts(index), self.same_person(index), config["splits"], table)

    def kept(self, index: Index, table: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
        """Two scans of one person that cannot be used together stay in their cohorts."""
        return super().kept(index, table, left_out[left_out["role"] != PAIR])

    def tested(self, index: Index, test_folds: Mapping[str, str]) -> dict[str, str]:
        """Sources alone are harmonized."""
        targets = self.cohorts(index)[1]
        return {participant: fold for participant, fold in test_folds.items() if participant not in targets}

    def same_person(self, index: Index) -> dict[str, str]:
        """Travelling subjects: target label to source label."""
        return bids.companions(index)

    def cohorts(self, index: Index) -> tuple[list[str], list[str]]:
        """Participants of the source and of the target."""
        source, target = ([scan.participant for scan in index.used if scan.role == role] for role in self.sides)
        return source, target

    # -- stores ----------------------------------------------------------------------------------------------------

    def contents(self, index: Index) -> dict[str, Content]:
        """One scan a store; travelling subjects have a store of both scans besides."""
        alone = {
            scan.participant: Content(scan, None) if scan.role == "source" else Content(None, scan)
            for scan in index.used
        }
        return alone | {name: Content(pair.source, pair.target) for name, pair in self.pair_names(index).items()}

    def pair_names(self, index: Index) -> dict[str, Pair]:
        """Pairs of travelling subjects, called after both labels."""
        return {
            "-".join(["pair", *(scan.participant.removeprefix("sub-") for scan in (pair.source, pair.target))]): pair
            for pair in index.pairs
        }

    def drawn(self, index: Index, members: Sequence[str], role: str | None = None) -> list[str]:
        """Those of single scans, then those of the pairs of source participants."""
        roles = {scan.participant: scan.role for scan in index.used}
        if role is not None:
            return [participant for participant in members if roles[participant] == role]
        pairs = [name for name, pair in self.pair_names(index).items() if pair.participant in members]
        return [*members, *pairs]

    # -- files -----------------------------------------------------------------------------------------------------

    def preprocessed(self, paths: Layout, scan: Scan, scale: Scale = SAME) -> str:
        """On a working grid of its own; no method of such studies enlarges."""
        return paths("preprocessed_alone", scan)

    def prediction(self, paths: Layout, pair_or_scan: Content, method: str) -> str:
        """On the source's own grid."""
        assert pair_or_scan.source is not None
        return paths("enhanced", pair_or_scan.source, method=method)

    # -- evaluation ------------------------------------------------------------------------------------------------

    def tables(self, config: Mapping[str, Any]) -> list[str]:
        """Those on the two cohorts."""
        return ["appearance", "harmonisation"]

    def measured(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Nothing is measured against a target."""
        return {"values": "harmonized_values"}

    def cohort(
        self, index: Index, images: tuple[Paths, Paths], decision: Callable[[str], str]
    ) -> tuple[list[Pair], list[Exclusion]]:
        """As for others, of single scans, and of travelling subjects' pairs, whose rows have the role `pair`."""
        alone, on_pair = images
        rows = [fault(scan.participant, (scan,), alone, decision(scan.participant)) for scan in index.used]
        left_out = [row for row in rows if row is not None]
        lost = {row.participant for row in left_out}
        used = []
        for name, pair in self.pair_names(index).items():
            row = fault(pair.participant, (pair.source, pair.target), on_pair, decision(name))
            if row is None:
                used.append(pair)
            elif not lost & {pair.source.participant, pair.target.participant}:
                left_out.append(replace(row, role=PAIR))
        return used, left_out

    # -- words -----------------------------------------------------------------------------------------------------

    def narrative(self, config: Mapping[str, Any]) -> Narrative:
        """That no number compares an output with a target."""
        # Imported here: nothing is measured when a study is planned.
        from upfield.evaluate import harmonized

        left_out = f"{', '.join(NEED_A_TARGET[:-1])} and {NEED_A_TARGET[-1]}"
        native = config.get("preprocess", {}).get("spacing") == "native"
        notice = (
            "Source and target are different participants, so no output has a target image: no number here compares an"
            f" output with the image that it should have been. The baselines {left_out} are left out, since they need"
            " one."
        )
        return Narrative(
            notices=[notice],
            evaluation=[harmonized.methods_sentence(config, {})],
            native_grid="each scan's own grid",
            # Scans stay on a grid of their own unless voxels of one size are asked for.
            skipped=frozenset({"preprocess.registration", *(["preprocess.grid"] if native else [])}),
        )


DESIGN = Unpaired()
