"""`benchmarks/gpu.py`: every part reports; one that fails, hangs or dies takes no other along; it ends in time."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
# Parts as a run may meet them, for the runner to start by name.
ODD_PARTS = """
import os, signal, subprocess, sys, time

def good(bench):
    bench.found("a number", True, value=1.5)

def wrong(bench):
    bench.found("a number", False, value=float("nan"))

def fails(bench):
    bench.found("before it fails", None, value=1)
    raise ValueError("one line,\\nand another")

def hangs(bench):
    bench.found("before it hangs", None, value=1)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (bench.job.out / "child").write_text(str(child.pid))
    time.sleep(600)

def dies(bench):
    os.kill(os.getpid(), signal.SIGSEGV)

def leaves_out(bench):
    for item in bench.while_time(["first", "second"]):
        bench.found(item, True)
        time.sleep(max(bench.left() - 0.1, 0))
"""
RUN = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from gpubench import runner
from gpubench.parts import Part
runner.HEAVY[:] = []
if __name__ == "__main__":
    parts = [Part(name, "odd", f"odd_parts:{name}", 1.0) for name in sys.argv[5].split(",")]
    sys.exit(runner.run(parts, device="cpu", minutes=float(sys.argv[4]), data=None, out=Path(sys.argv[3])))
"""
# The real parts in the smallest form; the minutes are for machines that do other things too.
SHORT_RUN = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from gpubench import forms, parts, runner
if __name__ == "__main__":
    out = Path(sys.argv[2])
    sys.exit(runner.run(parts.PARTS, device="cpu", minutes=8, data=None, out=out, form=forms.SHORT))
"""


def run_parts(folder, names, minutes):
    """Exit status, seconds, the report as read from its file, and what was printed."""
    (folder / "odd_parts.py").write_text(ODD_PARTS)
    (folder / "run.py").write_text(RUN)
    begun = time.monotonic()
    command = [sys.executable, folder / "run.py", ROOT / "benchmarks", folder, folder, minutes, ",".join(names)]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert (folder / "gpu.json").is_file(), done.stderr
    return done.returncode, time.monotonic() - begun, json.loads((folder / "gpu.json").read_text()), done.stdout


def test_a_part_that_fails_or_dies_is_reported_and_the_others_go_on(tmp_path):
    code, _, report, printed = run_parts(tmp_path, ["good", "fails", "dies", "leaves_out"], 0.25)
    status = {name: part["status"] for name, part in report["parts"].items()}
    assert status == {"good": "done", "fails": "failed", "dies": "died", "leaves_out": "done"}
    assert code == 1 and report["right"] is False
    fails = report["parts"]["fails"]
    assert fails["error"] == "ValueError: one line, and another" and "raise ValueError" in fails["traceback"]
    assert [finding["what"] for finding in fails["findings"]] == ["before it fails"]
    assert "-11" in report["parts"]["dies"]["error"]
    left_out = report["parts"]["leaves_out"]["findings"]
    assert [finding["what"] for finding in left_out] == ["first", "second"]
    assert left_out[1]["values"] == {"left_out": "no time left"}
    assert "fails: failed" in printed and "value 1.5  right" in (tmp_path / "gpu.txt").read_text()


def test_a_part_that_hangs_is_killed_with_all_it_started_and_the_run_ends_in_time(tmp_path):
    code, seconds, report, _ = run_parts(tmp_path, ["hangs", "good"], 0.15)
    assert seconds < 0.15 * 60 + 5, "and the start of Python"
    assert code == 1
    assert report["parts"]["hangs"]["status"] == "killed"
    assert report["parts"]["hangs"]["findings"][0]["what"] == "before it hangs"
    assert report["parts"]["good"]["status"] == "done"
    status = Path("/proc", (tmp_path / "child").read_text(), "status")
    assert not status.is_file() or "Z (zombie)" in status.read_text()


def test_all_right_is_status_0_and_something_wrong_is_1(tmp_path):
    assert run_parts(tmp_path, ["good", "good"], 0.5)[0] == 0
    code, _, report, _ = run_parts(tmp_path, ["good", "wrong"], 0.5)
    assert code == 1
    assert report["parts"]["wrong"]["status"] == "done"


def test_every_part_reports_in_the_short_form(tmp_path):
    """The real parts, small, where nothing is installed but what the program asks for."""
    spec = importlib.util.spec_from_file_location("test_bare", ROOT / "tests" / "workflow" / "test_bare.py")
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    (tmp_path / "sitecustomize.py").write_text(bare.BLOCK)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    (tmp_path / "run.py").write_text(SHORT_RUN)
    command = [sys.executable, tmp_path / "run.py", ROOT / "benchmarks", tmp_path / "out"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, env=environment)
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    status = {name: part["status"] for name, part in report["parts"].items()}
    assert set(status.values()) == {"done"}, status
    assert {"agree", "falls", "repeat", "layout", "memory", "together", "training", "inference", "learning"} < set(
        status
    )
    assert "small networks" in report["form"]
    assert report["parts"]["memory"]["findings"][0]["values"]["log"]
    assert (tmp_path / "out" / "learned" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "gpu.txt").read_text().count("right") > 10


def test_what_parts_are_forked_with_can_be_imported(monkeypatch):
    """A process that others are forked from passes over what it cannot import, and every part imports it anew."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    importlib.import_module("gpubench.heavy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes is 0; expected more than 0"),
        (["--parts", "righ"], "--parts names righ; expected names among"),
        (["--data", "no/folder"], "--data is no/folder, which is no folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    command = [sys.executable, SCRIPT, "--device", "cpu", "--out", tmp_path, *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
