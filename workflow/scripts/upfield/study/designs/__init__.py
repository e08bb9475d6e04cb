"""Kinds of pairing: what each decides about a study, one kind a file; nothing else asks which kind a study has.

A new kind is a module here with a `DESIGN`; it is then a value of `pairing` in the configuration.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from upfield.study.designs.base import Design


@cache
def known() -> dict[str, Design]:
    """Every kind of pairing by its name, in the order of the names of their files."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"]
    found = [importlib.import_module(f"{__name__}.{name}").DESIGN for name in sorted(names)]
    return {design.name: design for design in found}


def of(config: Mapping[str, Any]) -> Design:
    """The design of a study, by its `pairing`, which the schema has checked."""
    return known()[config["pairing"]]
