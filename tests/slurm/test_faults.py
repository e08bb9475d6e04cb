"""What goes wrong on a cluster while a network is trained, and that a retry or a rerun ends as if nothing had.

Every test trains the same model from the same patch stores, disturbs the job halfway, and compares the weights, bit by
bit, with those of a training that nobody disturbed.
"""

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from upfield.files import read_json, read_tsv

from .conftest import CLUSTER, EPOCHS, Study, stop, wait_for


def target(study: Study) -> str:
    return str(study.model() / "model.json")


class Training:
    """The training through Slurm, as far as a test has let it come."""

    def __init__(self, study: Study, *arguments: str) -> None:
        self.study, self.slurm = study, study.slurm
        self.arguments = arguments
        self.before = {job["JobId"] for job in self.slurm.jobs("train_model")}
        self.snakemake = study.start(target(study), *arguments)

    def jobs(self) -> list[dict[str, str]]:
        return [job for job in self.slurm.jobs("train_model") if job["JobId"] not in self.before]

    def halfway(self) -> dict[str, str]:
        """The running job, when it has written a few checkpoints."""
        history = self.study.model() / "history.tsv"
        wait_for(lambda: self.snakemake.poll() is not None or (history.is_file() and len(read_tsv(history)) >= 3), 600)
        assert self.snakemake.poll() is None, (self.study.folder / "snakemake.log").read_text()[-4000:]
        (job,) = [job for job in self.jobs() if job["JobState"] == "RUNNING"]
        return job

    def finish(self) -> str:
        return self.study.finish(self.snakemake, 1200)


@pytest.fixture
def training(undisturbed: Study, tmp_path: Path) -> Iterator[Callable[..., Training]]:
    """Start the training in a copy of the study that has no model yet."""
    started = []

    def start(*arguments: str) -> Training:
        study = Study(tmp_path / "study", undisturbed.slurm, undisturbed.data)
        shutil.copytree(undisturbed.root, study.root, ignore=shutil.ignore_patterns("models"))
        started.append(Training(study, *arguments))
        return started[-1]

    yield start
    for training in started:
        stop(training.snakemake)
        for job in training.jobs():
            training.slurm.command("scancel", job["JobId"])
    # Without cgroups Slurm may leave what a requeued job started behind.
    for process in psutil.process_iter(["cwd"]):
        if (process.info["cwd"] or "").startswith(str(tmp_path)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def check(undisturbed: Study, training: Training) -> None:
    """The weights are those of the undisturbed training, and the last job did not begin at the beginning."""
    ours, other = training.study.model(), undisturbed.model()
    assert (ours / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    cards = [read_json(folder / "model.json") for folder in (ours, other)]
    assert cards[0]["steps"] == cards[1]["steps"] and cards[0]["best_val_mae"] == cards[1]["best_val_mae"]
    assert len(read_tsv(ours / "history.tsv")) == EPOCHS
    (step,) = re.findall(r"continues after step (\d+)", training.study.log())
    assert int(step) >= 3 * cards[1]["steps"] // EPOCHS
    assert not list(ours.glob(".tmp-*"))


def processes(job: str) -> list[psutil.Process]:
    """Everything that runs for a job: its step daemons and all below them."""
    daemons = [
        p for p in psutil.process_iter(["cmdline"]) if f"slurmstepd: [{job}." in " ".join(p.info["cmdline"] or [])
    ]
    return [*daemons, *(child for daemon in daemons for child in daemon.children(recursive=True))]


def test_cancelled_job_is_retried_and_continues(undisturbed, training):
    run = training()
    job = run.halfway()
    run.slurm.command("scancel", job["JobId"])
    said = run.finish()
    assert "CANCELLED" in said and len(run.jobs()) == 2
    check(undisturbed, run)


def test_warning_before_the_time_limit_ends_a_job_cleanly(undisturbed, training):
    """The signal that the profile orders (`--signal`), sent by hand."""
    run = training()
    job = run.halfway()
    run.slurm.command("scancel", "--signal=USR1", job["JobId"])
    run.finish()
    states = sorted(job["JobState"] for job in run.jobs())
    assert states == ["COMPLETED", "FAILED"]
    (failed,) = [job for job in run.jobs() if job["JobState"] == "FAILED"]
    assert re.search(r"stopped by the scheduler after step \d+", Path(failed["StdOut"]).read_text())
    check(undisturbed, run)


def test_job_over_its_time_limit_is_retried_and_continues(undisturbed, training):
    # Without the warning, which would come at once.
    run = training("--set-resources", "train_model:runtime=1", "train_model:slurm_extra=''")
    job = run.halfway()
    # Longer than it was allowed to run, without a minute of computing.
    busy = [process for process in processes(job["JobId"]) if "step.py" in " ".join(process.cmdline())]
    for process in busy:
        process.send_signal(signal.SIGSTOP)
    wait_for(lambda: run.slurm.jobs(state="TIMEOUT"), 150)
    said = run.finish()
    assert "TIMEOUT" in said
    check(undisturbed, run)


def test_job_over_its_memory_is_retried_with_more(undisturbed, training):
    run = training("--set-resources", "train_model:mem_mb=450*attempt*attempt")
    run.finish()
    first, *_, last = sorted(run.jobs(), key=lambda job: int(job["JobId"]))
    assert first["JobState"] in ("OUT_OF_MEMORY", "CANCELLED", "FAILED")
    assert last["JobState"] == "COMPLETED" and "mem=1800M" in last["TRES"]
    ours = run.study.model() / "model.safetensors"
    assert ours.read_bytes() == (undisturbed.model() / "model.safetensors").read_bytes()


def test_job_of_a_node_that_died_continues_on_another(undisturbed, training):
    run = training()
    job = run.halfway()
    node = job["NodeList"]
    daemon = psutil.Process(int((run.slurm.folder / f"slurmd-{node}.pid").read_text()))
    for process in [daemon, *processes(job["JobId"])]:
        process.kill()
    try:
        run.finish()
        (job,) = [found for found in run.jobs() if found["JobState"] == "COMPLETED"]
        assert job["NodeList"] != node
    finally:
        subprocess.run([CLUSTER, "node", run.slurm.folder, node], check=True)
        wait_for(lambda: "idle" in run.slurm.command("sinfo", "-h", "-n", node, "-o", "%t"), 60)
    check(undisturbed, run)


def test_preempted_job_continues_after_the_urgent_one(undisturbed, training):
    run = training()
    run.halfway()
    urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=sleep 1"]
    run.slurm.command("sbatch", *urgent)
    run.finish()
    (job,) = run.jobs()
    assert int(job["Restarts"]) >= 1
    check(undisturbed, run)


def test_killed_snakemake_is_started_again_and_nothing_half_written_counts(undisturbed, training):
    run = training()
    job = run.halfway()
    run.snakemake.kill()
    run.snakemake.wait()
    # The job goes too, without a chance to clean up, while it writes what it was made for.
    for name in ("model.safetensors", "model.json"):
        (run.study.model() / name).write_bytes(b"half of a fi")
    for process in processes(job["JobId"]):
        if "slurmstepd" not in process.name():
            process.kill()
    wait_for(lambda: not run.slurm.jobs("train_model", state="RUNNING"))
    run.study.run("--unlock")
    run.snakemake = run.study.start(target(run.study))
    run.finish()
    check(undisturbed, run)


def test_jobs_of_a_killed_snakemake_are_found_and_cancelled(undisturbed, training):
    """As profiles/slurm/README.md says: they are still there, and would write beside their successors."""
    run = training()
    job = run.halfway()
    run.snakemake.kill()
    run.snakemake.wait()
    lines = run.slurm.command("squeue", "--me", "--noheader", "--format=%i %j").splitlines()
    orphans = [line.split()[0] for line in lines if line.split()[1].startswith("upfield_")]
    assert orphans == [job["JobId"]]
    run.slurm.command("scancel", *orphans)
    wait_for(lambda: not run.slurm.jobs("train_model", state="RUNNING"))
    run.study.run("--unlock")
    run.snakemake = run.study.start(target(run.study))
    run.finish()
    check(undisturbed, run)
