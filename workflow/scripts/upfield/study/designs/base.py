"""What a kind of pairing decides; the defaults are those of a study in which each source has a target."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from upfield import bids
from upfield.bids import Exclusion, Index, Pair, Scan
from upfield.bids.layout import Layout
from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.errors import UpfieldError
from upfield.files import read_json
from upfield.image.nifti import SAME, Scale
from upfield.preprocess.derivatives import excluded
from upfield.study import splits
from upfield.study.designs.narrative import Narrative

# Role of the rows of excluded.tsv that leave the scans themselves in.
PAIR = "pair"
Paths = Callable[[Scan], str]


class Content(NamedTuple):
    """What a patch store or a QC decision is about: a pair, or one scan."""

    source: Scan | None
    target: Scan | None

    @property
    def scans(self) -> list[Scan]:
        """Those that are there."""
        return [scan for scan in self if scan is not None]

    @property
    def paired(self) -> bool:
        """Whether it is a pair."""
        return len(self.scans) == 2


class Design:
    """Which scans belong together, where their files are, what is compared with what: see the kinds beside this."""

    name = ""
    # For the guide and the schema.
    meaning = ""
    # What methods must be able to learn from (`pairings` in config/methods/*.yaml).
    learned_as = "paired"
    # The sides that have scans of their own.
    sides: tuple[str, ...] = ("source", "target")
    # What models are compared with.
    baselines: tuple[str, ...] = (*MODEL_FREE, SUPERVISED)
    # Whether an output can be compared with the image that it should have been.
    has_reference = True
    # Whether a network's output is the native scan and the change that the network made, see `predict`.
    adds_change = False
    # Whether a table of samples, several contrasts, or the phantom can be the scans.
    takes_samples, takes_channels, takes_phantom = True, False, False

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise UpfieldError, one line that names the key, for what this kind of pairing cannot have."""
        for key, allowed in (("samples", self.takes_samples), ("phantom", self.takes_phantom), ("pairs", False)):
            if config[key] is not None and not allowed:
                raise UpfieldError(f"config: {key} is set, but pairing is {self.name}; expected null")
        if config["pair_per"] == "scan" and config["duplicates"] in ("average", "combine"):
            raise UpfieldError(
                f"config: pair_per is scan, which leaves nothing to {config['duplicates']}; expected session, or"
                " duplicates: first"
            )
        if config["source"]["channels"] and not self.takes_channels:
            raise UpfieldError(f"config: source.channels is set, but pairing is {self.name}; expected []")

    def check_scale(self, config: Mapping[str, Any], method: str, scale: Scale) -> None:
        """Raise UpfieldError if a method enlarges by another `scale` than the sources are smaller."""

    def one_person(self, first: Scan, second: Scan) -> bool:
        """Whether two scans are of one participant, as their labels say."""
        return first.participant == second.participant

    # -- scans and splits ------------------------------------------------------------------------------------------

    def assemble(self, scans: Sequence[Scan], config: Mapping[str, Any]) -> Index:
        """The pairs of the scans that were chosen. Raises UpfieldError if there is none."""
        return bids.assemble(scans, bids.contrast_names(config["source"]))

    def participants_table(self, config: Mapping[str, Any]) -> pd.DataFrame:
        """participants.tsv of both sides, laid under each other; not read, and empty, unless the splits ask for it."""
        if not splits.needs_table(config["splits"]):
            return bids.participants_table({})
        return bids.participants_table({side: config[side]["bids_dir"] for side in ("source", "target")})

    def assign(self, index: Index, config: Mapping[str, Any]) -> pd.DataFrame:
        """`participant_id, fold, split`, before anything runs. Raises UpfieldError as `splits.assign`."""
        return splits.assign(list(self.labels(index)), config["splits"], self.participants_table(config))

    def labels(self, index: Index) -> dict[str, list[str]]:
        """The labels of the pairs of everybody who is split, by the person's own."""
        result: dict[str, list[str]] = {}
        for pair in index.pairs:
            result.setdefault(bids.person(pair.participant), []).append(pair.participant)
        return result

    def kept(self, index: Index, table: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
        """The split without those of whom no pair is left; nobody else moves.

        `left_out` are rows of excluded.tsv. Raises UpfieldError if a part is empty now, or one of its cohorts.
        """
        out = set(left_out[left_out["stage"].isin(["preprocess", "qc"])]["participant_id"])
        labels = self.labels(index)
        lost = [person for person in table["participant_id"] if out.issuperset(labels.get(person, [person]))]
        for cohort in self.cohorts(index):
            splits.without(table[table["participant_id"].isin(cohort)], lost)
        return splits.without(table, lost)

    def tested(self, index: Index, test_folds: Mapping[str, str]) -> dict[str, str]:
        """The fold of each test participant that has a prediction, of those of all test participants."""
        return dict(test_folds)

    def cohorts(self, index: Index) -> tuple[list[str], list[str]]:
        """Participants of the source and of the target, where they are different people."""
        return [], []

    def same_person(self, index: Index) -> dict[str, str]:
        """Target participants who are source participants under another label, and which."""
        return {}

    # -- stores ----------------------------------------------------------------------------------------------------

    def contents(self, index: Index) -> dict[str, Content]:
        """What each patch store holds and each QC decision is about, by its name."""
        return {pair.participant: Content(pair.source, pair.target) for pair in index.pairs}

    def pair_names(self, index: Index) -> dict[str, Pair]:
        """Every pair by the name of its store."""
        return {pair.participant: pair for pair in index.pairs}

    def drawn(self, index: Index, members: Sequence[str], role: str | None = None) -> list[str]:
        """Names of the stores of some participants; with `role` only of those that hold this side."""
        return list(members)

    # -- files -----------------------------------------------------------------------------------------------------

    def preprocessed(self, paths: Layout, scan: Scan, scale: Scale = SAME) -> str:
        """Where a scan is that networks see: on the working grid of its pair, or on that coarsened by `scale`."""
        if scale == SAME:
            return paths("preprocessed", scan)
        return paths("downsampled", scan, scale="x".join(map(str, scale)))

    def prediction(self, paths: Layout, pair_or_scan: Content, method: str) -> str:
        """A method's output: named after the source, with the target's suffix."""
        source, target = pair_or_scan
        assert source is not None and target is not None
        return paths("prediction", source, suffix=target.suffix, method=method)

    def native(self, paths: Layout, scan: Scan) -> str:
        """A scan as it was acquired, or as the mean of its acquisitions."""
        return paths("average", scan) if scan.further else scan.path

    # -- evaluation ------------------------------------------------------------------------------------------------

    def tables(self, config: Mapping[str, Any]) -> list[str]:
        """Names of the tables of metrics that this kind of study has beside those that all have."""
        applied = [] if self.not_applied(config) else ["as_applied", "as_applied_leaderboard"]
        others = ["as_others_count", "as_others_count_leaderboard"] if config["evaluate"]["as_others_count"] else []
        return [*(name for name in ("audit", "lesions") if config["evaluate"][name]), *applied, *others]

    def not_applied(self, config: Mapping[str, Any]) -> str:
        """Why nothing is measured as `apply` would deliver it, a clause; empty if it is."""
        if not config["evaluate"]["as_applied"]:
            return "evaluate.as_applied is false"
        return ""

    def measured(self, config: Mapping[str, Any]) -> dict[str, str]:
        """What `summarise` gathers of each test participant: its argument to the kind of file."""
        kinds = {"values": "values", "reference_values": "reference_values"}
        if config["evaluate"]["lpips_weights"] is not None:
            kinds["perceptual"] = "perceptual"
        if config["evaluate"]["segmentation"]:
            kinds["segmentations"] = "segmentation"
        return kinds

    def cohort(
        self, index: Index, images: tuple[Paths, Paths], decision: Callable[[str], str]
    ) -> tuple[list[Pair], list[Exclusion]]:
        """The pairs that preprocessing and quality control left over, and one row, with the reason, for each other.

        `images` say where a scan's image is that networks see, and where it is on its pair's grid; `decision` where the
        QC decision of a store is.
        """
        rows = {
            name: fault(pair.participant, (*pair.sources, pair.target), images[0], decision(name))
            for name, pair in self.pair_names(index).items()
        }
        used = [pair for name, pair in self.pair_names(index).items() if rows[name] is None]
        return used, [row for row in rows.values() if row is not None]

    # -- words -----------------------------------------------------------------------------------------------------

    def narrative(self, config: Mapping[str, Any]) -> Narrative:
        """What a report says of the design."""
        # Imported here: nothing is measured when a study is planned.
        from upfield.evaluate import subject

        known = "as_applied" in config.get("evaluate", {})
        return Narrative(
            evaluation=[subject.methods_sentence(config, {})],
            not_applied=self.not_applied(config) if known else "",
        )


def fault(participant: str, scans: Sequence[Scan], image: Paths, decision: str) -> Exclusion | None:
    """Why scans that are judged together cannot be used, if they cannot."""
    judged = read_json(decision)
    if "Excluded" in judged:
        scan = next((scan for scan in scans if scan.role == judged["Role"]), scans[-1])
        return Exclusion(participant, judged["Role"], scan.path, "qc", judged["Excluded"])
    # The target first: its sources inherit what is wrong with it.
    for scan in sorted(scans, key=lambda scan: scan.role, reverse=True):
        reason = excluded(image(scan))
        if reason is not None:
            return Exclusion(participant, scan.role, scan.path, "preprocess", reason)
    return None
