"""A study as the workflow sees it: its configuration, its scans and pairs, and who trains, validates and tests."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from upfield.bids import Index, Scan
from upfield.preprocess import template
from upfield.study import anatomy, config, designs, places, requirements, seen
from upfield.study.cohort import Cohort
from upfield.study.external import check_programs, check_tested, given, require_given
from upfield.study.folds import Folds
from upfield.study.methods import Methods


class Study(Cohort):
    """Everything the rules ask for where models are trained; made once when the Snakefile is read."""

    def __init__(self, settings: Mapping[str, Any], rescan: bool = True) -> None:
        """Check the configuration, index the datasets, split the participants. Raises UpfieldError."""
        config.check(settings)
        places.check(settings)
        requirements.check(settings)
        anatomy.check(settings)
        template.check(settings)
        super().__init__(settings, designs.of(settings), rescan)
        settings = self.config
        self.methods = Methods(settings, self.design.has_reference)
        self.keeps_contrast = self.methods.keep_contrast
        if rescan:
            # By labels; trainings compare images, which may not be there yet.
            tested = [scan for scan in self.index.used if scan.participant in self.tested]
            for method in settings["train"]["init_from"]:
                seen.check_start(method, str(config.start_of(settings, method)), tested, images=False)
            check_programs(self.methods.external.values())
            for method, found in self.methods.external.items():
                check_tested(found, tested)
                if not found.command:
                    train = [name for fold in self.folds.names for name in self.folds.members(fold, "train")]
                    require_given(found, self.given[method], self.tested, train)

    # -- participants ----------------------------------------------------------------------------------------------

    @cached_property
    def folds(self) -> Folds:
        """Who trains, validates and tests: everybody with a usable scan or pair, known before anything runs."""
        return Folds(self.design.assign(self.index, self.config), self.design.labels(self.index))

    @cached_property
    def tested(self) -> dict[str, str]:
        """The fold of each test participant that has a prediction."""
        return self.design.tested(self.index, self.folds.test_folds)

    def training_scans(self, fold: str, index: Index) -> list[Scan]:
        """The scans of an index that a fold's models learn from."""
        return self.scans_of(fold, index, "train")

    def scans_of(self, fold: str, index: Index, *parts: str) -> list[Scan]:
        """The scans of an index of some parts of a fold."""
        participants = set(self.folds.members(fold, *parts))
        return [scan for scan in index.used if scan.participant in participants]

    # -- files ---------------------------------------------------------------------------------------------------

    def stores(self, fold: str, *parts: str, role: str | None = None) -> list[str]:
        """Stores of some parts of a fold; with `role` only those that hold this side."""
        names = self.design.drawn(self.index, self.folds.members(fold, *parts), role)
        return [self.paths("store", store=name) for name in names]

    def network_input(self, scan: Scan, method: str) -> list[str]:
        """The preprocessed contrasts of the source that a method enhances."""
        return [self.preprocessed(channel, self.methods.scale[method]) for channel in self.pair_of(scan).sources]

    def models(self, method: str, participant: str) -> dict[str, list[str]]:
        """Weights and cards of the models that never saw a test participant: one per seed, none for interpolation."""
        seeds = self.methods.seeds(method) if method in self.methods.trained else []
        fold = self.tested[participant]
        return {
            kind: [self.paths(kind, method=method, fold=fold, seed=seed) for seed in seeds]
            for kind in ("model", "card")
        }

    # -- external methods ------------------------------------------------------------------------------------------

    @cached_property
    def given(self) -> dict[str, dict[str, str]]:
        """Of external methods whose predictions are given, the file of each participant who has one."""
        found = self.methods.external
        return {name: given(found[name], self.index.pairs) for name in found if not found[name].command}

    def external(self, method: str, participant: str) -> str | None:
        """What another program made of a participant's source; None if it is not given."""
        if self.methods.external[method].command:
            return self.paths("external", self.pairs[participant].source, method=method)
        return self.given[method].get(participant)
