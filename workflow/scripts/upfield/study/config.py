"""A study's configuration: checked against its schema, contradictions named, method settings resolved."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.errors import UpfieldError
from upfield.files import merged, read_yaml
from upfield.study import designs

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

ROOT = Path(__file__).resolve().parents[4]
SCHEMAS = ROOT / "workflow" / "schemas"
METHOD_FILES = ROOT / "config" / "methods"

# How the reading set calls the target; the source is `identity`.
TRUTH = "truth"


def typed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with texts read as numbers, truth values or null where no text is allowed.

    Snakemake's `--config 'train={epochs: 2}'` hands every value inside braces on as text. Settings of methods have
    no types here; whatever reads as a number is one.
    """
    schema = read_yaml(SCHEMAS / "config.schema.yaml")
    result: dict[str, Any] = _typed(config, schema, schema)
    return result | {"method_overrides": _typed(result.get("method_overrides", {}), {}, schema, free=True)}


def _typed(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], free: bool = False) -> Any:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if isinstance(value, Mapping):
        known, other = schema.get("properties", {}), schema.get("additionalProperties") or {}
        return {key: _typed(item, known.get(key, other), root, free) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, schema.get("items", {}), root, free) for item in value]
    if not isinstance(value, str):
        return value
    read = _scalar(value)
    allowed = _validator(schema).is_valid
    return read if free or (allowed(read) and not allowed(value)) else value


def _scalar(text: str) -> Any:
    """A number, truth value or null if `text` is one (1e-3 too, which YAML takes for text), else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, what was found and what was expected, for a bad study."""
    check_schema(config)
    if config["bids_dir"] is not None:
        raise UpfieldError("config: bids_dir is set and model is not; to apply a model give both, to train one neither")
    _check_datasets(config)
    fractions = config["splits"]["fractions"]
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise UpfieldError(
            f"config: splits.fractions sum to {sum(fractions.values()):g}; expected 1 (found {dict(fractions)})"
        )
    free = next((name for name in config["method_overrides"] if name in MODEL_FREE), None)
    if free is not None:
        raise UpfieldError(f"config: method_overrides.{free} has no effect; {free} has no settings")
    for name in [SUPERVISED, *config["methods"], *config["method_overrides"]]:
        method_settings(config, name)
    shown = [*methods(config), *([TRUTH] if designs.of(config).has_reference else [])]
    for name in (name for pair in config["reader_study"]["pairs"] for name in pair if name not in shown):
        raise UpfieldError(f"config: reader_study.pairs names {name!r}{hint(name, shown)}")


def check_schema(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError for the first unknown key or value of a wrong type."""
    schema = read_yaml(SCHEMAS / "config.schema.yaml")
    raise_first(_validator(schema).iter_errors(dict(config)), "config")


def check_dataset(key: str, folder: str | None) -> None:
    """Raise UpfieldError, which names the key, if `folder` is no BIDS dataset."""
    if folder is None:
        raise UpfieldError(f"config: {key} is not set; give the folder of a BIDS dataset")
    if not (Path(folder) / "dataset_description.json").is_file():
        raise UpfieldError(
            f"config: {key} is {folder}, where there is no dataset_description.json; expected a BIDS dataset"
        )


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
    """Several contrasts are scans of one person, and not the same ones."""
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
    """Every method of a study in report order: the model-free baselines, the supervised one, then the models."""
    return list(dict.fromkeys([*baselines(config), *config["methods"]]))


def baselines(config: Mapping[str, Any]) -> list[str]:
    """What models are compared with."""
    return list(designs.of(config).baselines)


def reading_pairs(config: Mapping[str, Any]) -> list[list[str]]:
    """Names of the two images of each case of the reader study; by default every model beside the target.

    Without a target the other image is the source.
    """
    other = TRUTH if designs.of(config).has_reference else "identity"
    return config["reader_study"]["pairs"] or [[other, name] for name in config["methods"] or [SUPERVISED]]


def trained_methods(config: Mapping[str, Any]) -> list[str]:
    """The methods that have a model to fit, in report order."""
    return [name for name in methods(config) if name not in ("identity", "spline")]


def method_settings(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A method's file, its chosen preset and the study's overrides, laid on top of each other.

    Returns a mapping with `module` (where its code is), `preset` and one entry per setting.
    Raises UpfieldError for an unknown method, preset or setting.
    """
    if name in MODEL_FREE:
        return {}
    path = method_file(name)
    document = read_yaml(path)
    schema = read_yaml(SCHEMAS / "method.schema.yaml")
    raise_first(_validator(schema).iter_errors(document), str(path))
    return resolved(name, document, config["method_overrides"].get(name, {}))


def resolved(name: str, document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the method called `name` from the content of its file, with a study's `overrides`.

    Returns and raises what `method_settings` does, which checks the file first.
    """
    overrides = dict(overrides)
    preset = overrides.pop("preset", document["preset"])
    if preset not in document["presets"]:
        raise UpfieldError(
            f"config: method_overrides.{name}.preset is {preset!r}; expected one of {', '.join(document['presets'])}"
        )
    settings: dict[str, Any] = merged(document["settings"], document["presets"][preset] or {})
    _check_overrides(f"method_overrides.{name}", overrides, settings)
    return {"module": document["module"], "preset": preset, **merged(settings, overrides)}


def method_says(name: str) -> str:
    """What a method's file says it is, in words with keys of references; "a network" if it says nothing."""
    try:
        return str(read_yaml(method_file(name)).get("says", "a network"))
    except UpfieldError:
        return "a network"


def _check_overrides(where: str, overrides: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Every override is a known setting of the kind that its default is."""
    for key, value in overrides.items():
        if key not in settings:
            raise UpfieldError(f"config: {where}.{key} is not a known setting{hint(key, list(settings))}")
        default = settings[key]
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            continue
        if default is not None and value is not None and _kind(value) != _kind(default):
            raise UpfieldError(f"config: {where}.{key} is {value!r}; expected a {_kind(default)} such as {default!r}")


def _kind(value: Any) -> str:
    names = {bool: "truth value", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def method_file(name: str) -> Path:
    """Where a method's settings are. Raises UpfieldError for an unknown method."""
    folders = [Path(folder) for folder in (METHOD_FILES, Path("config/methods"))]
    path = next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()), None)
    if path is None:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")} | set(MODEL_FREE))
        raise UpfieldError(f"config: methods names {name!r}; expected one of {', '.join(known)}{hint(name, known)}")
    return path


def _validator(schema: Mapping[str, Any]) -> "Draft202012Validator":
    # Imported where it is used: training and prediction read constants and method files, and check nothing.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(dict(schema))


def raise_first(errors: Any, where: str) -> None:
    """Raise UpfieldError for the first of jsonschema's errors (shallowest path first), if there is one."""
    found = sorted(errors, key=lambda error: (len(error.absolute_path), str(error.absolute_path)))
    if found:
        raise UpfieldError(_one_line(found[0], where))


def _one_line(error: "ValidationError", where: str) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in error.instance if name not in known)
        full = f"{key}.{unknown}" if key else unknown
        return f"{where}: {full} is not a known key{hint(str(unknown), known)}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"{where}: {key}.{missing} is missing" if key else f"{where}: {missing} is missing"
    expected = {
        "enum": lambda: f"expected one of {', '.join(map(str, error.validator_value))}",
        "type": lambda: f"expected {_type_names(error.validator_value)}",
    }.get(str(error.validator), lambda: error.message)()
    found = repr(error.instance)
    found = found if len(found) <= 80 else f"{found[:77]}..."
    return f"{where}: {key or 'the file'} is {found}; {expected}"[:300]


def _type_names(names: str | list[str]) -> str:
    return names if isinstance(names, str) else " or ".join(names)


def hint(found: str, known: list[str]) -> str:
    """What a user may have meant, as the end of a sentence; empty if nothing is near."""
    near = difflib.get_close_matches(found, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(sorted(known))}"
