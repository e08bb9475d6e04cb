"""External methods: predictions of other programs, given as files or made by a command, beside the study's own.

What they learned from is not known here. So their training participants may be named, and are not tested then.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upfield.bids import Pair, Scan, person
from upfield.bids.odd import EXTENSIONS, entities, extension
from upfield.catalogue.methods import MODEL_FREE, known_methods
from upfield.errors import UpfieldError
from upfield.foreign import read_table, warn
from upfield.place import WILDCARD

# How outputs come to intensities of the target, and how a methods text says so: see docs/methods.md.
SCALES = {
    "as_given": "intensities as given",
    "matched": "normalized as scans are, then on the scale of the target",
    "fitted": "normalized as scans are, then on the scale of the target by a curve fitted on training participants",
}
DEFAULT_SCALE = "matched"
# What stands for something in a word of a command.
PLACES = ("source", "mask", "output", "threads", "here")
PLACE = re.compile(r"\{(\w*)\}")
# Minutes that a program may take for one scan.
MINUTES = 60.0
# Entities that say whose file it is, or what became of it, and not of which scan.
NOT_OF_SCANS = ("sub", "space", "res", "desc", "suffix", "datatype")
# Suffixes of images that are no predictions.
NO_PREDICTION = ("mask", "dseg", "probseg", "xfm")
# Participants and files named in a line.
NAMED = 5


@dataclass(frozen=True)
class External:
    """What a study says of one: see `external` in workflow/schemas/config.schema.yaml."""

    name: str
    predictions: str | None = None
    command: tuple[str, ...] = ()
    title: str = ""
    scale: str = DEFAULT_SCALE
    space: str | None = None
    minutes: float = MINUTES
    version: str = ""
    reference: str = ""
    trained_on: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Of the configuration."""
        return f"external.{self.name}"

    @property
    def called(self) -> str:
        """Its name in sentences."""
        return self.title or self.name

    @property
    def world(self) -> str | None:
        """In whose world its outputs are, `source` or `target`; None if their grids say so."""
        return "source" if self.command else self.space

    @property
    def fitted(self) -> bool:
        """Whether it has an intensity curve, which is fitted on training participants and kept as a model."""
        return self.scale == "fitted"

    @property
    def files(self) -> list[str]:
        """Files that its command names, the program among them if it is named by a path."""
        words = [word.replace("{here}", str(Path.cwd())) for word in self.command]
        return [word for word in words if "/" in word and Path(word).is_file()]

    def said(self) -> dict[str, Any]:
        """What a sidecar says of it."""
        said = {"Program": self.called, "Version": self.version, "Reference": self.reference, "Scale": self.scale}
        return {key: value for key, value in said.items() if value}


def of(config: Mapping[str, Any]) -> dict[str, External]:
    """Every external method of a study by its name, in the order of the configuration."""
    result = {}
    for name, block in (config.get("external") or {}).items():
        given = {key: value for key, value in block.items() if value is not None}
        for key in ("command", "trained_on"):
            given[key] = tuple(map(str, given.get(key, ())))
        result[name] = External(name, **given)
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, for an external method that cannot be one."""
    known = {*MODEL_FREE, *known_methods()}
    for name, found in of(config).items():
        block = config["external"][name]
        if name in known:
            raise UpfieldError(f"config: {found.key} has the name of a method of Upfield; expected another")
        if name in config["methods"] or name in config["method_overrides"]:
            raise UpfieldError(
                f"config: {name} stands in external, and is measured without being named in methods or"
                " method_overrides, which are for models that are trained here; take it out there"
            )
        if (found.predictions is None) == (not found.command):
            what = "neither predictions nor command" if found.predictions is None else "predictions and command"
            raise UpfieldError(f"config: {found.key} has {what}; expected one of them")
        if found.command:
            _check_command(found)
        elif block.get("minutes") is not None:
            raise UpfieldError(f"config: {found.key}.minutes has no effect; it is for a command")


def _check_command(found: External) -> None:
    key = f"config: {found.key}"
    if found.space is not None:
        raise UpfieldError(f"{key}.space has no effect; a command sees the source alone, and its output is there")
    used = [place for word in found.command for place in PLACE.findall(word)]
    odd = next((place for place in used if place not in PLACES), None)
    if odd is not None:
        raise UpfieldError(f"{key}.command has {{{odd}}}; expected {', '.join(f'{{{place}}}' for place in PLACES)}")
    missing = next((place for place in ("source", "output") if place not in used), None)
    if missing is not None:
        raise UpfieldError(f"{key}.command has no {{{missing}}}; expected {{source}} and {{output}} among its words")


def check_programs(found: Iterable[External]) -> None:
    """Raise UpfieldError for a command whose program is not on this machine."""
    for one in (one for one in found if one.command):
        name = one.command[0].replace("{here}", str(Path.cwd()))
        if shutil.which(name) is None:
            raise UpfieldError(
                f"config: {one.key}.command begins with {name[:100]}, which was not found; expected a program, by name"
                " or path"
            )


def check_tested(found: External, tested: Iterable[Scan]) -> None:
    """Raise UpfieldError if a participant who is tested is among those whom a program was trained on."""
    seen = {f"sub-{label.removeprefix('sub-')}" for label in found.trained_on}
    leaked = sorted({scan.participant for scan in tested if {scan.participant, scan.original} & seen})
    if leaked:
        raise UpfieldError(
            f"config: {found.key}.trained_on has {_who(leaked)} tested here; let splits.file train on them, or leave"
            " them out with participants.exclude"
        )


def given(found: External, pairs: Sequence[Pair]) -> dict[str, str]:
    """The file of each participant's prediction, for those who have one.

    In a folder a file is a participant's by its BIDS name, `sub-<label>[_ses-...]`, whose entities contradict those of
    the source, or else of the target, nowhere. In a table `participant_id, file` rows say so; columns `session` and
    `run` choose among several. Raises UpfieldError for a folder, table or file that is not there or cannot be read, and
    for several that would do. Files of participants who are not in the study are named in the log.
    """
    place = Path(str(found.predictions))
    if not place.exists():
        raise UpfieldError(
            f"config: {found.key}.predictions is {found.predictions}, which is not there; expected a folder of images,"
            " or a table participant_id, file"
        )
    files = _of_folder(place) if place.is_dir() else _of_table(found, place)
    known = {pair.participant: pair for pair in pairs}
    strangers = sorted({f"sub-{said['sub']}" for said, _ in files} - set(map(person, known)))
    if strangers:
        warn(f"{found.key}.predictions has files of {_listed(strangers)}, not in this study; they are not used")
    result: dict[str, str] = {}
    for name, pair in known.items():
        own = [(said, path) for said, path in files if f"sub-{said['sub']}" == person(name)]
        chosen = _fitting(own, pair.source) or _fitting(own, pair.target)
        if len(chosen) > 1:
            raise UpfieldError(
                f"config: {found.key}.predictions has several files of {name} ({_listed([p.name for p in chosen])});"
                " expected one of each: name them in a table participant_id, file"
            )
        if chosen:
            path = _plain(found, chosen[0])
            other = next((other for other, taken in result.items() if taken == path), None)
            if other is not None:
                raise UpfieldError(
                    f"config: {found.key}.predictions: {chosen[0].name} may be of {other} and of {name}; expected the"
                    " session and the run of its source in its name, or in a table participant_id, file"
                )
            result[name] = path
    return result


def require_given(found: External, files: Mapping[str, str], tested: Iterable[str], trained: Iterable[str]) -> None:
    """Raise UpfieldError, which names participants, if a prediction that the study needs is missing.

    That of everybody who is tested; for a curve that of somebody in training. All methods are compared on the same
    participants.
    """
    missing = [name for name in tested if name not in files]
    if missing:
        raise UpfieldError(
            f"config: {found.key}.predictions has no file of {_who(missing)} tested; add it, or leave them out with"
            " participants.exclude"
        )
    if found.fitted and not any(name in files for name in trained):
        raise UpfieldError(
            f"config: {found.key}.scale is fitted, but predictions has no file of a training participant; add some, or"
            " choose matched"
        )


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What methods of others were measured, as a clause; empty if there are none."""
    told = []
    for name, found in of(config).items():
        # What stands in brackets would be taken for a citation.
        texts = (text.replace("[", "(").replace("]", ")") for text in (found.called, found.version, found.reference))
        called, version, reference = texts
        how = "run as a command" if found.command else "from predictions that were given"
        named = [called if called == name else f"{called} ({name})", version and f"version {version}", reference, how]
        told.append(f"{', '.join(filter(None, [*named, SCALES[found.scale]]))}")
    return f"methods that were not trained here: {'; '.join(told)}" if told else ""


Files = list[tuple[dict[str, str], Path]]


def _of_folder(folder: Path) -> Files:
    """The images below a folder that are somebody's, with their entities."""
    result, nobodys = [], []
    for path in sorted(folder.rglob("*")):
        if extension(path.name).lower() not in EXTENSIONS or path.is_dir():
            continue
        said = entities(path.relative_to(folder))
        if said["suffix"] in NO_PREDICTION:
            continue
        if "sub" in said:
            result.append((said, path))
        else:
            nobodys.append(path.name)
    if nobodys:
        warn(f"{folder}: {_listed(nobodys)} name no participant (sub-<label>); they are not used")
    return result


def _of_table(found: External, table: Path) -> Files:
    key = f"config: {found.key}.predictions"
    rows = read_table(table, ("participant_id", "file"), key, filled=("participant_id", "file"))
    result = []
    for line, row in zip(rows.index, rows.to_dict("records"), strict=True):
        said = {"sub": row["participant_id"].removeprefix("sub-")}
        for column, entity in (("session", "ses"), ("run", "run")):
            value = row.get(column, "").removeprefix(f"{entity}-")
            if value not in ("", "n/a"):
                said[entity] = value
        path = table.parent / row["file"]
        if not path.is_file():
            raise UpfieldError(f"{table}, line {line}: {row['file']!r:.100} is not there; expected an image")
        result.append((said, path))
    return result


def _fitting(files: Files, scan: Scan) -> list[Path]:
    """Those of a participant's files that may be of a scan; of several those with its suffix, if there are any."""
    own = dict(part.split("-", 1) for part in scan.name.split("_") if "-" in part)
    fits = [
        (said, path)
        for said, path in files
        if all(_same(value, own[key]) for key, value in said.items() if key in own and key not in NOT_OF_SCANS)
    ]
    same = [(said, path) for said, path in fits if said.get("suffix") == scan.suffix]
    return [path for _, path in (same or fits)]


def _same(one: str, other: str) -> bool:
    """Whether two labels are the same; `1` and `01` are, as runs are counted either way."""
    return one == other or (one.isdigit() and other.isdigit() and int(one) == int(other))


def _plain(found: External, path: Path) -> str:
    special = WILDCARD.search(str(path))
    if special is not None:
        raise UpfieldError(
            f"config: {found.key}.predictions: {str(path)!r:.120} has {special[0]!r} in it, which Snakemake reads"
            " otherwise; rename it"
        )
    return str(path)


def _who(names: Sequence[str]) -> str:
    return f"{_listed(names)}, who {'is' if len(names) == 1 else 'are'}"


def _listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
