"""Snakemake with the steps in its own process: the same plan and files, without a Python that starts for every job.

`python -m tests.e2e.in_process <Snakemake's arguments>`, one core: steps change the log of their process.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from snakemake import benchmark, cli, workflow

# What a rule hands to its script, in Snakemake's order; the rest is about environments.
SAID = ("input", "output", "params", "wildcards", "threads", "resources", "log", "config", "rule")
RECORD = 5


def run_here(path: str, basedir: str, *said: Any) -> None:
    """What workflow/scripts/step.py does, here."""
    from upfield import step

    with benchmark.benchmarked(os.getpid(), said[len(SAID) + RECORD]):
        try:
            step.run(SimpleNamespace(**dict(zip(SAID, said, strict=False))))
        except SystemExit as ended:
            # Of a thread that exits Snakemake hears nothing, and waits for it for ever.
            raise RuntimeError(f"the step ended with {ended.code}") from ended


def main(arguments: Sequence[str]) -> None:
    """Run Snakemake so, and exit."""
    workflow.script = run_here
    # Once a job: to measure the memory of a process this large takes a while.
    benchmark.BENCHMARK_INTERVAL_SHORT = benchmark.BENCHMARK_INTERVAL
    # Steps run in a thread, which may not listen to signals as a training does.
    signal.signal = lambda *_: signal.SIG_DFL  # type: ignore[assignment]
    # One core needs no solver, a program that would start for every choice.
    cli.main(["--cores", "1", "--scheduler", "greedy", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
