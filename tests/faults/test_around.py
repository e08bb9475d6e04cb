"""Faults of what is around a run: its inputs, its drive, its processes, one after another on one study.

Each ends the run with one line, and the undisturbed run after all of them ends as if they had not been.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .small import Small, different, kill, wait_for

# A drive that is full in the middle of the run.
ROOM = "900k"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Path]:
    """A folder on a drive of its own; skips where none can be mounted."""
    folder = tmp_path / "study" / "results"
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no drive can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def again(drive: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", drive], check=True)


def ended(study: Small, process: "subprocess.Popen[bytes]", *words: str) -> str:
    """What is wrong with how a run failed: it must end by itself and say one of `words`, without a stack."""
    try:
        code = process.wait(600)
    except subprocess.TimeoutExpired:
        kill(process)
        return f"hangs: {study.said()[-800:]}"
    said = study.said()
    if code == 0:
        return f"ended well: {said[-300:]}"
    if "Traceback" in said:
        return said[said.index("Traceback") :][:1200]
    return "" if any(word in said for word in words) else f"says none of {words}: {said[-1200:]}"


def step_of(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """The process of a step that a run has started."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for child in psutil.Process(process.pid).children(recursive=True):
            # One that ends just now has no command any more.
            with suppress(psutil.Error):
                if any(word.endswith(".step.py") for word in child.cmdline()):
                    return child
        time.sleep(0.05)
    raise AssertionError("no step was started")


def test_fault_upon_fault(drive, tally, undisturbed, data):
    study = Small(drive.parent, data)
    wanted, _ = undisturbed

    rows = tally("input that vanishes")
    scan = next(data.glob("sub-02/ses-low/anat/*.nii.gz"))
    process = study.start()
    wait_for(study.folder, "Select jobs", process)
    scan.rename(scan.with_name("elsewhere"))
    # Snakemake says it before a step, and Upfield after one.
    said = [f"{scan.name} is not there any more", f"{scan.name} (missing locally"]
    rows.check("scan", ended(study, process, *said))
    # With the date that it had.
    scan.with_name("elsewhere").rename(scan)
    rows.done()

    rows = tally("full drive")
    again(drive, f"size={ROOM}")
    rows.check(ROOM, ended(study, study.start(), "no space is left"))
    rows.done()

    rows = tally("drive that can be read only")
    again(drive, "size=1g,ro")
    rows.check("results", ended(study, study.start(), "can be read only"))
    again(drive, "size=1g,rw")
    rows.done()

    rows = tally("crash outside Python")
    process = study.start()
    step_of(process).send_signal(signal.SIGSEGV)
    rows.check("step", ended(study, process, "was killed, or crashed"))
    rows.done()

    rows = tally("undisturbed run after them")
    code = study.start().wait(1800)
    rows.check("results", different(study.results(), wanted) if code == 0 else study.said()[-800:])
    rows.done()
