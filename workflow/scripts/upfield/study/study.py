"""A study as the workflow sees it: its scans, pairs and splits, and where every file goes."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from upfield import bids
from upfield.bids import Index, Pair, Scan, derivative, label, sidecar
from upfield.catalogue.methods import MODEL_FREE, RUNTIME_OPTIONS
from upfield.errors import UpfieldError
from upfield.evaluate import atlas
from upfield.files import read_json
from upfield.image.nifti import SAME, Scale
from upfield.image.transforms import EXTENSIONS
from upfield.phantom import Phantom, scans
from upfield.predict import training_range as domain
from upfield.preprocess import template
from upfield.quality import PICTURES
from upfield.study import config, resources, splits
from upfield.study import requirements as demands

# Pairs on one contact sheet.
SHEET = 40


class Study:
    """Everything the rules ask for; made once when the Snakefile is read.

    Only the main process looks at the datasets (`rescan`); jobs trust the index it left behind.
    """

    def __init__(self, settings: Mapping[str, Any], rescan: bool = True) -> None:
        """Check the configuration, index the datasets, split the participants. Raises UpfieldError."""
        self._check(settings)
        self.config = settings
        self.root = f"{settings['output_dir']}/{settings['study']}"
        self.cache = Path(self.root) / ".upfield" / "index.json"
        self.index = self._find(rescan)
        self.pairs: dict[str, Pair] = {pair.participant: pair for pair in self.index.pairs}
        self.scans: dict[str, Scan] = {scan.name: scan for scan in self.index.used}
        self.unpaired = settings["pairing"] == "unpaired"
        self._check_atlas()
        self.methods = config.methods(settings)
        self.baselines = config.baselines(settings)
        self.trained = config.trained_methods(settings)
        self.labels = _labels(self.methods)

    def _check(self, settings: Mapping[str, Any]) -> None:
        config.check(settings)
        demands.check(settings)
        template.check(settings)

    def _check_atlas(self) -> None:
        atlas.check(self.config, self.pairs)

    def _find(self, rescan: bool) -> Index:
        planned = self.config["phantom"] is not None
        return self._planned() if planned else bids.build_index(self.config, self.cache, rescan)

    def _planned(self) -> Index:
        """The scans that the phantom will have, known before they exist."""
        found = []
        for role in ("source", "target"):
            folder, wanted = self.config[role]["bids_dir"], self.config[role]["entities"]
            for path in scans(self.phantom):
                if f"_ses-{wanted['session']}_" in path.name:
                    name = path.name.split(".")[0]
                    stem, suffix = name.rsplit("_", 1)
                    participant, session = stem.split("_")
                    found.append(
                        Scan(
                            participant=participant,
                            role=role,
                            path=str(Path(folder) / path),
                            folder=str(path.parent),
                            name=stem,
                            suffix=suffix,
                            session=session.removeprefix("ses-"),
                        )
                    )
        return bids.assemble(bids.choose(found, self.config["participants"], self.config["duplicates"]), "paired")

    def described(self) -> Index:
        """The index with every scan's geometry; a planned dataset, and what is converted, must exist by now."""
        planned = self.config["phantom"] is not None or self.series
        return bids.build_index(self.config) if planned else self.index

    @property
    def phantom(self) -> Phantom:
        """Settings of the demo dataset."""
        return Phantom(**self.config["phantom"])

    @cached_property
    def splits(self) -> pd.DataFrame:
        """`participant_id, fold, split` of everybody with a usable scan or pair, known before anything runs."""
        folders = {side: self.config[side]["bids_dir"] for side in ("source", "target")}
        table = bids.participants_table(folders, self.unpaired)
        if self.unpaired:
            return splits.assign_cohorts(self.cohorts, self.companions, self.config["splits"], table)
        return splits.assign(list(self.pairs), self.config["splits"], table)

    @cached_property
    def alone(self) -> dict[str, Scan]:
        """The one scan of each participant of an unpaired study, sources first; empty in others."""
        return {scan.participant: scan for scan in self.index.used} if self.unpaired else {}

    @cached_property
    def cohorts(self) -> tuple[list[str], list[str]]:
        """Participants of the source and of the target of an unpaired study."""
        source, target = ([p for p, scan in self.alone.items() if scan.role == role] for role in ("source", "target"))
        return source, target

    @cached_property
    def companions(self) -> dict[str, str]:
        """Target participants of an unpaired study who are a source participant too, and which one."""
        return bids.companions(self.index) if self.unpaired else {}

    @property
    def tables(self) -> list[str]:
        """Names of the tables of metrics."""
        found = [name for name in ("audit", "lesions") if self.config["evaluate"][name]]
        own = ["appearance", "harmonisation"] if self.unpaired else found
        return ["per_subject", "leaderboard", "comparisons", "ranks", "agreement", *own]

    @cached_property
    def folds(self) -> list[str]:
        """Names of the folds, in order."""
        return list(dict.fromkeys(self.splits["fold"]))

    @cached_property
    def tested(self) -> dict[str, str]:
        """The fold of each test participant that has a prediction: in an unpaired study those of the source."""
        return {person: fold for person, fold in self.test_folds.items() if person not in self.cohorts[1]}

    @cached_property
    def test_folds(self) -> dict[str, str]:
        """Each test participant's fold."""
        rows = self.splits[self.splits["split"] == "test"]
        return dict(zip(rows["participant_id"], rows["fold"], strict=True))

    @cached_property
    def parts(self) -> dict[tuple[str, str], list[str]]:
        """Participants of each part of each fold."""
        return splits.parts(self.splits)

    def members(self, fold: str, *parts: str) -> list[str]:
        """Participants of some parts of a fold."""
        return [person for part in parts for person in self.parts.get((fold, part), [])]

    def learned(self, fold: str, index: Index) -> list[Scan]:
        """The scans of an index that a fold's models learn from."""
        people = set(self.members(fold, "train"))
        return [scan for scan in index.used if scan.participant in people]

    @cached_property
    def megavoxels(self) -> dict[str, float]:
        """Each participant's largest image, on its own grid or the working grid, in millions of voxels."""
        spacing, sizes = self.config["preprocess"]["spacing"], dict[str, float]()
        if self.config["phantom"] is not None and spacing == "native":
            spacing = self.phantom.spacing
        for scan in self.scans.values():
            size = resources.megavoxels(scan.shape, scan.voxel, spacing)
            sizes[scan.participant] = max(size, sizes.get(scan.participant, 0.0))
        return sizes

    def card(self, fold: str) -> dict[str, Any]:
        """What a model card of a fold says of its data: how scans are prepared, what the training scans were like.

        Reads the sidecars of the preprocessed training scans, which must exist.
        """
        used = self.learned(fold, self.described())
        sources, targets = ([(scan, read_json(sidecar(self.preprocessed(scan)))) for scan in used if scan.role == side]
                            for side in ("source", "target"))  # fmt: skip
        return {
            "phantom": self.config["phantom"] is not None,
            "pairing": self.config["pairing"],
            "channels": bids.contrast_names(self.config["source"]),
            "simulate": self.config["simulate"] if self.config["pairing"] == "simulated" else None,
            # Of a source: a side may have brains of its own kind.
            "preprocess": {**self.config["preprocess"], "brain": self.brain(sources[0][0])},
            "domain": domain.describe(sources, targets),
        }

    # -- where files are ---------------------------------------------------------------------------------------

    def native(self, scan: Scan) -> str:
        """The scan as acquired, as the average of its acquisitions, or as simulated."""
        if scan.simulated:
            return derivative(self.root, scan, "simulated")
        return derivative(self.root, scan, "average") if scan.further else scan.path

    def corrected(self, scan: Scan) -> str:
        """Bias-corrected, native grid."""
        return derivative(self.root, scan, "biascorr")

    def mask(self, scan: Scan) -> str:
        """Brain mask, native grid."""
        return derivative(self.root, scan, "brain", "mask")

    def brain(self, scan: Scan) -> dict[str, Any]:
        """How a scan's brain is found: `preprocess.brain`, and what its side changes of it."""
        return {**self.config["preprocess"]["brain"], **(self.config[scan.role]["brain"] or {})}

    def tissues(self, scan: Scan) -> str:
        """Tissue classes, native grid."""
        return derivative(self.root, scan, "tissues", "dseg")

    def brain_files(self, scan: Scan) -> list[str]:
        """What brain extraction needs besides the scan: its masks for `mask`, the template for `template`."""
        settings = self.brain(scan)
        if settings["method"] == "template":
            return [settings["template"], settings["mask"]]
        if settings["method"] != "mask":
            return []
        acquired = self.pair_of(scan).target if scan.simulated else scan
        return bids.brain_masks(acquired, self.config[acquired.role]["bids_dir"], settings["derivatives"])

    def transform(self, scan: Scan) -> str:
        """Source to target: a matrix as text, or a displacement field as NIfTI."""
        return f"{self.root}/{scan.folder}/{scan.name}_from-source_to-target_mode-image_xfm{self.warp_extension}"

    def inverse(self, scan: Scan) -> str:
        """Target to source, likewise."""
        return f"{self.root}/{scan.folder}/{scan.name}_from-target_to-source_mode-image_xfm{self.warp_extension}"

    @cached_property
    def template(self) -> tuple[str, str] | None:
        """Image and brain mask of the template in whose space pairs meet, if the study has one."""
        settings = self.config["preprocess"]["template"]
        return template.files(settings, self.root) if template.given(settings) else None

    @property
    def space(self) -> str:
        """The space in which pairs meet: `target`, or the label of a template's."""
        return "target" if self.template is None else template.space(self.config["preprocess"]["template"])

    def to_template(self, scan: Scan) -> str:
        """Target (or a scan without one) to template, likewise."""
        return self._xfm(scan, scan.role, self.space)

    def from_template(self, scan: Scan) -> str:
        """Template to target, likewise."""
        return self._xfm(scan, self.space, scan.role)

    def _xfm(self, scan: Scan, start: str, end: str) -> str:
        return f"{self.root}/{scan.folder}/{scan.name}_from-{start}_to-{end}_mode-image_xfm{self.template_extension}"

    @property
    def template_extension(self) -> str:
        """Of the files of transforms between target and template."""
        return EXTENSIONS[self.config["preprocess"]["template"]["transform"]]

    @property
    def warp_extension(self) -> str:
        """Of the files of transforms between source and target."""
        return EXTENSIONS[self.config["preprocess"]["registration"]["transform"]]

    def preprocessed(self, scan: Scan, scale: Scale = SAME) -> str:
        """Normalised, skull stripped, on the pair's working grid, or on that grid coarsened by `scale`."""
        # Nothing is registered across people: each scan of an unpaired study has a grid of its own.
        if self.unpaired:
            return derivative(self.root, scan, "preproc")
        return self.on_pair(scan, scale)

    def on_pair(self, scan: Scan, scale: Scale = SAME) -> str:
        """Preprocessed on the grid of the target that the scan is paired with, or of the template."""
        extra = "" if scale == SAME else f"_res-{'x'.join(map(str, scale))}"
        return derivative(self.root, scan, "preproc", extra=f"space-{self.space}{extra}")

    def network_input(self, scan: Scan, method: str) -> list[str]:
        """The preprocessed contrasts of the source that a method enhances."""
        return [self.preprocessed(channel, self.scale[method]) for channel in self.pair_of(scan).sources]

    @cached_property
    def scale(self) -> dict[str, Scale]:
        """Size of each method's output relative to its input."""
        return {name: demands.of(self.config, name).scale for name in self.methods}

    @property
    def scales(self) -> list[Scale]:
        """The scales that occur, without that of methods that keep the grid."""
        return sorted(set(self.scale.values()) - {SAME})

    @property
    def multiple(self) -> Scale:
        """What corner and size of the working grid are multiples of, so that every scale fits."""
        x, y, z = (math.lcm(*(scale[axis] for scale in [SAME, *self.scales])) for axis in range(3))
        return x, y, z

    @property
    def series(self) -> dict[str, str]:
        """The folder of the DICOM series that an image is converted from, by the image."""
        return {scan.path: scan.dicom for scan in self.index.scans if scan.dicom}

    @property
    def datasets(self) -> list[str]:
        """Folders of the BIDS datasets that the study reads."""
        sides = ("target",) if self.config["pairing"] == "simulated" else ("source", "target")
        folders = [] if self.config["samples"] is not None else [self.config[side]["bids_dir"] for side in sides]
        return list(dict.fromkeys(folders))

    def atlas(self, participant: str) -> list[str]:
        """The user's label image of a participant, or of the template, if there is one."""
        pattern = self.config["evaluate"]["atlas"]["images"]
        path = atlas.image_of(pattern, participant) if pattern else ""
        return [path] if path and Path(path).is_file() else []

    @property
    def template_atlas(self) -> bool:
        """Whether the user's label image is one, in the template's space."""
        pattern = self.config["evaluate"]["atlas"]["images"]
        return pattern is not None and atlas.PLACE not in pattern

    def verdict(self, name: str) -> str:
        """What quality control measures of the content of a store, and whether it may be used."""
        return f"{self.root}/qc/participants/{name}.json"

    def pictures(self, name: str) -> list[str]:
        """Brain masks and registration of a pair, to look at."""
        return [f"{self.root}/qc/figures/{name}_{what}.webp" for what in PICTURES]

    @property
    def sheets(self) -> dict[str, list[str]]:
        """Pairs whose pictures make one contact sheet, by its number."""
        names = list(self.pair_names)
        starts = range(0, len(names), SHEET)
        return {str(number): names[start : start + SHEET] for number, start in enumerate(starts, start=1)}

    def store(self, name: str) -> str:
        """Patch store of a participant, or of a linked pair."""
        return f"{self.root}/patches/{name}.safetensors"

    @cached_property
    def contents(self) -> dict[str, tuple[Scan | None, Scan | None]]:
        """What each patch store holds, by its name: source scan, target scan.

        In an unpaired study one scan, and for those scanned on both sides a store of both besides.
        """
        if not self.unpaired:
            return {person: (pair.source, pair.target) for person, pair in self.pairs.items()}
        single = {
            person: (scan, None) if scan.role == "source" else (None, scan) for person, scan in self.alone.items()
        }
        return single | {self.pair_name(pair): (pair.source, pair.target) for pair in self.pairs.values()}

    def pair_name(self, pair: Pair) -> str:
        """What the store of a pair is called: after the participant, or after both in an unpaired study."""
        if not self.unpaired:
            return pair.participant
        return "-".join(["pair", *(scan.participant.removeprefix("sub-") for scan in (pair.source, pair.target))])

    @property
    def pair_names(self) -> list[str]:
        """Names of the stores of all pairs."""
        return [self.pair_name(pair) for pair in self.pairs.values()]

    def drawn(self, fold: str, *parts: str, role: str | None = None) -> list[str]:
        """Paths of the stores of some parts of a fold; with `role` only those of participants of that side."""
        people = self.members(fold, *parts)
        if role is not None and self.unpaired:
            return [self.store(person) for person in people if self.alone[person].role == role]
        linked = (
            [self.pair_name(pair) for person, pair in self.pairs.items() if person in people] if self.unpaired else []
        )
        return [self.store(name) for name in [*people, *linked]]

    def model(self, method: str, fold: str, seed: int) -> str:
        """Folder of a model."""
        return f"{self.root}/models/{method}/fold-{fold}_seed-{seed}"

    def models(self, method: str, participant: str) -> list[str]:
        """Folders of the models that never saw a test participant: one per seed, none for an interpolation."""
        if method not in self.trained:
            return []
        return [self.model(method, self.tested[participant], seed) for seed in self.seeds(method)]

    def seeds(self, method: str) -> list[int]:
        """Histogram matching has nothing random in it, so one seed is enough."""
        return list(self.config["train"]["seeds"])[: 1 if method in MODEL_FREE else None]

    def prediction(self, method: str, participant: str) -> str:
        """Enhanced image on the target's native grid; named after the source, with the target's suffix.

        In an unpaired study on the source's own grid, with its suffix.
        """
        if self.unpaired:
            return derivative(self.root, self.alone[participant], method)
        pair = self.pairs[participant]
        return derivative(self.root, pair.source, method, pair.target.suffix, "space-target")

    def samples(self, method: str) -> int:
        """How many samples with dropout are drawn of each of a method's models; 0 predicts without dropout."""
        return demands.samples(self.config, method)

    def outputs(self, method: str) -> int:
        """How many outputs, of seeds and samples, a method's prediction is the mean of."""
        return demands.members(self.config, method)

    @cached_property
    def uncertain(self) -> list[str]:
        """The methods whose predictions are means of several, and so have a standard deviation, in report order.

        None in an unpaired study, where there is no truth to judge a standard deviation by.
        """
        return [] if self.unpaired else [name for name in self.methods if self.outputs(name) > 1]

    def deviation(self, method: str, participant: str) -> str:
        """Standard deviation of a prediction, on the same grid."""
        pair = self.pairs[participant]
        return derivative(self.root, pair.source, f"{method}std", pair.target.suffix, "space-target")

    def pair_of(self, scan: Scan) -> Pair:
        """The pair that a scan is part of."""
        return self.pairs[self.companions.get(scan.participant, scan.participant)]

    def training(self, method: str) -> dict[str, Any]:
        """What of the `train` block decides on a method's weights, besides seed and start."""
        others = {"seeds", "init_from", *RUNTIME_OPTIONS}
        block = self.config["train"]
        kept = {key: value for key, value in block.items() if key not in others}
        return kept | {"layer_lr": block["layer_lr"].get(method, {})}

    def start(self, method: str) -> list[str]:
        """Files of the trained model that a method's training starts from, if any."""
        folder = self.config["train"]["init_from"].get(method)
        return [] if folder is None else [f"{folder}/model.safetensors", f"{folder}/model.json"]

    def features(self, method: str) -> list[str]:
        """The file of VGG weights that a method's losses use, if any."""
        path = demands.feature_file(self.method_settings(method))
        return [] if path is None else [path]

    def method_settings(self, method: str) -> dict[str, Any]:
        """Resolved settings of a method."""
        return config.method_settings(self.config, method)


# What follows `desc-` in the names of files that no method writes; docs/adding-a-method.md lists them.
RESERVED = ("preproc", "biascorr", "simulated", "average", "brain", "tissues")


def _labels(methods: Sequence[str]) -> dict[str, str]:
    """Method by the label that stands in its files' names. Raises UpfieldError if two would have the same files."""
    taken = {name: name for name in RESERVED}
    result: dict[str, str] = {}
    for method in methods:
        # A method `x_std` would write the files of the standard deviation of a method `x`.
        spreads = {f"{name}std": other for name, other in result.items()}
        other = (taken | result | spreads).get(label(method)) or result.get(f"{label(method)}std")
        if other is not None:
            raise UpfieldError(f"config: methods {method} and {other} would write the same files; rename one")
        result[label(method)] = method
    return result
