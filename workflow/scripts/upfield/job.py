"""The frame of every adapter script: threads, log, and errors that a person can act on."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upfield import attempts, home
from upfield.errors import UpfieldError

# Read once, at import, by the libraries behind them; so adapters import inside the block.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Threads that wait sleep instead of turning: two trainings side by side on two cores take half the time.
WAITING = "OMP_WAIT_POLICY"


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run an adapter's body: `with job(snakemake): ...`.

    The numerical libraries get the rule's threads; where torchrun started several processes, each gets its part of them
    and all but the first a log of its own. Messages and tracebacks go to the rule's log; a mistake in the
    user's input ends the job with one line, without a traceback.
    """
    home.settle()
    for name in THREAD_VARIABLES:
        os.environ[name] = str(max(snakemake.threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1))
    os.environ.setdefault(WAITING, "PASSIVE")
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK")
    if rank is None:
        log.write_text("")
    elif rank != "0":
        log = log.with_suffix(f".{rank}.log")
    logging.basicConfig(filename=log, filemode="a", level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.captureWarnings(True)
    logging.info("rule %s, wildcards %s", snakemake.rule, dict(snakemake.wildcards))
    alone = rank in (None, "0")
    if alone:
        attempts.started(log)
    try:
        yield
    except UpfieldError as error:
        if alone:
            attempts.ended(log, error)
        logging.error("%s", error)
        sys.exit(f"upfield: {snakemake.rule} {' '.join(snakemake.wildcards)}: {error}")
    except Exception as error:
        if alone:
            attempts.ended(log, error)
        logging.error("%s", traceback.format_exc())
        raise
    if alone:
        attempts.ended(log, None)
    logging.info("done")
