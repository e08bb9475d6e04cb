"""Scans that belong together, and what methods made of those who are tested: what kinds of study share."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from upfield.bids import Index, Pair, Scan, sidecar
from upfield.evaluate import atlas
from upfield.files import read_json
from upfield.image.nifti import SAME, Scale
from upfield.preprocess.derivatives import MARK, excluded
from upfield.quality import PICTURES, judging
from upfield.study import phantoms, spacing
from upfield.study.designs.base import Content, Design
from upfield.study.index import build_index, planned_index
from upfield.study.methods import Methods
from upfield.study.scans import Scans

# Pairs on one contact sheet.
SHEET = 40


class Cohort(Scans):
    """Everything that rules ask about pairs, quality control and evaluation, whoever trained the models.

    What the kind of pairing decides is asked of `design`, what belongs to a method of `methods`, where a file is of
    `paths`. Only the main process looks at the datasets (`rescan`); jobs trust the index it left behind.
    """

    methods: Methods

    def __init__(self, settings: Mapping[str, Any], design: Design, rescan: bool) -> None:
        """Index the datasets. Raises UpfieldError."""
        super().__init__(settings, design)
        if settings["phantom"] is not None:
            self.index = planned_index(settings)
        else:
            self.index = build_index(settings, Path(self.paths("index")), rescan)
        self.grid = self._grid()
        if self.grid is not None:
            self.config = spacing.laid_over(settings, self.grid)
        self.pairs: dict[str, Pair] = {pair.participant: pair for pair in self.index.pairs}
        self.scans: dict[str, Scan] = {scan.name: scan for scan in self.index.used}
        atlas.check(settings, self.pairs)

    @cached_property
    def tested(self) -> dict[str, str]:
        """The fold of each test participant that has a prediction."""
        raise NotImplementedError

    def models(self, method: str, participant: str) -> dict[str, list[str]]:
        """Weights and cards (`model`, `card`) of a method's models for a test participant; none for interpolation."""
        raise NotImplementedError

    def _grid(self) -> spacing.WorkingGrid | None:
        """The working grid that the scans decide, where the study leaves it to them."""
        if self.config["preprocess"]["spacing"] != spacing.AUTO:
            return None
        may_be_native = self.template is None and self.design.has_reference
        roles = ("target",) if self.design.has_reference else ("source", "target")
        return spacing.planned([scan for scan in self.index.used if scan.role in roles], may_be_native)

    def described(self) -> Index:
        """The index with every scan's geometry; a planned dataset, and what is converted, must exist by now."""
        planned = self.config["phantom"] is not None or self.series
        return build_index(self.config) if planned else self.index

    @cached_property
    def same_person(self) -> dict[str, str]:
        """Target participants who are source participants under another label, and which."""
        return self.design.same_person(self.index)

    # -- what belongs together -------------------------------------------------------------------------------------

    @cached_property
    def contents(self) -> dict[str, Content]:
        """What each patch store holds and each QC decision is about, by its name."""
        return self.design.contents(self.index)

    @cached_property
    def pair_names(self) -> dict[str, Pair]:
        """Every pair by the name of its store."""
        return self.design.pair_names(self.index)

    def pair_of(self, scan: Scan) -> Pair:
        """The pair that a scan is part of."""
        return self.pairs[self.same_person.get(scan.participant, scan.participant)]

    @cached_property
    def _store_of_pair(self) -> dict[str, str]:
        return {pair.participant: name for name, pair in self.pair_names.items()}

    def decided(self, scan: Scan) -> str:
        """The name of the QC decision of the pair that a scan is part of."""
        return self._store_of_pair[self.pair_of(scan).participant]

    def stands(self, store: str) -> bool:
        """Whether a QC decision was made, would be the same with the limits of now, and what it judged knows of it."""
        path = Path(self.paths("quality", store=store))
        if not path.is_file():
            return False
        judged = read_json(path)
        reason = judged.get(MARK)
        marks = [excluded(image) for image in self._judged_by(store)]
        # An image may be excluded for a reason of its own.
        of_quality = [mark for mark in marks if mark is None or mark.startswith(judging.REASON)]
        return judging.stands(judged, self.config["qc"]["thresholds"]) and all(mark == reason for mark in of_quality)

    def put_back(self, stores: Iterable[str]) -> None:
        """Give QC decisions that stand the time of the oldest image that they judge.

        What follows from them was not made again, and a decision that is newer would be a reason to.
        """
        for store in (store for store in stores if self.stands(store)):
            path = self.paths("quality", store=store)
            times = [Path(image).stat().st_mtime_ns for image in self._judged_by(store)]
            if times and Path(path).stat().st_mtime_ns > min(times):
                os.utime(path, ns=(min(times), min(times)))

    def _judged_by(self, store: str) -> list[str]:
        """The images there are that a QC decision may exclude."""
        pair = self.pair_names.get(store)
        if pair is None:
            images = [self.preprocessed(scan) for scan in self.contents[store].scans]
        else:
            images = [self.paths("preprocessed", scan) for scan in (*pair.sources, pair.target)]
            images += [self.preprocessed(scan, scale) for scan in pair.sources for scale in self.methods.scales]
        return [image for image in images if Path(image).is_file()]

    @property
    def sheets(self) -> dict[str, list[str]]:
        """Pairs whose pictures make one contact sheet, by its number."""
        names = list(self.pair_names)
        starts = range(0, len(names), SHEET)
        return {str(number): names[start : start + SHEET] for number, start in enumerate(starts, start=1)}

    def pictures(self, store: str) -> list[str]:
        """Brain masks and registration of a pair, to look at."""
        return [self.paths("picture", store=store, picture=picture) for picture in PICTURES]

    def contrasts(self, scan: Scan) -> Sequence[Scan]:
        """The contrasts of a source, in their order."""
        return self._contrasts.get(scan.name, (scan,))

    @cached_property
    def _contrasts(self) -> dict[str, Sequence[Scan]]:
        return {scan.name: pair.sources for pair in self.index.pairs for scan in pair.sources}

    # -- files -----------------------------------------------------------------------------------------------------

    def acquired(self, scan: Scan) -> Scan:
        """The target of a source that is simulated from it."""
        return self.pair_of(scan).target if scan.simulated else scan

    def transform(self, scan: Scan) -> str:
        """Source to target: a matrix as text, or a displacement field as NIfTI."""
        return self.paths("transform", scan, start="source", end="target", extension=self.warp_extension)

    def inverse(self, scan: Scan) -> str:
        """Target to source, likewise."""
        return self.paths("transform", scan, start="target", end="source", extension=self.warp_extension)

    def preprocessed(self, scan: Scan, scale: Scale = SAME) -> str:
        """Where a scan is that networks see, or, for a `scale`, on the grid coarsened by it."""
        return self.design.preprocessed(self.paths, scan, scale)

    def prediction(self, method: str, participant: str) -> str:
        """A method's output for a test participant."""
        return self.design.prediction(self.paths, self.contents[participant], method)

    def uncertainty(self, method: str, participant: str) -> str:
        """Standard deviation of a prediction, on the same grid."""
        source, target = self.contents[participant]
        assert target is not None
        return self.paths("uncertainty", source, suffix=target.suffix, method=method)

    def sample(self, method: str, participant: str) -> str:
        """One of the images that a sampler draws for a test participant, on the same grid."""
        source, target = self.contents[participant]
        assert target is not None
        return self.paths("sample", source, suffix=target.suffix, method=method)

    def prepared(self, participant: str, method: str) -> list[str]:
        """A test participant's source as `apply` prepares it for a method, a file for each contrast.

        On the grid of the first, or in the template's space; the name has that space, else `orig`.
        """
        source, space = self.contents[participant].source, "orig" if self.template is None else self.space
        assert source is not None
        scale = "x".join(map(str, self.methods.scale[method]))
        return [self.paths("prepared", scan, space=space, scale=scale) for scan in self.contrasts(source)]

    def enhanced(self, method: str, participant: str) -> str:
        """A method's output for a test participant as `apply` would deliver it."""
        source, target = self.contents[participant]
        assert target is not None
        return self.paths("enhanced", source, suffix=target.suffix, method=method)

    def reference(self, participant: str) -> list[str]:
        """The image that an output of a test participant should have been, if there is one."""
        target = self.contents[participant].target
        return [] if target is None else [self.paths("corrected", target)]

    def judged_scans(self, participant: str) -> list[Scan]:
        """The scans of a participant, of all contrasts: first the one on whose grid its outputs are."""
        content = self.contents[participant]
        if not content.paired:
            return content.scans
        pair = self.pairs[participant]
        return [pair.target, *pair.sources]

    def judged_by(self, participant: str) -> list[str]:
        """Files that exclude a participant: the sidecars of the preprocessed scans."""
        return [str(sidecar(self.preprocessed(scan))) for scan in self.judged_scans(participant)]

    # -- datasets --------------------------------------------------------------------------------------------------

    @property
    def series(self) -> dict[str, str]:
        """The folder of the DICOM series that an image is converted from, by the image."""
        return {scan.path: scan.dicom for scan in self.index.scans if scan.dicom}

    @property
    def datasets(self) -> list[str]:
        """Folders of the BIDS datasets that the study reads."""
        folders = [] if self.config["samples"] is not None else [self.config[s]["bids_dir"] for s in self.design.sides]
        return list(dict.fromkeys(folders))

    @property
    def size_spacing(self) -> float | str:
        """A phantom's own grid is known before it exists."""
        size = super().size_spacing
        own = self.config["phantom"] and size == spacing.NATIVE
        return phantoms.settings(self.config).spacing if own else size

    @property
    def template_atlas(self) -> bool:
        """Whether the user's label image is one, in the template's space."""
        return atlas.in_template(self.config)

    # -- evaluation ------------------------------------------------------------------------------------------------

    @property
    def tables(self) -> list[str]:
        """Names of the tables of metrics."""
        names = ["per_subject", "leaderboard", "comparisons", "ranks", "agreement", *self.design.tables(self.config)]
        names += ["calibration"] if self.methods.uncertain else []
        return [*names, "perception"] if self.methods.samplers else names

    @property
    def as_applied(self) -> list[str]:
        """The methods that are measured as `apply` would deliver them, in report order; maybe none."""
        return self.methods.alone if "as_applied" in self.tables else []

    @property
    def every_table(self) -> list[str]:
        """The same with those that are written beside them."""
        beside = ["outliers", "quantities", "definitions", *(["structures"] if "audit" in self.tables else [])]
        return [*self.tables, *beside]
