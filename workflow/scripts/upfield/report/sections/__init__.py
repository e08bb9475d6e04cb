"""The sections of the pages, one module each: NAME.py defines `SECTION`, NAME.html beside it is the template.

What stands in this folder is on the page, in the navigation too; nothing lists it. `SECTION.build(context)` returns
the values that the template sees, and `NAME.js`, where there is one, is put at the end of the page. Templates may
use the macros of `macros.html`, the filters `number`, `label`, `duration`, `uri`, and nothing of other sections.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from upfield.report.context import Context

C = TypeVar("C", bound=Context)


def always(context: Context) -> bool:
    """Every page of its kind has this section."""
    return True


@dataclass(frozen=True)
class Section(Generic[C]):
    """One section of a page.

    Attributes
    ----------
    id
        Of its element on the page, what links lead to.
    title
        In the navigation.
    order
        Sections stand by increasing order; leave room between two.
    of
        The kind of context, and so of page, that has it; a base class for those of several pages.
    build
        Makes the template's values from the context, which it must not change.
    applies
        Whether a page of this kind has it.
    heading
        Above the section; the title if empty.

    """

    id: str
    title: str
    order: int
    of: type[C]
    build: Callable[[C], Mapping[str, Any]]
    applies: Callable[[C], bool] = always
    heading: str = ""


def found(context: Context) -> dict[str, Section[Any]]:
    """The sections that a page made of `context` has, in their order, by the name of their module."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    sections = {module.__name__.rpartition(".")[2]: module.SECTION for module in modules}
    chosen = {name: s for name, s in sections.items() if isinstance(context, s.of) and s.applies(context)}
    return dict(sorted(chosen.items(), key=lambda item: (item[1].order, item[0])))


def folders() -> list[Path]:
    """Where sections are looked for, and their templates and scripts."""
    return [Path(folder) for folder in __path__]
