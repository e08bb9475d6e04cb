"""Methods that turn a source image into a target image, found by name; one file each."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from upfield.catalogue.methods import COURSE
from upfield.errors import UpfieldError
from upfield.methods.base import Batch, Method, OptimizerConfig, Update, parameter_counts

# The name that methods of others may know it by.
Plan = OptimizerConfig

__all__ = ["Batch", "Method", "OptimizerConfig", "Plan", "Update", "build", "method_class", "parameter_counts"]


def method_class(module: str) -> type[Method]:
    """The `METHOD` of a module: a dotted name, or a path ending in .py."""
    found = _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    method = getattr(found, "METHOD", None)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UpfieldError(f"{module}: expected a class METHOD derived from upfield.methods.Method")
    return method


def build(settings: Mapping[str, Any], in_channels: int = 1) -> Method:
    """A method with fresh weights from its resolved settings (`module`, `preset` and one entry per setting).

    `in_channels` is the number of contrasts of the source. Raises UpfieldError if a setting is missing, unknown, or of
    the wrong type, and if the method takes one contrast only.
    """
    values = {key: value for key, value in settings.items() if key not in ("module", "preset", *COURSE)}
    if in_channels > 1:
        values["in_channels"] = in_channels
    try:
        return method_class(settings["module"])(**values)
    except (TypeError, ValueError) as error:
        raise UpfieldError(f"settings of {settings['module']}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UpfieldError(f"{path}: expected a Python file that defines METHOD")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
