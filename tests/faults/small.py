"""The smallest study, run from outside as a user does, and what of it must be the same however it came about."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from tests.e2e.conftest import small_study

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--nocolor")
# What says when and how, and not what: seconds, dates; and what only a training that was stopped needs.
PASSING = ("history.tsv", "model.json", "index.json", "checkpoint.safetensors", "checkpoint.previous.safetensors")
RESULTS = (".tsv", ".csv", ".json", ".txt", ".gz", ".safetensors")


class Small:
    """Three balls, a network of a few weights, and the baselines; the folder can be copied."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.root = folder, folder / "results" / "small"
        folder.mkdir(exist_ok=True)
        config = small_study(data, "results", spacing=4.0, per_volume=4)
        config["evaluate"]["metrics"] = ["psnr", "mae"]
        config |= {
            "methods": [],
            "method_overrides": {"unet3d": {"base": 2, "levels": 1, "lr": 1e-3, "batch_size": 2}},
            "train": {"epochs": 8, "preview_every": 0, "device": "cpu", "precision": "fp32"},
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(config))

    def command(self, *arguments: str) -> list[str]:
        where = ["--cores", "2", "--configfile", "study.yaml", "--set-threads", "train_model=1"]
        return [*SNAKEMAKE, *(arguments or ("evaluate",)), *where]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Snakemake in a session of its own, its output in run.log."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts"), "OMP_NUM_THREADS": "1"}
        with (self.folder / "run.log").open("w") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self) -> str:
        return (self.folder / "run.log").read_text()

    def run(self, *arguments: str) -> None:
        """A run that must end well."""
        code = self.start(*arguments).wait(1800)
        assert code == 0, self.said()[-3000:]

    def results(self) -> dict[str, bytes]:
        """Tables, weights, images and their sidecars by path, without what says when they were made."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.suffix in RESULTS and path.name not in PASSING and not name.startswith(("logs/", "benchmarks/")):
                found[name] = path.read_bytes()
        return found


def different(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """The files that are not the same; empty if all are."""
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return f"{len(names)} files differ: {', '.join(names[:5])}" if names else ""


def kill(process: subprocess.Popen[bytes]) -> None:
    """`kill -9` of a run and all below it, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.wait()


def wait_for(folder: Path, text: str, process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    """Return when a run has said something; fail when it ends before."""
    end = time.monotonic() + seconds
    while text not in (folder / "run.log").read_text():
        assert process.poll() is None and time.monotonic() < end, (folder / "run.log").read_text()[-2000:]
        time.sleep(0.05)
