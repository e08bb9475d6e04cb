"""What methods and brain extraction want from a study: contradictions stop the run when it is planned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from upfield.catalogue import weights
from upfield.catalogue.methods import MODEL_FREE
from upfield.errors import UpfieldError
from upfield.files import read_yaml
from upfield.image.intensity import UNIT
from upfield.image.nifti import SAME, Scale
from upfield.preprocess import simulation as degrade
from upfield.preprocess.brain import tools
from upfield.study import designs
from upfield.study.config import hint, method_file, method_settings, methods

MODEL_PARTS = ("model.safetensors", "model.json")


@dataclass(frozen=True)
class Demands:
    """What a method wants from a study: see workflow/schemas/method.schema.yaml."""

    scale: Scale
    pairings: tuple[str, ...]
    normalize: str | None
    multichannel: bool


def of(config: Mapping[str, Any], name: str) -> Demands:
    """What a method's file and settings say it wants; an interpolation wants nothing.

    Raises UpfieldError for a scale that is not made of whole numbers.
    """
    settings = method_settings(config, name)
    document = read_yaml(method_file(name)) if settings else {}
    scale = tuple(settings.get(part) if isinstance(part, str) else part for part in document.get("scale", SAME))
    if not all(isinstance(factor, int) and factor >= 1 for factor in scale):
        raise UpfieldError(f"config: {name} enlarges by {scale}; expected whole numbers of at least 1")
    pairings = tuple(document.get("pairings", ("paired", "simulated")))
    # An output that is the input and a difference has no bounds that the images would have to keep.
    normalize = None if settings.get("input_residual") else document.get("normalize")
    return Demands(cast(Scale, scale), pairings, normalize, document.get("multichannel", not settings))


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, if the study's methods and data do not go together."""
    simulate = config["simulate"]
    if simulate["kind"] in degrade.DECIMATING and simulate["factor"] != int(simulate["factor"]):
        raise UpfieldError(
            f"config: simulate.factor is {simulate['factor']:g}; expected a whole number for kind {simulate['kind']}"
        )
    _check_brain(config)
    networks = [name for name in methods(config) if name not in MODEL_FREE]
    for name in networks:
        _check_method(config, name)
        _check_features(config, name)
    _check_training(config)
    _check_uncertainty(config)
    if config["evaluate"]["lpips_weights"] is not None:
        weights.lpips("config: evaluate.lpips_weights", config["evaluate"]["lpips_weights"])


def feature_file(settings: Mapping[str, Any]) -> str | None:
    """The file of VGG weights that a method's resolved settings make use of."""
    content = settings.get("content", {})
    used = any(content.get(term) for term in ("perceptual", "gram"))
    return settings["perceptual_weights"] if used else None


def _check_features(config: Mapping[str, Any], name: str) -> None:
    """Weights for perceptual and Gram terms are there, in a file that executes nothing when it is read."""
    settings = method_settings(config, name)
    key = f"config: method_overrides.{name}.perceptual_weights"
    if settings.get("perceptual_weights") is None:
        term = next((term for term in ("perceptual", "gram") if settings.get("content", {}).get(term)), None)
        if term is not None:
            raise UpfieldError(f"{key} is not set, but content.{term} is; give a safetensors file of VGG weights")
        return
    path = feature_file(settings)
    if path is not None:
        weights.vgg(key, path)


def samples(config: Mapping[str, Any], name: str) -> int:
    """How many samples with dropout a prediction by one model of a method is the mean of; 0: one without dropout."""
    dropout = method_settings(config, name).get("dropout", 0)
    return int(config["predict"]["uncertainty"]) if dropout else 0


def members(config: Mapping[str, Any], name: str) -> int:
    """How many outputs a method's prediction is the mean of; mirror images do not count."""
    return max(samples(config, name), 1) * (1 if name in MODEL_FREE else len(config["train"]["seeds"]))


def _check_uncertainty(config: Mapping[str, Any]) -> None:
    """Where uncertainty is asked for, there is some."""
    asked = config["predict"]["uncertainty"]
    for name in config["methods"]:
        if asked and name not in MODEL_FREE and members(config, name) < 2:
            raise UpfieldError(
                f"config: predict.uncertainty is {asked}, but {name} has nothing random in it; set"
                f" method_overrides.{name}.dropout above 0 (and at least 2 samples), or give several train.seeds"
            )


def _check_training(config: Mapping[str, Any]) -> None:
    """Methods named by `train` are trained, and models to start from are there."""
    processes, accumulate = (config["train"][key] for key in ("processes", "accumulate"))
    if accumulate % processes:
        raise UpfieldError(
            f"config: train.processes is {processes} and train.accumulate {accumulate}; expected as many"
            " batches in a step as processes, or a multiple"
        )
    networks = [name for name in methods(config) if name not in MODEL_FREE]
    for key in ("init_from", "layer_lr"):
        unknown = next((name for name in config["train"][key] if name not in networks), None)
        if unknown is not None:
            raise UpfieldError(f"config: train.{key} names {unknown!r}, which is not trained{hint(unknown, networks)}")
    for name, folder in config["train"]["init_from"].items():
        missing = next((file for file in MODEL_PARTS if not (Path(folder) / file).is_file()), None)
        if missing is not None:
            raise UpfieldError(
                f"config: train.init_from.{name} is {folder}, where there is no {missing}; expected the folder of a"
                " trained model"
            )


def _check_method(config: Mapping[str, Any], name: str) -> None:
    """The study has what the method wants."""
    wanted = of(config, name)
    if config["pairing"] not in wanted.pairings:
        raise UpfieldError(
            f"config: pairing is {config['pairing']}; {name} learns from scans that are {' or '.join(wanted.pairings)}"
        )
    count = len(config["source"]["channels"])
    if count > 1 and not wanted.multichannel:
        raise UpfieldError(f"config: source.channels names {count} contrasts; {name} takes one")
    method = config["preprocess"]["normalize"]["method"]
    alike = UNIT if wanted.normalize in UNIT else (wanted.normalize,)
    if wanted.normalize is not None and method not in alike:
        raise UpfieldError(
            f"config: preprocess.normalize.method is {method}; {name} needs {' or '.join(map(str, alike))}"
        )
    designs.of(config).check_scale(config, name, wanted.scale)


def _check_brain(config: Mapping[str, Any]) -> None:
    """What the ways of brain extraction need is there."""
    for side in ("source", "target"):
        settings = {**config["preprocess"]["brain"], **(config[side]["brain"] or {})}
        method = settings["method"]
        key = "preprocess.brain" if (config[side]["brain"] or {}).get("method") is None else f"{side}.brain"
        tools.require(method, f"{key}.method")
        for name in ("template", "mask") if method == "template" else ():
            if settings[name] is None or not Path(settings[name]).is_file():
                raise UpfieldError(
                    f"config: {key}.{name} is {settings[name]}; method template needs the path of an image"
                )
        if method == "mask" and settings["derivatives"] is not None and not Path(settings["derivatives"]).is_dir():
            raise UpfieldError(f"config: {key}.derivatives is {settings['derivatives']}; expected a folder")
