"""How far a run is, and what a quiet run says of it."""

import io
import json
import logging
import os
from types import SimpleNamespace

import pytest
from upfield.commands.dry import Job
from upfield.commands.follow import Follower
from upfield.commands.launch import Call
from upfield.commands.progress import Progress, about, duration
from upfield.study import events


def job(rule, stage="preprocess", minutes=1, **wildcards):
    return Job(rule, stage, wildcards, 1000, minutes)


@pytest.fixture
def progress():
    """Two cheap jobs and a dear one, and a clock that is set."""
    jobs = {1: job("brain", scan="sub-01_ses-1"), 2: job("brain", scan="sub-02_ses-1"), 3: job("train", "train", 8)}
    clock = SimpleNamespace(now=0.0)
    return Progress(jobs, lambda one: one.minutes, lambda: clock.now), clock


def test_time_left_is_weighed_by_cost_and_then_by_what_jobs_took(progress):
    found, clock = progress
    assert found.stages == ["preprocess", "train"] and found.left(found.stages) == 600
    found.began(1)
    assert found.who("preprocess") == "sub-01"
    clock.now = 30
    found.done(1)
    # Half of what was planned: so will the others take.
    assert found.share("preprocess") == 0.5 and found.left(["preprocess"]) == 30
    assert found.left(found.stages) == 30 + 240


def test_jobs_side_by_side_take_less_but_never_less_than_the_longest(progress):
    found, clock = progress
    found.began(1)
    found.began(2)
    clock.now = 60
    found.done(1)
    found.done(2)
    assert found.left(found.stages) == 480


def test_a_job_that_takes_longer_than_planned_is_never_done_before_it_ends(progress):
    found, clock = progress
    found.began(3)
    clock.now = 10_000
    assert found.share("train") == pytest.approx(0.95) and found.left(["train"]) > 0
    found.failed(3)
    assert found.share("train") == 0


def test_what_a_job_is_about():
    assert about(job("measure", participant="sub-03_ses-2")) == "sub-03"
    assert about(job("train_model", method="unet3d", fold="0", seed="42")) == "unet3d fold 0"
    assert [duration(seconds) for seconds in (5, 60, 600, 7200)] == [
        "less than a minute", "about a minute", "about 10 min", "about 2.0 h",
    ]  # fmt: skip


def test_snakemakes_jobs_are_told_and_shown_and_kept(monkeypatch, tmp_path, capsys):
    """The way of an event: a record of Snakemake's log, a line of JSON, a line for the user."""
    told, telling = os.pipe()
    monkeypatch.setenv(events.VARIABLE, str(telling))
    rule = SimpleNamespace(name="brain")
    planned = SimpleNamespace(
        benchmark="s/benchmarks/preprocess/a.tsv",
        rule=rule,
        resources={"mem_mb": 100, "runtime": 4},
        wildcards_dict={"scan": "sub-01_T1w"},
    )
    target = SimpleNamespace(benchmark=None)
    dag = SimpleNamespace(needrun_jobs=lambda: [planned, target], jobid=lambda one: 7)
    log = logging.Logger("snakemake")
    events.begin(SimpleNamespace(dag=dag), log)
    assert events.VARIABLE not in os.environ
    said = tmp_path / "brain.log"
    said.write_text("2026-01-01 10:00:00,000 the image is constant\n")
    log.info("x", extra={"event": "job_info", "jobid": 7})
    log.error("x", extra={"event": "job_error", "jobid": 7, "log": [str(said)]})
    log.info("x", extra={"event": "job_info", "jobid": 7})
    log.info("x", extra={"event": "job_finished", "job_id": 7})
    log.info("x", extra={"event": "job_finished", "job_id": 8})
    for handler in log.handlers:
        handler.file.close()
    follower = Follower(Call(), tmp_path / "logs" / "run.log")
    follower.hear(b"all that was said")
    with os.fdopen(told) as lines:
        for line in lines:
            follower.event(json.loads(line))
    follower.close(0, stopped=False)
    shown = capsys.readouterr()
    assert "jobs      1: preprocess 1" in shown.out
    assert f"failed: brain sub-01: the image is constant ({said})" in shown.err
    assert shown.err.splitlines()[-1] == "preprocess 100%  1 of 1 jobs, done"
    assert (tmp_path / "logs/run.log").read_bytes().endswith(b"all that was said")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"Error: Directory cannot be locked. Please make sure", "another run works in this folder"),
        (b'WorkflowError in file "x", line 3:\nno such thing: do that\n', "upfield: no such thing: do that"),
    ],
)
def test_a_run_that_does_not_begin_says_why_in_a_line(tmp_path, capsys, said, words):
    follower = Follower(Call(), tmp_path / "run.log")
    follower.hear(said)
    follower.close(1, stopped=False)
    first, second = capsys.readouterr().err.splitlines()
    assert words in first and second == f"All that Snakemake said: {tmp_path / 'run.log'}"


def test_what_is_asked_of_snakemake_without_a_run_is_shown(tmp_path, capsys):
    follower = Follower(Call(options=["--list"]), tmp_path / "run.log")
    follower.hear(b"ingest\nreport\n")
    follower.close(0, stopped=False)
    assert capsys.readouterr().out == "ingest\nreport\n"


def test_nobody_listens_any_more():
    file = io.StringIO()
    file.close()
    events.Events(file).tell(event="began")
