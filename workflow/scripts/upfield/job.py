"""The frame of every adapter script: threads, log, and errors that a person can act on."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from upfield import attempts, home
from upfield.errors import UpfieldError, of_machine

# Read once, at import, by the libraries behind them; so adapters import inside the block.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Threads that wait sleep instead of turning: two trainings side by side on two cores take half the time.
WAITING = "OMP_WAIT_POLICY"
Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@contextmanager
def job(snakemake: Any, threads: int) -> Iterator[None]:
    """Run an adapter's body: `with job(snakemake, threads): ...`.

    The numerical libraries get these `threads`; where torchrun started several processes, each gets its part of them
    and all but the first a log of its own. Messages and tracebacks go to the rule's log; a mistake in the
    user's input, and what the machine refuses, ends the job with one line, without a traceback.
    """
    # Where the log cannot be written, nobody wants to read why.
    logging.raiseExceptions = False
    home.settle()
    for name in THREAD_VARIABLES:
        os.environ[name] = str(max(threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1))
    os.environ.setdefault(WAITING, "PASSIVE")
    log, alone = Path(snakemake.log[0]), os.environ.get("RANK") in (None, "0")
    try:
        _log_to(log)
        logging.info("rule %s, wildcards %s", snakemake.rule, dict(snakemake.wildcards))
        if alone:
            attempts.started(log)
        yield
    except Exception as error:
        if alone:
            # Where nothing can be written, that is what is told.
            with suppress(OSError):
                attempts.ended(log, error)
        mistake = isinstance(error, UpfieldError)
        logging.error("%s", error if mistake else traceback.format_exc())
        told = str(error) if mistake else of_machine(error, writing=next(iter(snakemake.output), ""))
        if told is None:
            raise
        sys.exit(f"upfield: {snakemake.rule} {' '.join(snakemake.wildcards)}: {told}")
    if alone:
        attempts.ended(log, None)
    logging.info("done")


@contextmanager
def handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Signals have these handlers in the block, and those of before afterwards. In the main thread only."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK")
    if rank is None:
        log.write_text("")
    elif rank != "0":
        log = log.with_suffix(f".{rank}.log")
    logging.basicConfig(filename=log, filemode="a", level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.captureWarnings(True)
