"""Runs the parts one after the other, each in a process that is killed when its time is over.

Nothing here imports torch: whatever happens to a GPU, its driver or a library, this process goes on and ends in time.
The parts' processes are forked from one that has imported the libraries, which costs their start once, and has not
touched the GPU, which each part does for itself: a part that leaves it in a bad state takes nothing along.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpubench.bench import Bench, Finding, Job
from gpubench.forms import Form, form_for
from gpubench.parts import Part
from gpubench.report import Report

# Seconds kept at the end to write the report and remove what was thrown away, at most a tenth of the time.
CLOSING = 5.0
# How long a part may go on after it should have ended: this share of its time, or half this share of the whole time up
# to so many seconds, since what it has begun may take long on a machine that does other things too.
GRACE, MOST_GRACE = 0.25, 10.0
# What every part imports.
HEAVY = ["gpubench.heavy"]
# Where the parts and the library are.
BENCHMARKS = Path(__file__).resolve().parents[1]
PATHS = (BENCHMARKS, BENCHMARKS.parent / "workflow" / "scripts")


def run(
    parts: Sequence[Part], *, device: str, minutes: float, data: Path | None, out: Path, form: Form | None = None
) -> int:
    """Run the parts within so many minutes; returns the exit status. Writes gpu.json and gpu.txt in `out`.

    `form` None is the one for the device and the time.
    """
    started = time.monotonic()
    closing = min(CLOSING, 6 * minutes)
    end = started + 60 * minutes - closing
    out.mkdir(parents=True, exist_ok=True)
    form = form or form_for(device, minutes)
    now = datetime.now(UTC).isoformat("T", "seconds")
    head = {"device": device, "minutes": minutes, "form": form.name, "started": now}
    report = Report(out, head, [part.name for part in parts])
    if device == "cpu":
        # Small networks gain nothing from more threads, and lose a lot where other programs run beside them.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Asking whether there is a GPU must not start its driver where processes are forked later.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # The process that others are forked from looks for libraries here alone, whatever this one's sys.path says.
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*map(str, PATHS), *_split("PYTHONPATH")]))
    starter = _Starter()
    # Should this process itself be held up (a process that cannot be started or killed), the report is there in time.
    guard = threading.Timer(end + 0.8 * closing - time.monotonic(), _give_up, [report])
    guard.daemon = True
    guard.start()
    previous = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with tempfile.TemporaryDirectory(prefix="upfield-gpu-", ignore_cleanup_errors=True) as work:
            job = Job(device, form, data, Path(work), out)
            try:
                for number, part in enumerate(parts):
                    left = end - time.monotonic()
                    share = left * part.weight / sum(other.weight for other in parts[number:])
                    budget = max(share, min(part.least, left / 2))
                    grace = max(GRACE * budget, min(GRACE / 2 * 60 * minutes, MOST_GRACE))
                    _one(starter, part, job, budget, min(time.monotonic() + budget + grace, end), report)
            finally:
                report.close(time.monotonic() - started)
    finally:
        signal.signal(signal.SIGTERM, previous)
        guard.cancel()
    return 0 if report.right else 1


class _Starter:
    """Starts the processes of the parts: forked from one with the libraries, or each anew where that cannot be."""

    def __init__(self) -> None:
        self.context: Any = get_context("forkserver")
        self.context.set_forkserver_preload(HEAVY)

    def start(self, part: Part, job: Job, deadline: float) -> tuple[Any, Connection]:
        """A process that works on a part, and the end of the pipe where its findings come out."""
        here, there = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_work, args=(part.function, job, deadline, there), name=part.name)
        process.start()
        there.close()
        return process, here

    def without_fork(self) -> None:
        """From now on import the libraries anew for every part."""
        self.context = get_context("spawn")


def _one(starter: _Starter, part: Part, job: Job, budget: float, last: float, report: Report) -> None:
    """Run one part, kill it at `last` (a value of time.monotonic), and report how it ended."""
    begun = time.monotonic()
    report.begin(part.name, budget)
    if budget <= 0:
        report.finish(part.name, "no time left", 0.0)
        return
    process, here = starter.start(part, job, begun + budget)
    status, error, trace = "killed", f"had not ended after {last - begun:.0f} s", None
    try:
        while (left := last - time.monotonic()) > 0:
            if not here.poll(min(left, 1.0)):
                continue
            try:
                message = here.recv()
            except (EOFError, OSError):
                process.join(1.0)
                status, error = "died", f"its process ended with code {process.exitcode}"
                break
            if "bad_fork" in message:
                _kill(process)
                here.close()
                starter.without_fork()
                process, here = starter.start(part, job, begun + budget)
                continue
            if "end" in message:
                status, error, trace = message["end"], message.get("error"), message.get("traceback")
                break
            report.add(part.name, message)
    finally:
        _kill(process)
        here.close()
    report.finish(part.name, status, time.monotonic() - begun, error, trace)


def _kill(process: Any) -> None:
    """End a part's process, and all that it started; do not wait for what cannot be killed."""
    process.join(0.5 if process.exitcode is None else 0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        process.kill()
        process.join(1.0)


def _work(function: str, job: Job, deadline: float, connection: Connection) -> None:
    """What a part's process does."""
    # A group of its own, so that its loaders and trainings are killed with it.
    os.setsid()
    # Loaders start their processes as in any training here, not as this one was started.
    multiprocessing.set_start_method(None, force=True)
    # Library code prints progress bars and the like; the report is what the parent prints.
    sys.stdout = sys.stderr
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def send(message: Finding) -> None:
        connection.send(message)

    try:
        if job.device == "cuda" and _in_bad_fork():
            send({"bad_fork": True})
            return
        module, name = function.split(":")
        getattr(importlib.import_module(module), name)(Bench(job, deadline, send))
        send({"end": "done"})
    except BaseException as error:
        text = " ".join(str(error).split())
        send({"end": "failed", "error": f"{type(error).__name__}: {text[:300]}", "traceback": traceback.format_exc()})


def _in_bad_fork() -> bool:
    """Whether a library started the GPU's driver in the process that this one was forked from."""
    import torch

    # Torch asks itself the same before it starts with a GPU; without the function there is nothing to ask.
    return bool(getattr(torch.cuda, "_is_in_bad_fork", lambda: False)())


def _split(variable: str) -> list[str]:
    return [part for part in os.environ.get(variable, "").split(os.pathsep) if part]


def _interrupted(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _give_up(report: Report) -> None:
    if not report.closed:
        report.close(None)
    os._exit(0 if report.right else 1)
