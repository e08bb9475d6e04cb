"""A study that fits a dataset: which kind of pairing, which scans, which split; as a short config with its reasons."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from upfield.catalogue.methods import built_in
from upfield.errors import UpfieldError
from upfield.files import read_yaml
from upfield.place import ROOT
from upfield.study import designs
from upfield.study.config import defaults
from upfield.study.survey import MAKER, MODEL, NONE, ONE_FIELD, Kind, Survey

EXAMPLES = ROOT / "config" / "examples"
# What suits most scans.
USUAL = "ds000011-lowfield"
# Somebody in each part of a split.
FEWEST = 3
# Two scanners of one dataset are harmonized from so many participants each.
FEWEST_OF_A_SCANNER = 5
# From so many on, a fifth of the participants are enough to test on.
MANY = 25
FOLDS = 5
# Voxels whose volumes differ by more than this factor are of scans of different quality.
COARSER = 1.3
# Of suffixes that as many people have, the first of these.
PREFERRED = ("T1w", "T2w", "FLAIR")
WIDTH = 118


@dataclass(frozen=True)
class Proposal:
    """A study: `pairing`, its sides (`source` is None where it is made from the target), and why, in a sentence."""

    pairing: str
    source: Kind | None
    target: Kind
    folders: Mapping[str, Path]
    people: int
    because: str
    others: str = ""

    @property
    def name(self) -> str:
        """A name for the study, after its datasets."""
        names = dict.fromkeys(
            re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.") for folder in self.folders.values()
        )
        return "-to-".join(filter(None, names)) or "my-study"

    @property
    def slabs(self) -> bool:
        """Whether scans of a side are a few slices each."""
        return any(kind.slabs for kind in self.sides.values())

    @property
    def example(self) -> str:
        """The example whose networks, patches and intensities suit such scans."""
        if not designs.known()[self.pairing].has_reference:
            return "harmonize-vendors"
        return "64mt-to-3t" if self.slabs else USUAL

    @property
    def sides(self) -> dict[str, Kind]:
        """The sides that have scans of their own."""
        return {role: kind for role, kind in (("source", self.source), ("target", self.target)) if kind is not None}


def of_one(survey: Survey) -> Proposal:
    """The study that fits one dataset. Raises UpfieldError where too few participants have scans of any use."""
    found = _best(_pairs(survey), survey) or _scanners(survey) or _simulated(survey)
    if found.people < FEWEST:
        raise UpfieldError(
            f"{survey.folder} has {found.people} participant{'s' * (found.people != 1)} with {found.target.suffix}"
            f" scans; to train takes at least {FEWEST}, one each to train, validate and test; to enhance scans with a"
            " trained model: upfield enhance"
        )
    return found


def of_two(source: Survey, target: Survey) -> Proposal:
    """The study of two datasets of different people. Raises UpfieldError where they have no suffix in common."""
    kinds = [{kind.suffix: kind for kind in survey.suffixes()} for survey in (source, target)]
    common = sorted(
        set(kinds[0]) & set(kinds[1]), key=lambda suffix: _order(suffix, *(len(k[suffix].people) for k in kinds))
    )
    if not common:
        raise UpfieldError(
            f"{source.folder} has {', '.join(sorted(kinds[0]))} and {target.folder} {', '.join(sorted(kinds[1]))};"
            " expected scans of one suffix in both"
        )
    first, second = (found[common[0]] for found in kinds)
    people = min(len(first.people), len(second.people))
    if people < FEWEST:
        raise UpfieldError(
            f"{source.folder} and {target.folder} have {len(first.people)} and {len(second.people)} participants with"
            f" {common[0]} scans; expected at least {FEWEST} in each"
        )
    because = (
        f"Two datasets, {len(first.people)} participants ({first.described}) and {len(second.people)}"
        f" ({second.described}). They are taken for different people, whatever their labels; of the same people under"
        " the same labels write `pairing: paired` and `methods: [upfield]`."
    )
    folders = {"source": source.folder, "target": target.folder}
    return _unpaired(first, second, folders, people, because, _others(common[0], common))


def _best(found: Iterable[Proposal], survey: Survey) -> Proposal | None:
    """The pairing that most people can be in; of equals the first."""
    best = min(found, key=lambda one: _order(one.target.suffix, one.people), default=None)
    return None if best is None else replace(best, others=_left(best, survey))


def _order(suffix: str, *people: int) -> tuple[int, int, str]:
    return -min(people), PREFERRED.index(suffix) if suffix in PREFERRED else len(PREFERRED), suffix


def _pairs(survey: Survey) -> Iterable[Proposal]:
    """Two kinds of scan of the same people, one poorer than the other or of another scanner."""
    for kinds in (survey.sessions(), survey.fields(), survey.scanners(MAKER), survey.scanners(MODEL)):
        for first, second in combinations(kinds, 2):
            people = first.people & second.people
            told = _poorer(first, second) if first.suffix == second.suffix and len(people) >= FEWEST else None
            if told is not None:
                source, target, why = told
                because = f"{len(people)} participants have {source.suffix} scans of both kinds: {why}."
                folders = dict.fromkeys(("source", "target"), survey.folder)
                yield Proposal("paired", source, target, folders, len(people), because)


def _poorer(first: Kind, second: Kind) -> tuple[Kind, Kind, str] | None:
    """The poorer kind, the better one, and how they differ; None where they do not."""
    low, high = sorted((first, second), key=lambda kind: kind.field or 0)
    if low.field and high.field and high.field > ONE_FIELD * low.field:
        return low, high, f"the source is of lower field, {low.described}; the target {high.described}"
    if first.seen and second.seen:
        fine, coarse = sorted((first, second), key=lambda kind: _volume(kind.voxel))
        if _volume(coarse.voxel) > COARSER * _volume(fine.voxel):
            return coarse, fine, f"the source has larger voxels, {coarse.described}; the target {fine.described}"
    if first.scanners and second.scanners and first.scanners != second.scanners:
        return first, second, f"two scanners, {first.described} and {second.described}; exchange them for the other way"
    return None


def _volume(voxel: Sequence[float]) -> float:
    x, y, z = voxel
    return x * y * z


def _scanners(survey: Survey) -> Proposal | None:
    """Scans of two scanners, of different people."""
    for kinds in (survey.fields(), survey.scanners(MAKER), survey.scanners(MODEL)):
        large = [kind for kind in kinds if len(kind.people) >= FEWEST_OF_A_SCANNER]
        apart = [pair for pair in combinations(large, 2)
                 if pair[0].suffix == pair[1].suffix and not pair[0].people & pair[1].people]  # fmt: skip
        if not apart:
            continue
        first, second = min(apart, key=lambda pair: _order(pair[0].suffix, *(len(kind.people) for kind in pair)))
        told = _poorer(first, second)
        source, target = (first, second) if told is None else told[:2]
        because = (
            f"Scans of two scanners and of different people: {len(source.people)} participants ({source.described}) and"
            f" {len(target.people)} ({target.described})."
        )
        folders = dict.fromkeys(("source", "target"), survey.folder)
        people = min(len(source.people), len(target.people))
        found = _unpaired(source, target, folders, people, because, "")
        return replace(found, others=_left(found, survey))
    return None


def _unpaired(
    source: Kind, target: Kind, folders: Mapping[str, Path], people: int, because: str, others: str
) -> Proposal:
    return Proposal("unpaired", source, target, folders, people, because, others)


def _simulated(survey: Survey) -> Proposal:
    """One kind of scan: that of the session that most people have."""
    target = min(survey.sessions(), key=lambda kind: _order(kind.suffix, len(kind.people)))
    because = (
        f"One good kind of scan of {len(target.people)} participants ({target.suffix}, {target.described}): poor scans"
        " are made from them."
    )
    found = Proposal("simulated", None, target, {"target": survey.folder}, len(target.people), because)
    return replace(found, others=_left(found, survey))


def _left(found: Proposal, survey: Survey) -> str:
    """What else the dataset has."""
    used = {scan.session for kind in found.sides.values() for scan in kind.scans}
    sessions = sorted({scan.session for scan in survey.scans} - used - {NONE})
    said = [f"Other sessions: {', '.join(sessions)}." if sessions else ""]
    said.append(_others(found.target.suffix, [kind.suffix for kind in survey.suffixes()]))
    return " ".join(filter(None, said))


def _others(suffix: str, suffixes: Iterable[str]) -> str:
    rest = sorted(set(suffixes) - {suffix})
    return f"Other suffixes, which `suffix` can name: {', '.join(rest)}." if rest else ""


def text(found: Proposal, gpu: bool, file: str, extra: Mapping[str, Any] | None = None) -> str:
    """The config of a proposal, with comments; `extra` keys are added to it.

    `gpu`: whether networks of published size can be trained. `file` is what the config will be called.
    """
    design, example = designs.known()[found.pairing], read_yaml(EXAMPLES / f"{found.example}.yaml")
    lines = [
        *_comment(f"Written by `upfield init`. What would run: upfield check {file}. To run it: upfield run {file}"),
        *_comment("Every key and its default: config/config.yaml; what they do: docs/guide.md. Both are in:"),
        *_comment(str(ROOT)),
        *_yaml({"study": found.name, **(extra or {})}),
        "",
        *_comment(" ".join(part for part in (found.because, found.others) if part)),
        *_yaml({"pairing": found.pairing}),
        *(line for role, kind in found.sides.items() for line in _yaml({role: _side(found, role, kind)})),
    ]
    if found.source is None:
        thick = max(5.0, round(2 * max(found.target.voxel, default=0.0), 1))
        lines += ["# What a poor scan is like; other kinds: docs/guide.md, Simulated scans."]
        lines += _yaml({"simulate": {"kind": "lowfield", "factor": 2, "thickness": thick}})
    lines += ["", *_preprocess(found, example), *_splits(found), ""]
    methods = [name for name in defaults()["methods"] if design.learned_as in built_in(name).pairings]
    methods = methods or example["methods"]
    lines += [*_comment("The baselines run beside it."), *_yaml({"methods": methods})]
    return "\n".join([*lines, *_networks(found, example, [*design.baselines, *methods], gpu)]) + "\n"


def _side(found: Proposal, role: str, kind: Kind) -> dict[str, Any]:
    own: dict[str, Any] = {
        "bids_dir": str(found.folders[role]),
        "entities": {**kind.entities, "suffix": kind.suffix},
    }
    own |= {"metadata": dict(kind.metadata)} if kind.metadata else {}
    return own | ({"brain": {"method": "none"}} if kind.stripped else {})


def _preprocess(found: Proposal, example: Mapping[str, Any]) -> list[str]:
    """Working grid, and what the example of such scans has of its own."""
    block: dict[str, Any] = {"spacing": "auto"}
    said = ["`auto`: the working grid that the voxels call for."]
    if found.source is None:
        block |= {"registration": {"transform": "none"}}
        said.append("A scan that is made lies where its original does.")
    if "normalize" in example["preprocess"]:
        block |= {"normalize": example["preprocess"]["normalize"]}
        said.append("A few slices hold more or less of what is brightest: zscore.")
    if any(kind.stripped for kind in found.sides.values()):
        said.append("`brain: {method: none}` above: those scans are skull-stripped.")
    return [*_comment(" ".join(said)), *_yaml({"preprocess": block})]


def _splits(found: Proposal) -> list[str]:
    if found.people >= MANY:
        block = {"scheme": "holdout", "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}}
        return [*_comment("By participant; nobody is trained on and tested."), *_yaml({"splits": block})]
    folds = min(FOLDS, found.people)
    said = (
        f"With {found.people} participants everybody is tested once, by one of {folds} trainings of each method."
        " `scheme: holdout` trains once, and tests few."
    )
    return [*_comment(said), *_yaml({"splits": {"scheme": "kfold", "folds": folds}})]


def _networks(found: Proposal, example: Mapping[str, Any], methods: Sequence[str], gpu: bool) -> list[str]:
    """What such scans need of patches and evaluation, and without a GPU networks for a CPU."""
    lines, patches = [], {"patches": example["patches"]}
    needed = patches if found.example != USUAL else {}
    if needed:
        needed |= {"evaluate": example["evaluate"]} if "evaluate" in example else {}
        lines += ["", *_comment("What suits such scans, after an example."), *_yaml(needed)]
    if not gpu:
        small = {
            "method_overrides": {name: own for name, own in example["method_overrides"].items() if name in methods},
            "train": {key: example["train"][key] for key in ("epochs", "ema")},
        }
        said = "No GPU was found here: networks for a CPU. Leave these out on a GPU."
        lines += ["", *_comment(said), *_yaml(small if needed else patches | small)]
    return lines


def _comment(said: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(said, WIDTH - 2, break_long_words=False, break_on_hyphens=False)]


def _yaml(keys: Mapping[str, Any], indent: str = "") -> list[str]:
    """Keys as YAML, each in one line where that is short enough."""
    lines = []
    for key, value in keys.items():
        flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
        line = f"{indent}{key}: {flow.removesuffix('...' + chr(10)).strip()}"
        if len(line) > WIDTH and isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_yaml(value, f"{indent}  ")]
        else:
            lines.append(line)
    return lines
