"""Steps: the library functions that rules run, and what planning knows of them without importing them.

A step is a plain function whose arguments have the names of its rule's named inputs, outputs and params; what a rule
lists without a name only has to be there. Beside these a step may ask for its rule's wildcards by their names, and for

`threads`   how many jobs of its own it may run side by side; what it computes with does not depend on that
`memory`    bytes that its process may hold in all
`config`    the configuration of the run

One script, workflow/scripts/step.py, runs them all; a test or a notebook can call them as they are.
"""

import ast
import functools
import importlib
import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from upfield.job import job

LIBRARY = Path(__file__).parent
# Snakemake runs twice in a job, outside and inside its Slurm step: 130 MB each, more with a thousand participants.
SNAKEMAKE = 500
# Other machines and other heads than those measured.
MEMORY_MARGIN = 1.5
TIME_MARGIN = 10
# Threads of a training where `train.threads` names none, on a machine that has so many.
MOST_THREADS = 8
# What of a rule's params is for the frame alone.
FRAME = ("step", "version")

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Step:
    """What a step says of itself.

    `version` is raised on purpose when a change of the code changes what a step writes: nothing else about the code is
    a reason to run it again. Steps that are older than these numbers have 0, which Snakemake is not told, so that what
    they made stays valid.

    `memory` (MB) and `minutes` are peak and duration of the function: a fixed part, and what each unit of size adds.
    A unit is a million voxels of the participant's largest image, or a participant where a rule reads all of them.
    They are peaks of benchmark files (`max_rss`, `s`) of two runs on one core: the demo (1.2 million voxels a scan) and
    three adults of OpenfMRI ds000011 (5.9 million voxels, 1 mm), with networks of published size.

    `threads` are what its sums are shared among. The last digits of a result depend on their number, so it is the
    step's own, however many cores a run gives to the job; None is what `train.threads` says.
    """

    version: int
    memory: tuple[float, float]
    minutes: tuple[float, float]
    threads: int | None = 1

    def mem_mb(self, size: float, attempt: int = 1) -> int:
        """MB to ask for, whole hundreds; a job that failed asks for more when it is tried again."""
        fixed, each = self.memory
        return 100 * math.ceil(attempt * (SNAKEMAKE + MEMORY_MARGIN * (fixed + each * size)) / 100)

    def runtime(self, size: float, attempt: int = 1) -> int:
        """Minutes to ask for, at least five; a job that failed asks for more when it is tried again."""
        fixed, each = self.minutes
        return max(5, math.ceil(TIME_MARGIN * (fixed + each * size))) * attempt

    def cores(self, config: Mapping[str, Any]) -> int:
        """Cores to ask for, at most."""
        return self.threads or config["train"]["threads"] or MOST_THREADS

    def computes_with(self, config: Mapping[str, Any]) -> int:
        """Threads to compute with: never those at hand in this run, at most those of the machine."""
        return self.threads or config["train"]["threads"] or min(MOST_THREADS, os.cpu_count() or 1)


def step(
    *, version: int, memory: tuple[float, float], minutes: tuple[float, float], threads: int | None = 1
) -> Callable[[Function], Function]:
    """Mark a function as a step; see `Step`. The values must be literals: `declared` reads them from the source."""

    def mark(function: Function) -> Function:
        function.step = Step(version, memory, minutes, threads)  # type: ignore[attr-defined]
        return function

    return mark


def declared(name: str) -> Step:
    """What the step `<module>.<function>` of the library says of itself, read from its source.

    Planning must not import what steps import (torch, ANTs), and every job plans. Raises ValueError if there is no such
    step, or if its values are not literals.
    """
    module, _, function = name.rpartition(".")
    steps = _steps(module)
    if function not in steps:
        raise ValueError(f"{name} is no step; {module} has {', '.join(steps) or 'none'}")
    return steps[function]


@functools.cache
def _steps(module: str) -> dict[str, Step]:
    """The steps of a module by name."""
    tree = ast.parse(LIBRARY.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    result = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for mark in (node for node in function.decorator_list if isinstance(node, ast.Call)):
            if isinstance(mark.func, ast.Name) and mark.func.id == "step":
                said = {str(word.arg): ast.literal_eval(word.value) for word in mark.keywords}
                known = {field.name for field in fields(Step)}
                result[function.name] = Step(**{name: value for name, value in said.items() if name in known})
    return result


def load(name: str) -> Callable[..., Any]:
    """The function behind the name of a step."""
    module, _, function = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"upfield.{module}"), function)
    return found


def own_memory(mem_mb: int) -> int:
    """Bytes that are left to a job's function, of the MB it asked for: Snakemake around it takes its share.

    Half of the machine's memory where a site does not let jobs ask for any.
    """
    if not mem_mb:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 2**20 * (mem_mb - SNAKEMAKE)


def arguments(function: Callable[..., Any], named: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """What a step is called with: all that its rule has a name for, and what it asks for of what is `offered`.

    Raises TypeError if the names do not fit the function.
    """
    wanted = inspect.signature(function).parameters
    taken = {**{name: value for name, value in offered.items() if name in wanted}, **named}
    inspect.signature(function).bind(**taken)
    return taken


def run(snakemake: Any) -> None:
    """Run the step of a rule, in the frame that every job has; called by workflow/scripts/step.py."""
    with job(snakemake, declared(snakemake.params.step).computes_with(snakemake.config)):
        function = load(snakemake.params.step)
        named = {
            name: _plain(value)
            for part in (snakemake.input, snakemake.output, snakemake.params)
            for name, value in part.items()
            if name not in FRAME
        }
        offered = {
            **dict(snakemake.wildcards.items()),
            "threads": snakemake.threads,
            "memory": own_memory(snakemake.resources.mem_mb),
            "config": snakemake.config,
        }
        function(**arguments(function, named, offered))


def _plain(value: Any) -> Any:
    """Snakemake's lists of files, which are more than lists, as lists of text."""
    if isinstance(value, str):
        return str(value)
    return [str(item) for item in value] if type(value).__name__ == "Namedlist" else value
