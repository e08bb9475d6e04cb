"""Which kind of study a configuration asks for: one that trains, a model that is applied or measured, or label maps."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield.files import merged
from upfield.study import anatomy, application, validation
from upfield.study import config as configuration
from upfield.study.anatomy import Maps
from upfield.study.application import Application
from upfield.study.cohort import Cohort
from upfield.study.study import Study
from upfield.study.validation import Validation


def read(*paths: str | Path) -> dict[str, Any]:
    """The configuration of config files, later ones over earlier, as the workflow has it. Raises UpfieldError."""
    said = functools.reduce(merged, map(configuration.read, paths))
    return resolved(configuration.whole(said), said)


def resolved(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, over which what a given `model` decides is laid; `given` is what the user said, no default.

    Raises UpfieldError, one line that names the key.
    """
    if config["model"] is None:
        return dict(config)
    return (validation if _measured(config) else application).resolve(config, given)


def of(config: Mapping[str, Any], rescan: bool = True) -> Study | Validation | Application | Maps:
    """The study of a configuration that `resolved` returned. Raises UpfieldError."""
    if config["model"] is None:
        return Maps(config) if anatomy.alone(config) else Study(config, rescan)
    return (Validation if _measured(config) else Application)(config, rescan)


def of_pairs(config: Mapping[str, Any]) -> Cohort:
    """The same in a job, where no model is applied to scans without a target."""
    found = of(config, rescan=False)
    assert isinstance(found, Cohort)
    return found


def _measured(config: Mapping[str, Any]) -> bool:
    """Whether there are targets that a given model's outputs can be compared with."""
    return config["target"]["bids_dir"] is not None or config["samples"] is not None
