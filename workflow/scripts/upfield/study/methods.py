"""The methods of a study: which there are, what each is trained with, what its models are called."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from upfield.bids import label
from upfield.catalogue.methods import NEED_A_GRID, PLANNED, RUNTIME_OPTIONS, facts
from upfield.errors import UpfieldError
from upfield.image.nifti import SAME, Scale
from upfield.study import config as configuration
from upfield.study import external, requirements

# Keys of `train` that plans are made by, and nothing else.
PLANNING = ("memory", "hours")
# Labels in the names of files that are no method's.
RESERVED = ("preproc", "alone", "biascorr", "simulated", "average", "brain", "tissues")

# What is written beside a method's prediction, by the ending of its label.
BESIDE = ("std", "sample")


class Methods:
    """Every method of a study in report order: baselines without a model, the supervised one, models, external ones."""

    def __init__(self, config: Mapping[str, Any], uncertainty: bool) -> None:
        """`uncertainty`: whether means of several outputs have a standard deviation.

        Raises UpfieldError for equal labels.
        """
        self.config, self._uncertainty = config, uncertainty
        self.names = configuration.methods(config)
        self.baselines = configuration.baselines(config)
        self.trained = configuration.trained_methods(config)
        self.networks = configuration.networks(config)
        self.external = external.of(config)
        # Baselines without a network.
        self.free = [name for name in self.names if name not in self.networks and name not in self.external]
        self.primary = configuration.primary(config)
        self.by_label = _labels(self.names)
        # Predictions that are given as files are where their makers left them.
        given = [name for name, found in self.external.items() if not found.command]
        # Those that `apply` could deliver, where there is no target.
        self.alone = [name for name in self.names if name not in (*NEED_A_GRID, *given)]

    # -- models ----------------------------------------------------------------------------------------------------

    def seeds(self, method: str) -> list[int]:
        """What has no network here has nothing random in it, so one seed is enough."""
        return list(self.config["train"]["seeds"])[: None if method in self.networks else 1]

    @cached_property
    def all_seeds(self) -> dict[str, list[int]]:
        """The seeds of every trained method."""
        return {method: self.seeds(method) for method in self.trained}

    def settings(self, method: str) -> dict[str, Any]:
        """Resolved settings of a method."""
        return configuration.method_settings(self.config, method)

    @cached_property
    def planned(self) -> list[str]:
        """The methods with a setting that a plan decides."""
        return [name for name in self.networks if None in (self.settings(name)[one] for one in self._left(name))]

    def _left(self, method: str) -> tuple[str, ...]:
        """Settings that a plan decides where the study does not."""
        return facts(method).planned if self.settings(method)["preset"] == PLANNED else ()

    def training(self, method: str) -> dict[str, Any]:
        """What of the `train` block decides on a method's weights, besides seed and start."""
        others = {"seeds", "init_from", *PLANNING, *RUNTIME_OPTIONS}
        block = self.config["train"]
        kept = {key: value for key, value in block.items() if key not in others}
        kept |= {"layer_lr": block["layer_lr"].get(method, {})}
        # One more key would be a reason to train again.
        return kept | ({} if self.redraw is None else {"redraw": self.redraw})

    @cached_property
    def redraw(self) -> dict[str, Any] | None:
        """What `training.redraw.Settings` says, but for the seed, where sources are drawn anew; else None."""
        simulate = self.config["simulate"]
        if simulate["redraw"] is None:
            return None
        own = {key: simulate["redraw"].get(key, 0) for key in ("contrasts", "lesions", "boxes")}
        normalize = self.config["preprocess"]["normalize"]["method"]
        own["keeps_contrast"] = self.keep_contrast
        return {"ranges": simulate["ranges"], "contrast": simulate["contrast"], **own, "normalize": normalize}

    @property
    def keep_contrast(self) -> bool:
        """Whether networks learn to undo acquisitions alone, see `training.redraw`."""
        own = self.config["simulate"]["redraw"]
        return own is not None and any(own.get(key) for key in ("contrasts", "lesions", "labels"))

    @cached_property
    def maps(self) -> list[str]:
        """Files of label maps that images are drawn from while training."""
        folder = None if self.redraw is None else self.config["simulate"]["redraw"].get("labels")
        return [] if folder is None else list(map(str, requirements.label_maps(folder, "simulate.redraw.labels")))

    def start(self, method: str) -> list[str]:
        """Files of the trained model that a method's training starts from, if any."""
        folder = configuration.start_of(self.config, method)
        return [] if folder is None else [f"{folder}/model.safetensors", f"{folder}/model.json"]

    def features(self, method: str) -> list[str]:
        """The file of VGG weights that a method's losses use, if any."""
        path = requirements.feature_file(self.settings(method))
        return [] if path is None else [path]

    # -- grids -----------------------------------------------------------------------------------------------------

    @cached_property
    def scale(self) -> dict[str, Scale]:
        """Size of each method's output relative to its input."""
        return {name: requirements.of(self.config, name).scale for name in self.names}

    @property
    def scales(self) -> list[Scale]:
        """The scales that occur, without that of methods that keep the grid."""
        return sorted(set(self.scale.values()) - {SAME})

    @property
    def multiple(self) -> Scale:
        """What corner and size of the working grid are multiples of, so that every scale fits."""
        x, y, z = (math.lcm(*(scale[axis] for scale in [SAME, *self.scales])) for axis in range(3))
        return x, y, z

    # -- uncertainty -----------------------------------------------------------------------------------------------

    def samples(self, method: str) -> int:
        """How many samples are drawn of each of a method's models, with dropout or by a sampler; 0: none."""
        return requirements.samples(self.config, method)

    def outputs(self, method: str) -> int:
        """How many outputs, of seeds and samples, a method's prediction is the mean of."""
        return requirements.members(self.config, method)

    def passes(self, method: str) -> int:
        """How many times networks see a scan for a method's prediction, and for all that is written beside it."""
        outputs, drawn = self.outputs(method), self.samples(method)
        if not drawn or not requirements.samples_itself(self.config, method):
            return outputs
        steps = int(self.settings(method).get("sampling_steps", 1))
        # A mean and samples of each model, and one sample to show.
        return (1 + drawn * steps) * len(self.seeds(method)) + steps

    @cached_property
    def uncertain(self) -> list[str]:
        """The methods whose predictions are means of several, and so have a standard deviation, in report order.

        None without a target to judge a standard deviation by.
        """
        return [name for name in self.names if self.outputs(name) > 1] if self._uncertainty else []

    @cached_property
    def samplers(self) -> list[str]:
        """Those of them of which samples are drawn that are images by themselves."""
        drawn = [name for name in self.uncertain if self.samples(name)]
        return [name for name in drawn if requirements.samples_itself(self.config, name)]


def _labels(methods: Sequence[str]) -> dict[str, str]:
    """Method by the label that stands in its files' names. Raises UpfieldError if two would have the same files."""
    taken = {name: name for name in RESERVED}
    result: dict[str, str] = {}
    for method in methods:
        # A method `x_std` would write the files of the standard deviation of a method `x`.
        beside = {f"{name}{ending}": other for name, other in result.items() for ending in BESIDE}
        further = (result.get(f"{label(method)}{ending}") for ending in BESIDE)
        other = (taken | result | beside).get(label(method)) or next(filter(None, further), None)
        if other is not None:
            raise UpfieldError(f"config: methods {method} and {other} would write the same files; rename one")
        result[label(method)] = method
    return result
