"""A cluster that is set up as sites are: what is refused is said in one line before anything is submitted."""

import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import write_balls

from .conftest import ROOT, Slurm, Study, stop, wait_for

# What a user waits for a refusal at most.
SOON = 60
SITE = {
    "partitions": {
        "cpu": {"max_runtime": "12h", "max_mem_mb": 16000, "max_threads": 8},
        "gpu": {
            "max_runtime": "8h", "max_mem_mb": 16000, "max_threads": 8, "max_gpu": 1, "available_gpu_models": ["a100"],
        },
    },
    "account": "root",
    "gpu": {"request": "gres", "type": "a100"},
}  # fmt: skip
USER = getpass.getuser()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if shutil.which("slurmdbd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("slurmdbd is not installed; 'make test-slurm' installs it")
    cluster = Slurm(tmp_path_factory.mktemp("site"), "site")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_balls(tmp_path_factory.mktemp("balls"), 3)


@dataclass
class Run:
    """A study at a site."""

    study: Study
    environment: dict[str, str]

    def write_site(self, **changes: object) -> None:
        self.site.parent.mkdir(parents=True, exist_ok=True)
        self.site.write_text(yaml.safe_dump(SITE | changes))

    @property
    def site(self) -> Path:
        return Path(self.study.slurm.environment["XDG_CONFIG_HOME"]) / "upfield" / "site.yaml"

    def refused(self, *arguments: str) -> str:
        """What a run says that submits nothing."""
        began = time.monotonic()
        process = self.study.start(*arguments)
        code = process.wait(2 * SOON)
        said = (self.study.folder / "snakemake.log").read_text()
        assert time.monotonic() - began < SOON, said
        assert code == 1 and "Traceback" not in said, said
        assert "has been submitted" not in said
        assert self.queue() == []
        lines = [line for line in said.splitlines() if "Nothing was submitted" in line or "WorkflowError" in line]
        assert lines, said
        return said

    def queue(self) -> list[str]:
        command = ["squeue", "--noheader", "--format=%i"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def at_site(cluster: Slurm, balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A study of which nothing is done yet, and no site file."""
    monkeypatch.setitem(cluster.environment, "XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = Run(Study(tmp_path / "study", cluster, balls), dict(cluster.environment))
    wait_for(lambda: not run.queue(), 60)
    return run


def test_without_slurm_it_says_so(at_site, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    theirs = subprocess.run(["dpkg", "-L", "slurm-client"], capture_output=True, text=True).stdout.split()
    for program in Path("/usr/bin").iterdir():
        if str(program) not in theirs and program.name != "srun":
            (programs / program.name).symlink_to(program)
    monkeypatch.setitem(at_site.study.slurm.environment, "PATH", f"{Path(sys.executable).parent}:{programs}")
    assert "there is no Slurm here" in at_site.refused()


def test_wrong_account_is_named_with_those_there_are(at_site):
    at_site.write_site(account="nobodys-lab")
    assert re.search(r"account nobodys-lab .*invalid.* root", at_site.refused())


def test_training_longer_than_the_partition_is_refused_without_a_site_file(at_site):
    said = at_site.refused()
    assert "1440 minutes are asked for, cpu has 720" in said and "longer: long, urgent" in said


def test_no_gpu_where_one_is_asked_for(at_site):
    at_site.write_site(partition="cpu")
    assert re.search(r"GPUs? are asked for, cpu has 0; GPUs are in gpu \(a100\)", at_site.refused())


def test_gpu_of_a_type_that_is_not_there(at_site):
    at_site.write_site(gpu={"request": "gres", "type": "h100"}, partition={"training": "gpu", "prediction": "gpu"})
    said = at_site.refused()
    assert "Requested node configuration is not available; GPUs are in gpu (a100)" in said


def test_more_memory_than_a_node_has(at_site):
    at_site.write_site()
    said = at_site.refused("--set-resources", "brain:mem_mb=50000")
    assert re.search(r"preprocess .* 100 GB of memory are asked for, cpu has 16", said)


def test_group_that_is_too_large(at_site):
    at_site.write_site()
    said = at_site.refused("--group-components", "preprocess=9", "--set-resources", "brain:runtime=300")
    assert re.search(r"preprocess .* minutes are asked for, cpu has 720; .* put fewer in a group", said)


def test_jobs_of_an_earlier_run_are_not_doubled(at_site):
    at_site.write_site()
    process = at_site.study.start(str(at_site.study.root / "inventory.tsv"))
    wait_for(at_site.queue, 90)
    process.kill()
    process.wait()
    jobs = at_site.queue()
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "-s", str(ROOT / "Snakefile"), "--configfile",
                    "study.yaml"], cwd=at_site.study.folder, check=True, capture_output=True)  # fmt: skip
    try:
        if at_site.queue():
            again = at_site.study.start()
            again.wait(SOON)
            said = (at_site.study.folder / "snakemake.log").read_text()
            assert (
                f"jobs of an earlier run of small are still in the queue: wait for them, or scancel {jobs[0]}" in said
            )
    finally:
        at_site.study.slurm.command("scancel", *jobs)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_nothing_in_the_queue(at_site, times):
    at_site.write_site()
    process = at_site.study.start()
    wait_for(at_site.queue, 90)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.wait(SOON)
    wait_for(lambda: not at_site.queue(), 30)


def test_what_a_dead_job_said_is_shown(at_site):
    at_site.write_site()
    srun = at_site.study.slurm.folder / "bin" / "srun"
    whole = srun.read_text()
    srun.write_text("#!/bin/sh\necho 'libcudart.so.12: cannot open shared object file' >&2\nexit 1\n")
    try:
        process = at_site.study.start(str(at_site.study.root / "inventory.tsv"), "--retries", "0")
        assert process.wait(SOON) == 1
    finally:
        srun.write_text(whole)
    said = (at_site.study.folder / "snakemake.log").read_text()
    assert re.search(r"\.log ends with:\n    libcudart\.so\.12: cannot open", said)
    assert at_site.queue() == []


def test_job_that_can_never_run_is_said_once(at_site):
    at_site.write_site()
    slurm = at_site.study.slurm
    full = slurm.command("sbatch", "--parsable", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 300").strip()
    process = at_site.study.start(str(at_site.study.root / "inventory.tsv"))
    try:
        wait_for(lambda: len(at_site.queue()) == 2, SOON)
        slurm.command("scontrol", "hold", *(set(at_site.queue()) - {full}))
        log = at_site.study.folder / "snakemake.log"
        wait_for(lambda: "will never start: Slurm says JobHeld" in log.read_text(), SOON)
    finally:
        stop(process)
        slurm.command("scancel", full)
    assert log.read_text().count("will never start") == 1
    wait_for(lambda: not at_site.queue(), 30)


def test_limit_of_two_submissions_is_kept_and_all_finish(at_site, tmp_path):
    at_site.write_site()
    slurm = at_site.study.slurm
    study = Study(tmp_path / "eight", slurm, write_balls(tmp_path / "bids", 8))
    slurm.command("sacctmgr", "-i", "modify", "user", USER, "set", "maxsubmitjobs=2")
    try:
        stores = [
            str(study.root / f"sub-0{n}/ses-low/anat/sub-0{n}_ses-low_desc-biascorr_T1w.nii.gz") for n in range(1, 9)
        ]
        said = study.run(*stores)
    finally:
        slurm.command("sacctmgr", "-i", "modify", "user", USER, "set", "maxsubmitjobs=-1")
    assert "at most 2 are submitted at one time" in said
    assert all(Path(path).is_file() for path in stores)


def test_one_resource_on_the_command_line_leaves_the_others(at_site):
    at_site.write_site()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "train", "--config", "train={device: cuda}", "-s",
         str(ROOT / "Snakefile"), "--profile", str(ROOT / "profiles/slurm"), "--set-resources",
         "train_model:mem_mb=9000", "--configfile", "study.yaml"],
        cwd=at_site.study.folder, env=at_site.study.slurm.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = re.findall(r"rule train_model:\n(?:.*\n)*?.*resources: (.*)", done.stdout)
    for words in ("mem_mb=9000", "--signal=USR1@600", "runtime=480", "gres=gpu:a100:1", "slurm_account=root"):
        assert words in line


def test_a_folder_of_somebody_else_is_refused(at_site, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    at_site.write_site()
    (at_site.study.folder / ".snakemake").mkdir()
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"),
         "--profile", str(ROOT / "profiles/slurm"), "--configfile", "study.yaml"],
        cwd=at_site.study.folder, env=at_site.study.slurm.environment | {"HOME": str(home)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"\.snakemake cannot be written by you \(it belongs to root\); start", done.stdout + done.stderr)


def test_from_proposal_to_report_without_editing_a_file(at_site, undisturbed):
    """`propose_site`, `check_site`, and the whole study through it."""
    study = at_site.study
    assert study.run("propose_site").count("site.yaml") >= 1
    proposed = yaml.safe_load(at_site.site.read_text())
    assert set(proposed["partitions"]) == {"cpu", "long", "gpu", "urgent"}
    assert proposed["partitions"]["gpu"] | {"max_mem_mb": 0} == {
        "max_runtime": 480, "max_mem_mb": 0, "max_threads": 8, "max_gpu": 1, "available_gpu_models": ["a100"],
    }  # fmt: skip
    said = study.run("check_site")
    assert re.search(r"train_model +1 +(gpu|urgent) +root", said)
    assert at_site.queue() == [] and not (study.root / "inventory.tsv").exists()
    study.run()
    leaderboard = "metrics/leaderboard.tsv"
    assert (study.root / leaderboard).read_bytes() == (undisturbed.root / leaderboard).read_bytes()
    ran = {job["Partition"] for job in study.slurm.jobs("train_model")}
    assert ran <= {"gpu", "urgent"}
