"""What methods and brain extraction require of a study: contradictions stop the run when it is planned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upfield.catalogue import weights
from upfield.catalogue.methods import LEARNS_FROM, facts
from upfield.catalogue.rules import hint
from upfield.errors import UpfieldError
from upfield.image import formats
from upfield.image.intensity import UNIT
from upfield.image.nifti import SAME, Scale
from upfield.preprocess import template
from upfield.preprocess.brain.tool import tools
from upfield.simulation import protocol, simple
from upfield.study import designs
from upfield.study.config import method_settings, networks, start_of

MODEL_PARTS = ("model.safetensors", "model.json")
# Terms of a content loss that compare features of a network whose weights the user gives.
OF_FEATURES = ("perceptual", "gram")
# Normalizations that a drawn image can have by itself, whatever its contrast.
REDRAWN = ("percentile", "minmax", "zscore")


@dataclass(frozen=True)
class Requirements:
    """What a method requires of a study: see workflow/schemas/method.schema.yaml."""

    scale: Scale
    pairings: tuple[str, ...]
    normalize: str | None
    multichannel: bool


def of(config: Mapping[str, Any], name: str) -> Requirements:
    """What a method's file and settings say it requires; what has no network here requires nothing.

    Raises UpfieldError for a scale that is not made of whole numbers.
    """
    settings = method_settings(config, name)
    if not settings:
        return Requirements(SAME, LEARNS_FROM, None, True)
    known = facts(name)
    return Requirements(known.scale(settings), known.pairings, known.normalize(settings), known.multichannel)


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, if the study's methods and data do not go together."""
    check_data(config)
    for name in networks(config):
        _check_method(config, name)
        _check_features(config, name)
        _check_patches(config, name)
    _check_training(config)
    _check_uncertainty(config)


def check_data(config: Mapping[str, Any]) -> None:
    """The same of what is asked of a study's scans, whoever trained the models."""
    _check_simulation(config)
    _check_brain(config)
    if config["evaluate"]["lpips_weights"] is not None:
        weights.lpips("config: evaluate.lpips_weights", config["evaluate"]["lpips_weights"])


def feature_file(settings: Mapping[str, Any]) -> str | None:
    """The file of VGG weights that a method's resolved settings make use of."""
    content = settings.get("content", {})
    used = any(content.get(term) for term in OF_FEATURES)
    return settings["perceptual_weights"] if used else None


def _check_features(config: Mapping[str, Any], name: str) -> None:
    """Weights for perceptual and Gram terms are there, in a file that executes nothing when it is read, and suffice."""
    settings = method_settings(config, name)
    key = f"config: method_overrides.{name}.perceptual_weights"
    if settings.get("perceptual_weights") is None:
        term = next((term for term in OF_FEATURES if settings.get("content", {}).get(term)), None)
        if term is not None:
            raise UpfieldError(f"{key} is not set, but content.{term} is; give a safetensors file of VGG weights")
        return
    path = feature_file(settings)
    if path is None:
        return
    numbers = weights.convolutions(weights.vgg(key, path))
    wanted = max(settings["perceptual_layers"])
    if wanted > numbers[-1] + 1:
        raise UpfieldError(
            f"config: method_overrides.{name}.perceptual_layers is {settings['perceptual_layers']}; expected layers of"
            f" {path}, 0 to {numbers[-1] + 1}"
        )
    smallest = 2 ** weights.poolings(numbers, wanted)
    if facts(name).dims == 3 and config["patches"]["size"] < smallest:
        raise UpfieldError(
            f"config: patches.size is {config['patches']['size']}; expected at least {smallest}, which {name} needs for"
            f" layer {wanted} of perceptual_layers"
        )


def _check_patches(config: Mapping[str, Any], name: str) -> None:
    """Patches, or pieces of slices, are as large as the method's networks need."""
    known = facts(name)
    key = "size" if known.dims == 3 else "slice_size"
    size, smallest = config["patches"][key], known.smallest_patch(method_settings(config, name))
    if size is not None and size < smallest:
        raise UpfieldError(f"config: patches.{key} is {size}; expected at least {smallest}, which {name} needs")


def samples(config: Mapping[str, Any], name: str) -> int:
    """How many samples are drawn of one model of a method, with dropout or by a sampler; 0: none."""
    random = method_settings(config, name).get("dropout", 0) or samples_itself(config, name)
    return int(config["predict"]["uncertainty"]) if random else 0


def samples_itself(config: Mapping[str, Any], name: str) -> bool:
    """Whether a method draws samples by itself, and gives the mean of all without them."""
    return name in networks(config) and facts(name).sampler


def members(config: Mapping[str, Any], name: str) -> int:
    """How many outputs a method's standard deviation is over; mirror images do not count."""
    drawn = samples(config, name)
    each = drawn + 1 if samples_itself(config, name) and drawn else max(drawn, 1)
    return each * (len(config["train"]["seeds"]) if name in networks(config) else 1)


def _check_uncertainty(config: Mapping[str, Any]) -> None:
    """Where uncertainty is asked for, there is some."""
    asked = config["predict"]["uncertainty"]
    for name in config["methods"]:
        if asked and name in networks(config) and members(config, name) < 2:
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
    trained = networks(config)
    for key in ("init_from", "layer_lr"):
        unknown = next((name for name in config["train"][key] if name not in trained), None)
        if unknown is not None:
            raise UpfieldError(
                f"config: train.{key} names {unknown!r:.60}, which is not trained{hint(unknown, trained)}"
            )
    for name in config["train"]["init_from"]:
        folder = str(start_of(config, name))
        missing = next((file for file in MODEL_PARTS if not (Path(folder) / file).is_file()), None)
        if missing is not None:
            raise UpfieldError(
                f"config: train.init_from.{name} is {folder}, where there is no {missing}; expected the folder of a"
                " trained model"
            )


def _check_method(config: Mapping[str, Any], name: str) -> None:
    """The study has what the method requires."""
    required = of(config, name)
    if designs.of(config).learned_as not in required.pairings:
        raise UpfieldError(
            f"config: pairing is {config['pairing']}; {name} learns from scans that are"
            f" {' or '.join(required.pairings)}"
        )
    count = len(config["source"]["channels"])
    if count > 1 and not required.multichannel:
        raise UpfieldError(f"config: source.channels names {count} contrasts; {name} takes one")
    method = config["preprocess"]["normalize"]["method"]
    alike = UNIT if required.normalize in UNIT else (required.normalize,)
    if required.normalize is not None and method not in alike:
        raise UpfieldError(
            f"config: preprocess.normalize.method is {method}; {name} needs {' or '.join(map(str, alike))}"
        )
    designs.of(config).check_scale(config, name, required.scale)


def _check_simulation(config: Mapping[str, Any]) -> None:
    """A kind of simulation that puts one voxel in the place of a block has whole blocks; ranges make sense."""
    simulate = config["simulate"]
    protocol.protocols(simulate["ranges"])
    if simulate["kind"] in simple.DECIMATING and simulate["factor"] != int(simulate["factor"]):
        raise UpfieldError(
            f"config: simulate.factor is {simulate['factor']:g}; expected a whole number for kind {simulate['kind']}"
        )
    _check_redraw(config)


def _check_redraw(config: Mapping[str, Any]) -> None:
    """Sources can be drawn anew: an acquisition can, on cubes of one size, for brains, on a scale of one image."""
    simulate, preprocess = config["simulate"], config["preprocess"]
    redraw = simulate["redraw"]
    if redraw is None:
        return
    wanted = {
        "pairing": (config["pairing"], ("simulated",)),
        "simulate.kind": (simulate["kind"], ("acquisition",)),
        "preprocess.region": (preprocess["region"], ("brain",)),
        "preprocess.normalize.method": (preprocess["normalize"]["method"], REDRAWN),
    }
    for key, (found, allowed) in wanted.items():
        if found not in allowed:
            raise UpfieldError(f"config: {key} is {found}; simulate.redraw needs {' or '.join(allowed)}")
    if config["source"]["channels"]:
        raise UpfieldError("config: source.channels names contrasts; simulate.redraw draws one")
    if preprocess["spacing"] == "native":
        raise UpfieldError("config: preprocess.spacing is native; simulate.redraw needs a number of mm, or auto")
    larger = next((name for name in networks(config) if of(config, name).scale != SAME), None)
    if larger is not None:
        raise UpfieldError(
            f"config: methods names {larger}, which enlarges; simulate.redraw draws sources as large as targets"
        )
    if redraw.get("labels") is not None:
        label_maps(redraw["labels"], "simulate.redraw.labels")


def label_maps(folder: str, key: str) -> list[Path]:
    """The label maps in a folder, sorted by name. Raises UpfieldError, which names the `key`, if there is none."""
    found = formats.images_in(Path(folder))
    if not found:
        raise UpfieldError(f"config: {key} is {folder}, where no label map (.nii, .nii.gz) is")
    return found


def check_region(settings: Mapping[str, Any], tool: str, key: str) -> None:
    """Raise UpfieldError, one line, if heads are wanted of scans that have none, or in the space of a template.

    `settings` is the `preprocess` block, `tool` finds the brains of some scans, as `key` says.
    """
    if settings["region"] != "head":
        return
    if tool == "none":
        raise UpfieldError(
            f"config: preprocess.region is head, but {key}.method is none: those scans are skull-stripped; choose"
            " region: brain, or another way to find the brain of whole heads"
        )
    if template.given(settings["template"]):
        raise UpfieldError(
            "config: preprocess.region is head with a preprocess.template, of which only the brain is known; choose one"
            " of the two"
        )


def _check_brain(config: Mapping[str, Any]) -> None:
    """What the tools of brain extraction need is there."""
    for side in ("source", "target"):
        own = config[side]["brain"] or {}
        settings = {**config["preprocess"]["brain"], **own}
        key = "preprocess.brain" if own.get("method") is None else f"{side}.brain"
        tools()[settings["method"]].check(settings, key)
        check_region(config["preprocess"], settings["method"], key)
