"""Processes forked from one that has imported what they need: a plan or a training costs no seconds of imports."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
# What every plan imports, and what takes the steps of a study seconds to import; nothing of it starts to compute.
CONTEXT.set_forkserver_preload(
    [
        "snakemake.cli",
        "snakemake.report.html_reporter",  # by the parser of every command line
        "nbformat",
        "smart_open",
        "snakemake.storage",
        "upfield.study.kinds",
        "upfield.study.outputs",
        "upfield.cluster.look",
        "upfield.cluster.generic.look",
        "upfield.evaluate.metrics.measure",
        "bids2table",
        "nipype.interfaces.base",  # by programs, the BIDS validator above all
        "ants",
        "upfield.training.run",
        "upfield.methods.unet3d_patchgan",
        "torch._dynamo",  # by the first optimiser
        "upfield.report.gallery",
        "skimage.transform",
        "seaborn",
    ]
)


def run(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    together: bool = False,
    here: bool = False,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives of Snakemake in a folder, its texts captured: errors with the output if `together`.

    With `here` the steps run in its process too, see `tests.e2e.in_process`. Raises TimeoutExpired after `timeout`
    seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stdout" if together else "stderr")]
        said = dict(os.environ if environment is None else environment)
        process = CONTEXT.Process(target=_child, args=(list(arguments), str(cwd), said, list(map(str, files)), here))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        texts = [path.read_text() if path.is_file() else "" for path in files]
    return subprocess.CompletedProcess(list(arguments), process.exitcode or 0, texts[0], None if together else texts[1])


def start(function: Callable[..., None], arguments: Sequence[Any], errors: Path) -> BaseProcess:
    """A process that calls a function, and goes on beside this one; what it says of errors is in the file `errors`."""
    process = CONTEXT.Process(target=_called, args=(function, arguments, str(errors)))
    process.start()
    return process


def _called(function: Callable[..., None], arguments: Sequence[Any], errors: str) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    function(*arguments)


def _child(arguments: list[str], cwd: str, environment: dict[str, str], files: list[str], here: bool) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(files, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
    # The main module of a program called so.
    sys.argv = ["snakemake", *arguments]
    sys.modules["__main__"] = ModuleType("__main__")
    if here:
        from tests.e2e import in_process

        in_process.main(arguments)
    else:
        from snakemake import cli

        cli.main(arguments)
