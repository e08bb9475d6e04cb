"""What a brain-extraction tool is, and which there are."""

import functools
import importlib
import pkgutil
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upfield.errors import UpfieldError
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess import brain


@dataclass(frozen=True)
class Tool:
    """One way of brain extraction, by what `preprocess.brain.method` calls it.

    `extract` takes a scan, the study's `preprocess.brain` and the masks that were found for the scan (of use to one
    tool), and returns a boolean mask (X, Y, Z) on the scan's own grid, or raises ScanError. It imports what is heavy
    itself: planning imports every tool.
    """

    name: str
    # For the guide: what it does in half a sentence, and what must be there.
    summary: str
    needs: str
    # For the methods text: the end of "brains were extracted ...", `{}` for the version of the package of this name,
    # citations as [key] of report/references.bib. Empty: nothing is said.
    says: str
    extract: Callable[[Volume, Mapping[str, Any], Sequence[str]], Array]
    # A program that must be installed, and with what it comes.
    program: str | None = None
    origin: str = ""
    # Keys of `preprocess.brain` that must name a file, inputs of the extraction; and a folder, if they are set.
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    # Whether it takes masks that are there already.
    takes_masks: bool = False

    def check(self, settings: Mapping[str, Any], key: str) -> None:
        """Raise UpfieldError, one line, if what it needs is not there. `key` is the configuration's of `settings`."""
        if self.program is not None and shutil.which(self.program) is None:
            raise UpfieldError(
                f"config: {key}.method is {self.name}, but its program {self.program} was not found; install"
                f" {self.origin}, or choose deepbet"
            )
        for name in self.files:
            if settings[name] is None or not Path(settings[name]).is_file():
                raise UpfieldError(
                    f"config: {key}.{name} is {settings[name]}; method {self.name} needs the path of an image"
                )
        for name in self.folders:
            if settings[name] is not None and not Path(settings[name]).is_dir():
                raise UpfieldError(f"config: {key}.{name} is {settings[name]}; expected a folder")


@functools.cache
def tools() -> dict[str, Tool]:
    """Every tool by name: the modules of this package (and of what its search path names besides) with a `TOOL`."""
    names = sorted(module.name for module in pkgutil.iter_modules(brain.__path__))
    modules = (importlib.import_module(f"{brain.__name__}.{name}") for name in names)
    found: list[Tool] = [module.TOOL for module in modules if hasattr(module, "TOOL")]
    return {tool.name: tool for tool in found}
