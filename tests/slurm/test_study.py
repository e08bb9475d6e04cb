"""A whole study through Slurm: who ran where, and that the result is that of a run without Slurm."""

import re
from collections import Counter
from pathlib import Path

import pytest

from .conftest import Slurm, Study


@pytest.fixture(scope="module")
def finished(slurm: Slurm, undisturbed: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study after its run; `said` is what Snakemake printed, `jobs` what Slurm knew of its jobs."""
    earlier = {job["JobId"] for job in slurm.jobs()}
    study = Study(tmp_path_factory.mktemp("whole") / "study", slurm, undisturbed.data)
    study.said = study.run()
    study.jobs = [job for job in slurm.jobs() if job["JobId"] not in earlier]
    return study


def test_every_job_ran_under_a_slurm_job_id(finished):
    rules = set(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", finished.said))
    # The target only collects; it runs where Snakemake runs.
    assert re.findall(r"^localrule (\w+):", finished.said, re.MULTILINE) == ["report"]
    assert {"brain", "train_model", "enhance", "measure", "html_report"} <= rules
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", finished.said)
    arrays = re.findall(r"SLURM job ID (\d+)", finished.said)
    assert {job["JobState"] for job in finished.jobs} == {"COMPLETED"}
    assert {job.get("ArrayJobId", job["JobId"]) for job in finished.jobs} == {*submitted, *arrays}


def test_training_and_prediction_were_granted_a_gpu_and_nothing_else_was(finished):
    with_gpu = sorted(job["Comment"] for job in finished.jobs if "gpu:1" in job.get("TresPerJob", ""))
    assert [re.match("rule_(train_model|enhance)", comment)[1] for comment in with_gpu] == ["enhance", "train_model"]
    assert all(job["NodeList"] in ("n1", "n2") for job in finished.jobs)


def test_a_participants_small_jobs_travelled_together(finished):
    groups = [re.match("rule_(preprocess|enhance|evaluate)_", job["Comment"]) for job in finished.jobs]
    # Three participants, one of them tested, by one model; measured on the target's grid, and as applied.
    assert Counter(match[1] for match in groups if match) == {"preprocess": 3, "enhance": 1, "evaluate": 2}


def test_the_result_is_that_of_a_run_without_slurm(finished, undisturbed):
    for name in ("leaderboard", "per_subject", "comparisons"):
        tables = [(study.root / "metrics" / f"{name}.tsv").read_bytes() for study in (finished, undisturbed)]
        assert tables[0] == tables[1], name
    weights = [(study.model() / "model.safetensors").read_bytes() for study in (finished, undisturbed)]
    assert weights[0] == weights[1]


def test_nothing_is_left_to_do(finished):
    assert "Nothing to be done" in finished.run("--dry-run").rsplit("Building DAG", 1)[-1]


def test_scripts_left_no_half_written_file(finished):
    assert not list(Path(finished.folder).rglob(".tmp-*"))
