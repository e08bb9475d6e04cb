"""A trained model as the workflow sees it, with the scans to enhance: the study of `snakemake apply`.

What a model card says decides how scans are prepared; the user says which model, which scans, and where to.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from upfield import bids
from upfield.bids import Exclusion, Pair, Scan, label, sidecar
from upfield.catalogue.methods import facts
from upfield.catalogue.rules import near, raise_first, strict
from upfield.catalogue.weights import KEEPS_CONTRAST, keeps_contrast, require_own
from upfield.errors import UpfieldError
from upfield.files import merged, read_json, read_yaml, write_text, write_tsv
from upfield.image.nifti import Scale
from upfield.predict import training_range
from upfield.preprocess import template
from upfield.preprocess.brain.tool import tools
from upfield.preprocess.derivatives import why_excluded
from upfield.step import step
from upfield.study import config, designs, places, seen
from upfield.study.requirements import check_region
from upfield.study.scans import Scans

# What a user may say beside `model`; everything else stands in the model card.
OWN = ("model", "bids_dir", "out_of_range", "study", "output_dir", "participants", "duplicates", "report",
       "predict.overlap", "predict.tta", "source.entities", "source.metadata", "source.channels", "source.brain",
       "train.device", "train.precision")  # fmt: skip
# A number in a card is smaller than this, whatever it means.
GREATEST = 1e30
COLUMNS = ("participant_id", "session", "scan", "path", "status", "warnings", "reason", "output")


def resolve(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run with `model`: what its cards say laid over `settings`.

    `given` holds what the user said, without the defaults. Raises UpfieldError for a key that has no effect here, a
    folder that holds no usable model, and models that do not go together.
    """
    config.check_schema(settings)
    other = without_effect(given, OWN)
    if other is not None:
        raise UpfieldError(f"config: {other} has no effect with model; expected {', '.join(OWN)} and nothing else")
    if settings["duplicates"] == "newest":
        raise UpfieldError(
            "config: duplicates is newest, but every scan is enhanced; expected first (each by itself), average or"
            " combine"
        )
    cards = read_cards(settings["model"])
    suffix = {"suffix": cards[0]["domain"]["source"]["suffix"]}
    channels = contrasts_of(cards[0], given)
    source = {**settings["source"], "bids_dir": settings["bids_dir"], "channels": channels}
    return {
        **settings,
        "study": settings["study"] if "study" in given else f"apply-{cards[0]['method']}",
        "source": source | {"entities": merged(suffix, given.get("source", {}).get("entities", {}))},
        "pairing": cards[0]["pairing"],
        "simulate": settings["simulate"] | (cards[0].get("simulate") or {}),
        "preprocess": merged(settings["preprocess"], cards[0]["preprocess"]),
        "methods": [],
    }


def contrasts_of(card: Mapping[str, Any], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`source.channels` of a run with a model: as `given`, or by the suffixes of the contrasts that its card names.

    Raises UpfieldError for another number of contrasts than the model takes, or names in the card that are no suffix.
    """
    names = card.get("channels", [])
    said: list[dict[str, Any]] = given.get("source", {}).get("channels", [])
    if said and len(said) != max(len(names), 1):
        takes = f"{len(names)} contrasts, {', '.join(names)}" if len(names) > 1 else "one contrast"
        raise UpfieldError(f"config: source.channels names {len(said)} contrasts; the model takes {takes}")
    if said or len(names) < 2:
        return said
    other = next((name for name in names if not name.isalnum()), None)
    if other is not None:
        raise UpfieldError(
            f"config: the model takes {len(names)} contrasts, {', '.join(names)}; say in source.channels which scans"
            f" they are here ({other[:40]!r} is no suffix)"
        )
    return [{"suffix": name} for name in names]


def warnings_of(
    shown: Sequence[tuple[Scan, str]], trained_on: Mapping[str, Any], any_contrast: bool = False
) -> list[str]:
    """What sets the contrasts that a model is shown apart from its training scans; each with its preprocessed image.

    With `any_contrast` the model keeps whatever contrast it is shown, at any field strength.
    """
    check = partial(training_range.check, trained_on=trained_on, any_contrast=any_contrast)
    found = [(scan, check(scan, read_json(sidecar(path)))) for scan, path in shown]
    first = shown[0][0]
    return [text if scan is first else f"{scan.key}: {text}" for scan, texts in found for text in texts]


def without_effect(given: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    """The first key that was `given` and is none of those `allowed`, with its block where that has some of them."""
    blocks = {key.split(".")[0] for key in allowed if "." in key}
    keys = [key for key in given if key not in blocks]
    keys += [f"{block}.{key}" for block in given if block in blocks for key in given[block]]
    return next((key for key in keys if key not in allowed), None)


def read_cards(model: str | Sequence[str]) -> list[dict[str, Any]]:
    """The cards of models whose outputs are averaged. Raises UpfieldError as `read_card`, or if they differ."""
    folders = config.folders_of(model)
    cards = [read_card(folder) for folder in folders]
    _same(folders, cards)
    return cards


def read_card(folder: str) -> dict[str, Any]:
    """The card of a model folder. Raises UpfieldError, one line, if the folder cannot be used to enhance scans.

    Only methods that are installed here are accepted: a card is a file from somebody else and must not choose code.
    """
    for name in ("model.json", "model.safetensors"):
        if not (Path(folder) / name).is_file():
            meant = near(folder, [path.name for path in config.SHIPPED.iterdir()])
            advice = "expected a folder such as results/<study>/models/<method>/fold-0_seed-42"
            advice = f"did you mean {meant}?" if meant else advice
            raise UpfieldError(f"config: model is {folder}, where there is no {name}; {advice}")
    path = Path(folder) / "model.json"
    try:
        card: dict[str, Any] = read_json(path)
    except (ValueError, RecursionError, OSError) as error:
        raise UpfieldError(f"{path}: not a JSON file ({' '.join(str(error).split())[:120]})") from None
    _check_numbers(card, str(path))
    raise_first(strict(read_yaml(config.SCHEMAS / "card.schema.yaml")).iter_errors(card), str(path))
    _check_blocks(card, str(path))
    try:
        document = facts(card["method"]).document
    except UpfieldError:
        raise UpfieldError(f"{path}: its method {card['method']} is none of those in config/methods/") from None
    different = sorted(set(document["settings"]) ^ set(card["settings"]))
    if document["module"] != card["module"] or different:
        what = f"settings {', '.join(different)[:160]}" if different else f"code in {card['module'][:80]}"
        raise UpfieldError(
            f"{path}: {card['method']} has other {what} here; the model was made by Upfield {card['upfield'][:40]}"
        )
    try:
        facts(card["method"]).check(card["settings"], "settings")
    except UpfieldError as error:
        raise UpfieldError(f"{path}: {str(error).removeprefix('config: ')}") from None
    try:
        with safe_open(Path(folder) / "model.safetensors", framework="numpy"):
            return card
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UpfieldError(
            f"{folder}/model.safetensors cannot be read ({reason}); copy or train the model again"
        ) from None


def _check_numbers(value: Any, where: str, key: str = "") -> None:
    """Raise UpfieldError for a number in a card that is none, such as NaN, or that no float can hold."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_numbers(item, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, where, key)
    elif isinstance(value, float | int) and not abs(value) <= GREATEST:
        raise UpfieldError(f"{where}: {key[:80]} is {str(value)[:20]}; expected a finite number")


def _check_blocks(card: Mapping[str, Any], where: str) -> None:
    """Raise UpfieldError unless what a card says of preparing scans is what a configuration may say.

    It comes from somebody else and decides what is run and read here: the tools that there are, and images.
    """
    known = config.schema()
    properties = known["properties"]
    # Cards that are older than a key of the block do not have it.
    block = {key: value for key, value in properties["preprocess"].items() if key != "required"}
    rule: dict[str, Any] = {"preprocess": block, "pairing": properties["pairing"]}
    if card.get("simulate") is not None:
        rule["simulate"] = properties["simulate"]
    raise_first(strict({"$defs": known["$defs"], "properties": rule}).iter_errors(card), where)
    files = {
        f"preprocess.{name}.{key}": card["preprocess"].get(name, {}).get(key)
        for name, keys in (("brain", ("template", "mask")), ("template", ("image", "mask")))
        for key in keys
    }
    for key, path in files.items():
        if path is not None and not (path.isprintable() and path.endswith((".nii", ".nii.gz"))):
            raise UpfieldError(f"{where}: {key} is {path[:80]!r}; expected the path of a NIfTI image")
    if not str(card["preprocess"]["brain"].get("derivatives") or "").isprintable():
        raise UpfieldError(f"{where}: preprocess.brain.derivatives is no folder's name")


def check_weights(folder: str) -> None:
    """Raise UpfieldError if a model's weights are not those of its card, or one of them is not finite."""
    require_own(f"{folder}/model.safetensors")
    with safe_open(Path(folder) / "model.safetensors", framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            value = file.get_tensor(name)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise UpfieldError(
                    f"{folder}/model.safetensors: {name} holds values that are not finite; the training diverged,"
                    " train the model again"
                )


def _same(folders: Sequence[str], cards: Sequence[Mapping[str, Any]]) -> None:
    """Models whose outputs are averaged agree in everything that the scans are prepared by."""
    for folder, card in zip(folders, cards, strict=True):
        for key in ("method", "scale", "pairing", "preprocess", "channels", KEEPS_CONTRAST):
            if card.get(key) != cards[0].get(key):
                raise UpfieldError(f"config: model names {folders[0]} and {folder}, which differ in {key}")


class Application(Scans):
    """Everything the rules ask for when a trained model enhances scans that have no target: each by itself.

    `settings` are those that `resolve` returns.
    """

    def __init__(self, settings: Mapping[str, Any], rescan: bool = True) -> None:
        """Read the cards and index the dataset. Raises UpfieldError."""
        config.check_dataset("bids_dir", settings["bids_dir"])
        places.check(settings)
        template.check(settings)
        super().__init__(settings, designs.of(settings))
        self.folders = config.folders_of(settings["model"])
        self.cards = [read_card(folder) for folder in self.folders]
        self.keeps_contrast = keeps_contrast(self.cards[0])
        if rescan:
            # Once, and not by every job, which reads them anyway where it uses them.
            for folder in self.folders:
                check_weights(folder)
        brain = {**settings["preprocess"]["brain"], **(settings["source"]["brain"] or {})}
        tools()[brain["method"]].check(brain, "preprocess.brain")
        check_region(settings["preprocess"], brain["method"], "preprocess.brain")
        self.training_range = training_range.joined([card["domain"] for card in self.cards])
        every = bids.read_scans(settings, ["source"], Path(self.paths("index")), rescan)
        found = _whole(bids.choose(every, settings["participants"], settings["duplicates"]))
        self.groups, self.excluded = _groups(found, bids.contrast_names(settings["source"]))
        self.scans = {scan.name: scan for group in self.groups for scan in group}
        # Further contrasts have no row of their own unless they are left out.
        left_out = {row.path for row in self.excluded}
        self.found = [scan for scan in found if scan.channel == 0 or scan.path in left_out]
        self._contrasts = {scan.name: group for group in self.groups for scan in group}
        self._groups_by_path = {group[0].path: group for group in self.groups}

    def contrasts(self, scan: Scan) -> Sequence[Scan]:
        """The scan and those of the other contrasts that are of its session."""
        return self._contrasts[scan.name]

    @property
    def method(self) -> str:
        """The models' method."""
        return str(self.cards[0]["method"])

    @property
    def label(self) -> str:
        """The models' method as it stands in file names."""
        return label(self.method)

    @property
    def scale(self) -> Scale:
        """Size of the models' output relative to their input."""
        x, y, z = self.cards[0]["scale"]
        return x, y, z

    @property
    def preprocessed_kind(self) -> str:
        """The kind of file that networks see: on a grid of its own, or in the space of a template."""
        return "preprocessed_alone" if self.template is None else "preprocessed"

    def preprocessed(self, scan: Scan) -> str:
        """Normalized, cut to brain or head, on the grid that the networks take."""
        return self.paths(self.preprocessed_kind, scan)

    def enhanced(self, scan: Scan) -> str:
        """The models' output; named after the scan, with the suffix of what the models were trained to make."""
        made = scan.suffix if self.keeps_contrast else self.training_range["target"]["suffix"][0]
        return self.paths("enhanced", scan, method=self.method, suffix=made)

    def screened(self) -> pd.DataFrame:
        """applied.tsv: every scan found, what sets it apart from the training scans, and whether it is enhanced.

        Reads the sidecars of the preprocessed images, which must exist.
        """
        reasons = {row.path: row.reason for row in self.excluded}
        rows = []
        for found in self.found:
            reason, warnings = reasons.get(found.path), list[str]()
            group = [found] if reason else self._groups_by_path[found.path]
            scan = group[0]
            if reason is None:
                shown = [(one, self.preprocessed(one)) for one in group]
                reason = why_excluded(path for _, path in shown)
                warnings = [] if reason else warnings_of(shown, self.training_range, self.keeps_contrast)
            if warnings and self.config["out_of_range"] == "refuse":
                reason = "out of the model's range"
            told = (seen.why(one, self.cards) for one in group)
            known = None if reason else next((why for why in told if why is not None), None)
            if known is not None:
                warnings = [*warnings, f"the model has seen this participant or scan in training: {known}"]
            output = None if reason else str(Path(self.enhanced(scan)).relative_to(self.root))
            rows.append(
                (found.participant, scan.session, scan.key, scan.path, "excluded" if reason else "applied",
                 "; ".join(warnings) or None, reason, output)
            )  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))


def _whole(scans: Sequence[Scan]) -> list[Scan]:
    """The scans without those that are averaged or combined with another."""
    parts = {path for scan in scans for path in scan.further}
    return [scan for scan in scans if scan.path not in parts]


def _groups(found: Sequence[Scan], names: Sequence[str]) -> tuple[list[tuple[Scan, ...]], list[Exclusion]]:
    """What is enhanced, each with its further contrasts, and why the rest is not; `names` are those of the contrasts.

    Left out are scans that cannot be read, that have the names of others, or lack a contrast. Raises UpfieldError if
    nothing is left.
    """
    # Each scan of the first contrast is of a pair of its own, as in a study, without a target.
    visits = bids.as_visits(found, "scan", "source") if len(names) > 1 else found
    leads = [scan for scan in visits if scan.channel == 0]
    excluded = []
    taken: dict[str, str] = {}
    usable = []
    for scan in leads:
        first = taken.setdefault(scan.name, scan.path) if not scan.problem else scan.path
        reason = scan.problem or (f"{Path(first).name} has the same entities" if first != scan.path else "")
        if reason:
            excluded.append(_left_out(scan, reason))
        else:
            usable.append(Pair(scan.participant, scan, scan))
    whole, incomplete = bids.with_contrasts(usable, visits, names)
    excluded += incomplete
    kept = {scan.path for pair in whole for scan in pair.sources} | {row.path for row in excluded}
    excluded += [_left_out(scan, "the scan it belongs with cannot be used") for scan in found if scan.path not in kept]
    if not whole:
        raise UpfieldError(f"config: no scan was found to apply the model to ({bids.reasons(excluded)})")
    return [pair.sources for pair in whole], excluded


def _left_out(scan: Scan, reason: str) -> Exclusion:
    return Exclusion(scan.participant, "source", scan.path, "ingest", reason)


@step(version=0, memory=(1500, 0.2), minutes=(0.2, 0.02))
def screen(table: str, description: str, ignore: str, config: Mapping[str, Any]) -> None:
    """Write applied.tsv, and what makes the folder a BIDS derivative dataset."""
    application = Application(config, rescan=False)
    write_tsv(table, application.screened())
    bids.write_description(description, application.config)
    write_text(ignore, bids.IGNORED)
