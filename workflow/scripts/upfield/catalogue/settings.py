"""Settings of methods as data: the kinds that methods share, and how a method's file describes its own.

In a file of config/methods/ a setting is a plain default, or a mapping with `default`, `description` and a rule in the
words of JSON Schema (`type`, `minimum`, `enum`, ...). `like` takes the rule of one of the `KINDS`, and its description
where the setting has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upfield.errors import UpfieldError

PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
# Below 1: Adam's running means would never move.
_BETA = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_WEIGHT = {"type": "number", "minimum": 0}
_COUNT_OR_NONE = {"type": ["integer", "null"], "minimum": 1}

# What changes a batch, and the terms of a content loss: names and meaning, in the order of docs/methods.md.
AUGMENTATIONS = {
    "flip": "left-right",
    "rotate90": "90, 180 or 270° in the axial plane; only 180° if the patch is not square there",
    "affine": "rotation of up to 0.1 rad about each axis, shift of up to 5 voxels, border repeated",
    "intensity": "scale 0.9 to 1.1, then shift -0.1 to 0.1, normalized units; each contrast its own",
    "noise": "Gaussian, σ 0.01, normalized units",
    "gamma": "contrast curve: the range of the patch to the power 0.7 to 1.4",
    "bias": "smooth multiplicative field: polynomial of degree 3 in the exponent, coefficients 0 to 0.1",
    "blur": "Gaussian, σ 0.3 to 0.8 voxels along each axis",
    "ghosts": "Gibbs ringing: up to 40 % of the outer frequencies left out",
}
TERMS = {
    "l1": "mean absolute difference",
    "mse": "mean squared difference",
    "gradient": "squared difference of the absolute differences between neighbours, summed over axes, mean over voxels",
    "ssim": "1 − SSIM",
    "fft": "mean magnitude of the Fourier transform of the difference",
    "perceptual": "mean squared difference of a VGG's features, mean over layers",
    "gram": "squared difference of their Gram matrices (divided by channels and positions), summed, mean over layers",
}
# Kinds of schedule, and the parameter that each needs.
SCHEDULES = {
    "constant": None, "exponential": "rate", "inverse_time": "rate", "linear_to_zero": "decay_epoch", "cosine": None,
    "polynomial": "power",
}  # fmt: skip

KINDS: Mapping[str, Mapping[str, Any]] = {
    "count": {"type": "integer", "minimum": 1},
    "number": {"type": "integer", "minimum": 0},
    "switch": {"type": "boolean"},
    "weight": _WEIGHT,
    "probability": PROBABILITY,
    "rate": {"type": "number", "minimum": 0, "maximum": 1, "description": "learning rate of Adam"},
    "decay": {"type": "number", "minimum": 0, "maximum": 1, "description": "weight decay of AdamW; 0: Adam"},
    "optimiser": {
        "enum": ["adam", "muon"],
        "description": "`muon`: of the weights of all layers but the last; Adam of the rest",
    },
    "betas": {
        "type": "array",
        "items": _BETA,
        "minItems": 2,
        "maxItems": 2,
        "description": "of Adam",
    },
    "schedule": {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind"],
        "properties": {
            "kind": {"enum": list(SCHEDULES)},
            "rate": {"type": "number", "minimum": 0, "maximum": 1},
            "decay_epoch": {"type": "number", "minimum": 0},
            "power": {"type": "number", "exclusiveMinimum": 0},
            "warmup": {"type": "number", "minimum": 0, "maximum": 0.5},
        },
        # Parameters of other kinds may be left over from the preset that the setting was laid on.
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": {"required": [parameter]}}
            for kind, parameter in SCHEDULES.items()
            if parameter is not None
        ],
        "description": "[schedule](#schedules) of the learning rate",
    },
    "batch_size": {"type": "integer", "minimum": 1, "description": "patches or slices in a batch"},
    # What stands in for the study's `patches` and `train`.
    "patch": {
        "type": ["array", "null"],
        "items": {"type": "integer", "minimum": 8},
        "minItems": 3,
        "maxItems": 3,
        "description": "edges of its patches, voxels; none: `patches.size`",
    },
    "per_volume": {
        **_COUNT_OR_NONE,
        "description": "patches of a volume in an epoch; none: `patches.per_volume`",
    },
    "per_volume_val": {
        **_COUNT_OR_NONE,
        "description": "fixed patches of a validation volume; none: `patches.per_volume_val`",
    },
    "epochs": {**_COUNT_OR_NONE, "description": "of its training; none: `train.epochs`"},
    "accumulate": {
        **_COUNT_OR_NONE,
        "description": "batches whose gradients make one step; none: `train.accumulate`",
    },
    "ema": {
        "type": ["number", "null"],
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "moving average of its weights; none: `train.ema`",
    },
    "gradient_clip": {"type": "number", "exclusiveMinimum": 0, "description": "largest norm of the gradient"},
    "augmentation": {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(AUGMENTATIONS, PROBABILITY),
        "description": "[probabilities](#augmentation) of random changes of a batch",
    },
    "dropout": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "[probability](#dropout) that a channel is left out",
    },
    "gan_loss": {"enum": ["lsgan", "bce"], "description": "adversarial loss: squared error or cross-entropy of logits"},
    "content": {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(TERMS, _WEIGHT),
        "description": "weights of the [terms](#content-terms) that compare output and target",
    },
    "perceptual_weights": {
        "type": ["string", "null"],
        "description": "file of VGG weights (safetensors) for the terms `perceptual` and `gram`; never downloaded",
    },
    "perceptual_layers": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "minItems": 1,
        "description": "layers of that network: by default relu1_2, relu2_2, relu3_3 of VGG16",
    },
}


@dataclass(frozen=True)
class Setting:
    """One setting of a method: its default, the rule for its values (None: any) and what it means (may be empty)."""

    name: str
    default: Any
    rule: Mapping[str, Any] | None = None
    description: str = ""


def read(name: str, entry: Any) -> Setting:
    """A setting from its entry in a method's file. Raises UpfieldError for a kind that is none of the `KINDS`."""
    if not (isinstance(entry, Mapping) and "default" in entry and ("like" in entry or "description" in entry)):
        return Setting(name, entry)
    if entry.get("like", "count") not in KINDS:
        raise UpfieldError(f"{name}.like is {entry['like']!r}; expected one of {', '.join(KINDS)}")
    rule = {**KINDS.get(entry.get("like", ""), {}), **entry}
    description = rule.pop("description", "")
    plain = {key: value for key, value in rule.items() if key not in ("default", "like")}
    return Setting(name, entry["default"], plain, description)
