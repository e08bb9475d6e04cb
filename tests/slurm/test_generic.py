"""Slurm without its plugin, through the profile for other schedulers; and Snakemake itself in a job."""

import re
import shlex
import sys
from pathlib import Path

import yaml

from .conftest import ROOT, Slurm, Study, wait_for

SITE = {
    "scheduler": "slurm",
    "partitions": {"main": {"max_runtime": "60m", "max_mem_mb": 60000, "max_threads": 2, "max_gpu": 1}},
}

FAST = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")


def write_site(slurm: Slurm) -> None:
    path = Path(slurm.environment["XDG_CONFIG_HOME"]) / "upfield" / "site.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(SITE))


def run(study: Study, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--nocolor", *arguments]
    command += ["--configfile", str(study.folder / "study.yaml"), "--set-threads", "train_model=1"]
    log = study.folder / "said.log"
    words = f"cd {shlex.quote(str(study.folder))} && exec {shlex.join(command)} > said.log 2>&1"
    study.slurm.command("sbatch", "--time=9", "--mem=900", "--output=/dev/null", f"--wrap={words}")
    wait_for(lambda: log.is_file() and "Complete log" in log.read_text(), 300)
    return log.read_text()


def test_generic_profile_trains_the_same_weights(slurm, undisturbed, tmp_path):
    """In a folder with a space in its name."""
    write_site(slurm)
    before = {job["JobId"] for job in slurm.jobs()}
    study = Study(tmp_path / "a study", slurm, undisturbed.data)
    profile = str(ROOT / "profiles" / "generic")
    process = study.start(str(study.model() / "model.json"), "--max-status-checks-per-second", "5", profile=profile)
    said = study.finish(process, 500)
    jobs = [job for job in slurm.jobs() if job["JobId"] not in before]
    assert {job["JobState"] for job in jobs} == {"COMPLETED"} and {job["Partition"] for job in jobs} == {"main"}
    (training,) = [job for job in jobs if job["JobName"] == "upfield_train_model"]
    assert "gpu:1" in training["TresPerNode"] and training["TimeLimit"] == "01:00:00"
    assert "To be submitted" in said and re.search(r"train_model +1 +main", said)
    weights = [(found.model() / "model.safetensors").read_bytes() for found in (study, undisturbed)]
    assert weights[0] == weights[1]
    # Nothing is remembered of what has ended.
    assert not list((study.root / ".upfield" / "submitted").glob("*.json"))


def test_snakemake_itself_as_a_job_finds_slurm_by_its_variable(slurm, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setitem(slurm.environment, "XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setitem(slurm.environment, "PYTHONPATH", str(ROOT / "workflow" / "scripts"))
    assert "SLURM_CONF" in slurm.environment
    study = Study(tmp_path / "study", slurm, undisturbed.data)
    table = study.root / "inventory.tsv"
    said = run(study, str(table), "--profile", str(ROOT / "profiles" / "slurm"), *FAST)
    assert table.is_file()
    assert "You are running snakemake in a SLURM job context" in said
    assert "has been submitted with SLURM jobid" in said and "1 of 1 steps (100%) done" in said
