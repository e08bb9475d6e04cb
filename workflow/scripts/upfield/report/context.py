"""What a section may know: one object for each kind of page, read from files once and changed by nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids.layout import Layout
from upfield.files import portable
from upfield.foreign import read_object
from upfield.report import costs, tables
from upfield.report.subject import SubjectImages
from upfield.study import external
from upfield.study.designs.narrative import Narrative
from upfield.study.external import External


@dataclass(frozen=True)
class Context:
    """What every page knows.

    Attributes
    ----------
    root
        The study folder: tables, `metrics/`, `models/`, `benchmarks/`; whatever is missing is said to be missing.
    config
        The configuration of the run.
    provenance
        Scalars to list (`upfield`, `git_commit`, `command`, `created`, ...) and `versions`, a mapping.
    narrative
        What the design of the study has to say.
    places
        What stands on the page instead of folders of this machine, see `files.places`.

    """

    root: Path
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    narrative: Narrative
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """Cards of the models on the page."""
        return []

    @property
    def methods(self) -> Sequence[str]:
        """Methods in the order of the page."""
        return []

    @property
    def external(self) -> Mapping[str, External]:
        """Methods of others on the page, by name."""
        return {}

    @property
    def trains(self) -> bool:
        """Whether the models were trained for this page, so that their energy is part of its costs."""
        return False

    @cached_property
    def benchmarks(self) -> list[dict[str, Any]]:
        """Run time and memory by stage and step."""
        return costs.benchmarks(self.root / "benchmarks", self.methods)


@dataclass(frozen=True)
class MeasuredContext(Context):
    """Outputs that were measured; `images` are test subjects to show, in order, as many as the configuration allows."""

    images: Sequence[SubjectImages] = ()

    @cached_property
    def table(self) -> Mapping[str, pd.DataFrame]:
        """Every table of the study by its name in `tables.COLUMNS`, empty if it is missing."""
        found = tables.read(self.root)
        return {name: tables.outgoing(table, self.places) for name, table in found.items()}

    @cached_property
    def scores(self) -> Mapping[str, pd.DataFrame]:
        """Test values in the brain of each primary metric: participants x methods."""
        values = self.table["metrics/per_subject"]
        return {metric: tables.per_subject(values, metric) for metric in tables.PRIMARY}

    @cached_property
    def methods(self) -> Sequence[str]:
        """Measured methods, best mean test PSNR first."""
        return tables.ranked(self.table["metrics/leaderboard"], self.table["metrics/per_subject"])

    @property
    def named(self) -> list[str]:
        """Measured methods, then those configured or fitted alone."""
        fitted = (run["method"] for run in self.runs)
        return list(dict.fromkeys([*self.methods, *self.config.get("methods", []), *fitted]))

    @property
    def faces(self) -> bool:
        """Whether the whole head is shown."""
        return bool(self.config.get("report", {}).get("faces", False))


@dataclass(frozen=True)
class StudyContext(MeasuredContext):
    """A finished study, which trained its models."""

    @cached_property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """Every fitted model of the study, see `tables.runs`; models of other settings may lie beside them."""
        seeds, folds = self.config.get("train", {}).get("seeds"), set(self.table["splits"]["fold"])
        methods = {*self.methods, *self.config.get("methods", []), *tables.KINDS, *self.external}
        return [
            portable(run, self.places)
            for run in tables.runs(self.root, self.methods)
            if run["method"] in methods
            and (not seeds or run.get("seed") in (None, *seeds))
            and (not folds or str(run.get("fold", "")) in ("", *folds))
        ]

    @cached_property
    def plans(self) -> Sequence[Mapping[str, Any]]:
        """The plans behind the models on the page, a fold once."""
        kept = dict.fromkeys((run["method"], str(run["fold"])) for run in self.runs if "fold" in run)
        where = Layout(str(self.root))
        paths = [Path(where("plan", method=method, fold=fold)) for method, fold in kept]
        return [read_object(path) for path in paths if path.is_file()]

    @cached_property
    def external(self) -> Mapping[str, External]:
        """Those of the configuration."""
        return external.of(self.config)

    @property
    def trains(self) -> bool:
        """Yes."""
        return True


@dataclass(frozen=True)
class Enhanced:
    """Files of one enhanced scan: `source` and `mask` on its native grid, `output` over the same field of view."""

    name: str
    source: Path
    mask: Path
    output: Path


@dataclass(frozen=True, kw_only=True)
class ModelContext(Context):
    """Models that were given: their `cards`, and the training range, what they have seen together."""

    cards: Sequence[Mapping[str, Any]]
    training_range: Mapping[str, Any]

    @cached_property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """The models' cards."""
        return [{**card, "name": card["method"]} for card in self.cards]


@dataclass(frozen=True, kw_only=True)
class AppliedContext(ModelContext):
    """A model that was applied: `applied`, which is applied.tsv, and the enhanced `scans` to show, in order."""

    applied: pd.DataFrame
    scans: Sequence[Enhanced]


@dataclass(frozen=True, kw_only=True)
class ValidationContext(ModelContext, MeasuredContext):
    """A model that was measured on other data; `applied` is applied.tsv."""

    applied: pd.DataFrame
