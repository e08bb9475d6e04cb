"""A throw-away Slurm, a study small enough for it, and ways to run, watch and disturb it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import small_study, write_balls

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLUSTER = HERE / "cluster.sh"
# Networks this small lose more by waiting for a second thread than they gain.
THREADS = ("--set-threads", "train_model=1", "enhance=1")
# A folder of its own for each study: Snakemake locks the one it runs in.
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--nocolor")
SMALL = {"base": 4, "levels": 1, "lr": 1e-3, "batch_size": 2}
EPOCHS = 40


def wait_for(condition: Callable[[], object], seconds: float = 120, step: float = 0.25) -> None:
    """Return when `condition` holds; fail the test after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(step)


class Slurm:
    """The cluster: commands, and its log of ended jobs."""

    def __init__(self, folder: Path, shape: str = "plain") -> None:
        self.folder = folder
        subprocess.run([CLUSTER, "start", folder, shape], check=True, timeout=120)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        # Not the site file of whoever runs the tests.
        self.environment["XDG_CONFIG_HOME"] = str(folder / "config")
        self.environment["PATH"] = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"

    def command(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def jobs(self, *rules: str, state: str = "") -> list[dict[str, str]]:
        """What Slurm knows of every job since its start: JobId, JobState, NodeList, TresPerJob, Comment, ...

        Only those of some rules or groups, or in some state, where these are given.
        """
        lines = self.command("scontrol", "-o", "show", "job").splitlines()
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return [
            job
            for job in found
            if job.get("JobState", "").startswith(state or job.get("JobState", "-"))
            and (not rules or any(job.get("Comment", "").startswith(f"rule_{rule}") for rule in rules))
        ]

    def stop(self) -> None:
        subprocess.run([CLUSTER, "stop", self.folder], check=False, timeout=120)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running cluster of two nodes; stopped at the end."""
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("Slurm is not installed; 'make test-slurm' installs it")
    cluster = Slurm(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@dataclass
class Study:
    """A study of three balls and the ways to run it."""

    folder: Path
    slurm: Slurm
    data: Path
    config: dict = field(init=False)

    def __post_init__(self) -> None:
        self.config = small_study(self.data, str(self.folder / "results"), spacing=2.5, per_volume=8) | {
            "methods": ["unet3d"],
            "method_overrides": {"unet3d": SMALL},
            "train": {"epochs": EPOCHS, "preview_every": 0},
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))

    @property
    def root(self) -> Path:
        return self.folder / "results" / self.config["study"]

    def start(self, *arguments: str, profile: str = str(ROOT / "profiles" / "slurm")) -> subprocess.Popen[str]:
        """Snakemake through Slurm, with its output in snakemake.log; jobs are asked after every second."""
        command = [
            *(*SNAKEMAKE, *arguments, "--profile", profile),
            *("--configfile", str(self.folder / "study.yaml"), "--cores", "2", *THREADS),
            *("--latency-wait", "10"),
        ]
        if profile.endswith("slurm"):
            command += ["--slurm-init-seconds-before-status-checks", "1"]
        environment = {**self.slurm.environment, "UPFIELD_POLL_SECONDS": "1"}
        environment["PYTHONPATH"] = f"{HERE / 'fastpoll'}:{ROOT / 'workflow' / 'scripts'}"
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )

    def finish(self, process: subprocess.Popen[str], seconds: float = 1800) -> str:
        """Wait for a run that must succeed; what it said."""
        code = process.wait(seconds)
        text = (self.folder / "snakemake.log").read_text()
        assert code == 0, text[-6000:]
        return text

    def run(self, *arguments: str, **options: str) -> str:
        return self.finish(self.start(*arguments, **options))

    def run_locally(self, *arguments: str) -> None:
        command = [*SNAKEMAKE, *arguments, "--cores", "2"]
        command += ["--configfile", str(self.folder / "study.yaml"), *THREADS]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def model(self, method: str = "unet3d") -> Path:
        return self.root / "models" / method / "fold-0_seed-42"

    def log(self, method: str = "unet3d") -> str:
        return (self.root / "logs" / "train" / f"{method}_fold-0_seed-42.log").read_text()


@pytest.fixture(scope="session")
def undisturbed(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study, run without Slurm and without faults: what every other run must end with."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = Study(folder / "study", slurm, write_balls(folder / "bids", 3))
    study.run_locally()
    return study


def stop(process: subprocess.Popen[str]) -> None:
    """End a run that a test left behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(60)
