"""A study's configuration: checked against its schema, contradictions named, method settings resolved."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield.bids.dataset import no_dataset
from upfield.catalogue.methods import FITTED, MODEL_FREE, SUPERVISED, Facts, facts
from upfield.catalogue.rules import filled, hint, near, raise_first, shown, strict, suits
from upfield.errors import UpfieldError
from upfield.files import merged, read_yaml
from upfield.foreign import read_object
from upfield.place import ROOT
from upfield.study import aliases, designs, external, splits, texts

SCHEMAS = ROOT / "workflow" / "schemas"
# Models that come with Upfield, by name.
SHIPPED = ROOT / "config" / "models"
# Sizes without data that come with Upfield, by name: a config that is laid over a study's.
PRESETS = ROOT / "config" / "presets"

# Keys under which labels stand.
LABELS = ("entities", "channels", "include", "exclude", "trained_on")

# One value where a list is expected; of several with commas or spaces between them nobody knows what they are.
LONE = re.compile(r"[^\s,;\[\]{}]+")

# The folder of a model.
OF_FOLD = re.compile(r"fold-([A-Za-z0-9]+)_seed-\d+")
# What a reader study calls the target in files that exist; the source is `identity`.
TRUTH = "truth"


@functools.cache
def schema() -> dict[str, Any]:
    """The schema of a study, with what there is to choose from filled in: nothing that the code knows is listed twice.

    A node `choices: <name>` of workflow/schemas/config.schema.yaml has the `enum` of that name.
    """
    # Imported here: training and prediction read methods, and need none of these.
    from upfield.evaluate.metrics import registry
    from upfield.image import intensity, transforms
    from upfield.phantom.scanner import SCANNERS
    from upfield.preprocess.brain.tool import tools
    from upfield.quality import judging
    from upfield.simulation import degradation

    choices = {
        "pairings": designs.known(),
        "simulations": degradation.KINDS,
        "brain tools": tools(),
        "registrations": transforms.EXTENSIONS,
        "template registrations": [kind for kind in transforms.EXTENSIONS if kind != "none"],
        "normalizations": intensity.KINDS,
        "quality metrics": [*judging.METRICS, *aliases.NAMES["qc", "thresholds"]],
        "metrics": registry.METRICS,
        "phantom fields": SCANNERS,
        "external scales": external.SCALES,
    }
    document: dict[str, Any] = filled(read_yaml(SCHEMAS / "config.schema.yaml"), choices)
    return document


def defaults() -> dict[str, Any]:
    """The configuration of a study that says nothing: config/config.yaml."""
    found: dict[str, Any] = read_yaml(ROOT / "config" / "config.yaml")
    return found


def typed(config: Mapping[str, Any], warn: bool = True) -> dict[str, Any]:
    """The configuration with texts read as numbers, truth values or null where no text is allowed.

    Snakemake's `--config 'train={epochs: 2}'` hands every value inside braces on as text. Settings of methods have
    no types here; whatever reads as a number is one. One value where a list is meant is a list of one. Keys under other
    names than the stages use are brought to those; with `warn` an old one is named in the log.
    """
    result: dict[str, Any] = _typed(aliases.resolved(config, warn), schema(), schema())
    return result | {"method_overrides": _typed(result.get("method_overrides", {}), {}, schema(), free=True)}


def _typed(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], free: bool = False) -> Any:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if isinstance(value, Mapping):
        known, other = schema.get("properties", {}), schema.get("additionalProperties") or {}
        return {key: _typed(item, known.get(key, other), root, free) for key, item in value.items()}
    if schema.get("type") == "array" and _lone(value):
        value = [value]
    if isinstance(value, list):
        return [_typed(item, schema.get("items", {}), root, free) for item in value]
    if not isinstance(value, str):
        return value
    read = _scalar(value)
    # Where a name may stand in the place of a truth value, true and false are no names.
    named = suits(schema, value) and not isinstance(read, bool)
    return read if free or (suits(schema, read) and not named) else value


def _lone(value: Any) -> bool:
    """Whether this is one name or number, for which a list need not be written."""
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(LONE.fullmatch(str(value)))


def _scalar(text: str) -> Any:
    """A number, truth value or null if `text` is one (1e-3 too, which YAML takes for text), else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def read(path: str | Path) -> dict[str, Any]:
    """What a config file says, without the defaults. Raises UpfieldError, one line, for a file that says nothing."""
    if Path(path).is_dir():
        raise UpfieldError(f"{path} is a folder; expected a config, which `upfield init {path}` writes for a dataset")
    if not Path(path).is_file():
        meant = near(Path(path).name, [found.name for found in Path(path).parent.glob("*.y*ml")])
        advice = "expected a config, which `upfield init` writes"
        raise UpfieldError(f"{path} is no file; {f'did you mean {Path(path).with_name(meant)}?' if meant else advice}")
    said = read_yaml(path, labels=LABELS)
    if not isinstance(said, dict):
        raise UpfieldError(f"{path} holds no keys; expected a config, such as `study: my-study`")
    return said


def preset(name: str) -> Path:
    """The file of a preset that comes with Upfield. Raises UpfieldError for an unknown name."""
    known = {path.stem: path for path in PRESETS.glob("*.yaml")}
    if name not in known:
        raise UpfieldError(f"{name!r:.60} is no preset{hint(name, [*known])}")
    return known[name]


def whole(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says laid over the defaults. Raises UpfieldError, one line, for an unknown key or a wrong type."""
    settings = typed(merged(defaults(), said), warn=False)
    check_schema(settings)
    return settings


def check_files(paths: Iterable[str | Path]) -> None:
    """Raise UpfieldError, with file and line, for what Snakemake's reader of config files takes without a word.

    These are keys that are there twice, and values of entities that YAML reads as something else than the text that was
    written.
    """
    for path in paths:
        read_yaml(path, labels=LABELS)


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, what was found and what was expected, for a bad study."""
    check_schema(config)
    if config["bids_dir"] is not None:
        raise UpfieldError("config: bids_dir is set and model is not; to apply a model give both, to train one neither")
    _check_datasets(config)
    splits.check_config(config["splits"])
    external.check(config)
    free = next((name for name in config["method_overrides"] if name in MODEL_FREE), None)
    if free is not None:
        raise UpfieldError(f"config: method_overrides.{free} has no effect; {free} has no settings")
    for name in dict.fromkeys([SUPERVISED, *config["methods"], *config["method_overrides"]]):
        check_method(config, name)
    primary(config)
    _check_relevant(config["statistics"]["relevant"])
    shown = [*methods(config), *([TRUTH] if designs.of(config).has_reference else [])]
    for name in (name for pair in config["reader_study"]["pairs"] for name in pair if name not in shown):
        raise UpfieldError(f"config: reader_study.pairs names {name!r:.60}{hint(name, shown)}")


def check_schema(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError for a text that cannot be used, the first unknown key, or a value of a wrong type."""
    texts.check(config)
    raise_first(strict(schema()).iter_errors(aliases.resolved(config, warn=False)), "config")


def check_dataset(key: str, folder: str | None) -> None:
    """Raise UpfieldError, which names the key, if `folder` is no BIDS dataset."""
    if folder is None:
        raise UpfieldError(f"config: {key} is not set; give the folder of a BIDS dataset")
    wrong = no_dataset(folder)
    if wrong:
        raise UpfieldError(f"config: {key} is {folder}{wrong}")


def _check_datasets(config: Mapping[str, Any]) -> None:
    """Folders exist where they must."""
    if config["samples"] is not None:
        _check_samples(config)
    else:
        for side in designs.of(config).sides:
            folder = config[side]["bids_dir"]
            if config["phantom"] is None or folder is None:
                check_dataset(f"{side}.bids_dir", folder)
    designs.of(config).check(config)
    _check_channels(config)


def _check_channels(config: Mapping[str, Any]) -> None:
    """Several contrasts are scans of one participant, and not the same ones."""
    channels = config["source"]["channels"]
    if channels and config["samples"] is not None:
        raise UpfieldError(
            "config: source.channels names contrasts, but samples names one source each; set one to null"
        )
    if channels and config["preprocess"]["normalize"]["method"] == "nyul":
        raise UpfieldError(
            "config: preprocess.normalize.method is nyul, which is for one contrast; source.channels names more"
        )
    if channels and config["phantom"] is not None:
        raise UpfieldError("config: source.channels names contrasts, but the phantom has T1w alone; set one to null")
    twice = next((channel for channel in channels if channels.count(channel) > 1), None)
    if twice is not None:
        raise UpfieldError(f"config: source.channels has {dict(twice)} more than once; expected different contrasts")


def _check_samples(config: Mapping[str, Any]) -> None:
    """The table of scans is there, and nothing else says where scans are."""
    if config["phantom"] is not None:
        raise UpfieldError("config: samples and phantom both say where scans are; one of them must be null")
    if not Path(config["samples"]).is_file():
        raise UpfieldError(f"config: samples is {config['samples']}, which is no file; expected a table")


def methods(config: Mapping[str, Any]) -> list[str]:
    """Every method of a study in report order: baselines, the supervised one last, then models, then external ones."""
    return list(dict.fromkeys([*baselines(config), *config["methods"], *external.of(config)]))


def networks(config: Mapping[str, Any]) -> list[str]:
    """The methods whose networks are trained here, in report order."""
    others = {*MODEL_FREE, *external.of(config)}
    return [name for name in methods(config) if name not in others]


def baselines(config: Mapping[str, Any]) -> list[str]:
    """What models are compared with; beside a given `model` what has nothing to learn, or has learned with it."""
    names, model = list(designs.of(config).baselines), config.get("model")
    known = {} if model is None else fitted_beside(model)
    return [name for name in names if model is None or name in known or name in set(MODEL_FREE) - set(FITTED)]


def folders_of(model: str | Sequence[str]) -> list[str]:
    """One or several model folders as a list; see `folder_of`."""
    return [folder_of(one) for one in ([model] if isinstance(model, str) else model)]


def folder_of(model: str) -> str:
    """The folder of a model: as given, or that of a model that comes with Upfield, by its name."""
    shipped = SHIPPED / model
    return str(shipped) if "/" not in model and not Path(model).exists() and shipped.is_dir() else model


def start_of(config: Mapping[str, Any], method: str) -> str | None:
    """The folder of the model that a method's training starts from; None if it starts anew."""
    found = config["train"]["init_from"].get(method)
    return None if found is None else folder_of(found)


def fitted_beside(model: str | Sequence[str]) -> dict[str, str]:
    """Folders of the baselines that were fitted on the training participants of a given model, by name.

    They lie in the study's folder beside the model's, with the same fold and the same split in their cards. None where
    the model was handed on alone, or where models are of several folds.
    """
    folders = list(map(Path, folders_of(model)))
    known = {(folder.parents[1], match[1]) for folder in folders if (match := OF_FOLD.fullmatch(folder.name))}
    if len(known) != 1:
        return {}
    ((models, fold),) = known
    beside = {name: sorted(models.glob(f"{name}/fold-{fold}_seed-*/model.json")) for name in FITTED}
    split = read_object(folders[0] / "model.json").get("split_sha") if any(beside.values()) else None
    found: dict[str, str] = {}
    for name, cards in beside.items():
        for card in cards:
            if split is not None and read_object(card).get("split_sha") == split:
                found.setdefault(name, str(card.parent))
    return found


def primary(config: Mapping[str, Any]) -> dict[str, Any]:
    """The primary comparison, what `evaluate.statistics.Primary` takes; empty where no output has a target.

    Raises UpfieldError, one line that names the key, for a metric that the study does not measure or that has no
    better side, and for methods that it does not have or that cannot be compared.
    """
    # Imported here, as in `schema`.
    from upfield.evaluate.metrics.registry import HIGHER, LOWER

    chosen, margin = config["statistics"]["primary"], config["statistics"]["margin"]
    names, free = methods(config), [name for name in baselines(config) if name in MODEL_FREE]
    if not designs.of(config).has_reference:
        given = next((key for key, value in chosen.items() if value is not None), None)
        key = "margin" if margin is not None else None if given is None else f"primary.{given}"
        if key is not None:
            raise UpfieldError(f"config: statistics.{key} is set; expected null, as no output has a target")
        return {}
    measured = [name for name in _measured(config) if name in HIGHER | LOWER]
    metric = chosen["metric"] or ("psnr" if "psnr" in measured or not measured else measured[0])
    if chosen["metric"] is not None and metric not in measured:
        raise UpfieldError(
            f"config: statistics.primary.metric is {metric!r:.60}, which this study does not measure or which has no"
            f" better side{hint(metric, measured)}"
        )
    for key in ("method", "baseline"):
        if chosen[key] is not None and chosen[key] not in names:
            raise UpfieldError(f"config: statistics.primary.{key} is {chosen[key]!r:.60}{hint(chosen[key], names)}")
    method = chosen["method"] or next(iter(config["methods"]), SUPERVISED)
    rivals = [name for name in free if name != method] if chosen["baseline"] is None else [chosen["baseline"]]
    if method in rivals or (method in MODEL_FREE and set(rivals) <= set(MODEL_FREE)):
        raise UpfieldError(
            f"config: statistics.primary compares {method} with {', '.join(rivals)}; expected two methods, at least one"
            " of them a network"
        )
    return {"metric": metric, "method": method, "baselines": rivals, "margin": margin}


def _check_relevant(sizes: Mapping[str, Any]) -> None:
    """Raise UpfieldError for the size of a difference of a metric that does not exist or has no better side."""
    from upfield.evaluate.metrics.registry import HIGHER, LOWER

    known = sorted(HIGHER | LOWER)
    for name in sizes:
        if name not in known:
            raise UpfieldError(
                f"config: statistics.relevant names {name!r:.60}, which has no better side{hint(name, known)}"
            )


def _measured(config: Mapping[str, Any]) -> list[str]:
    """Metrics that a study may have in the whole brain."""
    from upfield.catalogue.metrics import LEARNED, SEGMENTED

    block = config["evaluate"]
    learned = LEARNED if block["lpips_weights"] is not None else ()
    segmented = SEGMENTED if block["segmentation"] else ()
    return [*block["metrics"], *(metric.name for metric in (*learned, *segmented))]


def reading_pairs(config: Mapping[str, Any]) -> list[list[str]]:
    """Names of the two images of each case of the reader study; by default every model beside the target.

    Without a target the other image is the source.
    """
    other = TRUTH if designs.of(config).has_reference else "identity"
    return config["reader_study"]["pairs"] or [[other, name] for name in config["methods"] or [SUPERVISED]]


def trained_methods(config: Mapping[str, Any]) -> list[str]:
    """The methods that have a model to fit, in report order: networks, and what is fitted to intensities alone."""
    curves = [name for name, found in external.of(config).items() if found.fitted]
    fitted = {*networks(config), *FITTED, *curves}
    return [name for name in methods(config) if name in fitted]


def method_settings(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A method's file, its chosen preset and the study's overrides, laid on top of each other.

    Returns a mapping with `module` (where its code is), `preset` and one entry per setting.
    Raises UpfieldError for an unknown method, preset or setting; `check_method` looks at the values.
    """
    if name in MODEL_FREE or name in external.of(config):
        return {}
    return resolved(facts(name), config["method_overrides"].get(name, {}))


def resolved(known: Facts, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method from what its file says, with a study's `overrides`.

    Returns and raises what `method_settings` does.
    """
    where = f"config: method_overrides.{known.name}"
    overrides = dict(overrides)
    preset = overrides.pop("preset", known.document["preset"])
    presets = known.document["presets"]
    if preset not in presets:
        raise UpfieldError(f"{where}.preset is {preset!r}; expected one of {', '.join(presets)}")
    # No sentinel: None is a key that YAML can hold.
    for unknown in (key for key in overrides if key not in known.settings):
        raise UpfieldError(f"{where}.{shown(unknown)} is not a known setting{hint(unknown, list(known.settings))}")
    return {"module": known.document["module"], "preset": preset, **known.resolved(preset, overrides)}


def check_method(config: Mapping[str, Any], name: str) -> None:
    """Raise UpfieldError, one line that names the key, for settings of a method that it cannot have.

    A setting that the method's file describes keeps its rule; any other has a value of the kind of its default.
    """
    settings = method_settings(config, name)
    if not settings:
        return
    known, where = facts(name), f"method_overrides.{name}"
    unknown = next((pairing for pairing in known.pairings if pairing not in designs.known()), None)
    if unknown is not None:
        raise UpfieldError(f"{name}.yaml: pairings has {unknown!r}{hint(unknown, list(designs.known()))}")
    for key, value in config["method_overrides"].get(name, {}).items():
        if key != "preset" and known.settings[key].rule is None:
            _check_kind(f"{where}.{key}", value, known.settings[key].default)
    known.check(settings, where)


def _check_kind(key: str, value: Any, default: Any) -> None:
    if default is not None and value is not None and _kind(value) != _kind(default):
        raise UpfieldError(f"config: {key} is {value!r}; expected a {_kind(default)} such as {default!r}")


def _kind(value: Any) -> str:
    names = {bool: "truth value", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)
