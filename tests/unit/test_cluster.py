"""What a site allows, what Slurm says of itself, and what is refused; Slurm's words are those of Slurm 22.05."""

import logging
import math
import time
from pathlib import Path

import pytest
import yaml
from upfield import attempts, job, step
from upfield.cluster import propose, site, slurm, watch
from upfield.cluster.check import check, text
from upfield.cluster.planned import Submission
from upfield.cluster.said import SaidLast, said_last
from upfield.cluster.site import Partition, Site

PARTITIONS = """\
PartitionName=cpu AllowGroups=ALL Default=YES MaxTime=12:00:00 MaxMemPerNode=UNLIMITED State=UP RootOnly=NO Nodes=n1
PartitionName=gpu Default=NO MaxTime=2-08:00:00 MaxMemPerNode=UNLIMITED State=UP RootOnly=NO Nodes=n2
PartitionName=any Default=NO MaxTime=UNLIMITED MaxMemPerNode=8000 State=UP RootOnly=NO Nodes=n[1-2]
PartitionName=closed Default=NO MaxTime=1:00:00 State=DOWN RootOnly=NO Nodes=n1
"""
NODES = """\
NodeName=n1 Arch=x86_64 CPUTot=16 Gres=(null) RealMemory=64000 Partitions=cpu,any BootTime=2026-11-28T21:15:16
NodeName=n2 Arch=x86_64 CPUTot=32 Gres=gpu:a100:2(S:0-1),gpu:h100:1 RealMemory=128000 Partitions=gpu,any
"""
CONFIG = """\
Configuration data as of 2026-11-29T01:00:00
AccountingStorageType   = accounting_storage/slurmdbd
MaxArraySize            = 501
MinJobAge               = 60 sec
"""
ASSOCIATIONS = "lab|||50|\nother|||200|100\n"


@pytest.fixture
def answers(monkeypatch):
    """What Slurm's commands write."""
    said = {"config": CONFIG, "node": NODES, "partition": PARTITIONS, "assoc": ASSOCIATIONS}
    monkeypatch.setattr(slurm, "ask", lambda *words: next(said[word] for word in words if word in said))
    return said


def cluster():
    return slurm.Cluster(
        (Partition("cpu", 720, 64000, 16), Partition("gpu", 480, 128000, 32, 2, ("a100",))), "cpu", ("lab",)
    )


def submission(name="brain", **over):
    asked = {"partition": "cpu", "account": "lab", "minutes": 10, "mem_mb": 4000, "cpus": 2, "gpus": 0} | over
    return Submission(name, command=("sbatch", "-p", str(asked["partition"])), **asked)


def looked(first, last=None, words=None):
    return check(first, last or first, cluster(), lambda command: words, "the site file (site.yaml)")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("30", 30), (30, 30), ("12:30", 12.5), ("12:00:00", 720), ("2-12", 3600), ("2-12:30", 3630),
        ("1-0:0:30", 1440.5), ("12h", 720), ("7d", 10080), ("1w", 10080), ("90m", 90), ("UNLIMITED", math.inf),
        ("infinite", math.inf),
    ],
)  # fmt: skip
def test_minutes_of_a_limit(limit, expected):
    assert site.minutes(limit) == expected


def test_slurm_describes_itself(answers):
    found = slurm.describe("me")
    assert [partition.name for partition in found.partitions] == ["cpu", "gpu", "any"] and found.default == "cpu"
    assert found.partition(None) == Partition("cpu", 720, 64000, 16)
    assert found.partition("gpu") == Partition("gpu", 3360, 128000, 32, 3, ("a100", "h100"))
    assert found.partition("any") == Partition("any", math.inf, 8000, 32, 3, ("a100", "h100"))
    assert (found.accounts, found.max_jobs, found.max_array, found.min_job_age) == (("lab", "other"), 50, 500, 60)


def test_without_accounting_nothing_limits(answers):
    answers["config"] = CONFIG.replace("slurmdbd", "none")
    found = slurm.describe("me")
    assert found.accounts == () and found.max_jobs == math.inf


def test_a_proposal_is_a_site_file_that_is_read(answers, tmp_path):
    propose.write(tmp_path / "site.yaml", slurm.describe("me"))
    found = site.read(tmp_path / "site.yaml")
    assert found.partitions == slurm.describe("me").partitions
    assert (found.account, found.gpu_request, found.max_jobs) == ("lab", "gres", 50)
    # Two types: the site may give either.
    assert found.gpu_type is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[cpu]", ["mapping"]), ("account: lab", ["partitions is missing"]), ("partitions: {}", ["partitions"]),
        ("partitions: {cpu: {max_runtme: 12h}}", ["max_runtme", "max_runtime"]),
        ("partitions: {cpu: {max_runtime: soon}}", ["max_runtime", "soon", "12h"]),
        ("partitions: {cpu: {}}\npartition: {training: gpu}", ["gpu", "not among partitions"]),
        ("partitions: {cpu: {}}\naccount: 'a; rm -rf ~'", ["account"]),
        ("partitions: {cpu: {}}\naccount: no", ["quotes"]),
        ("partitions: {cpu: {}}\nmax_jobs: 0", ["max_jobs"]),
        ("partitions: {cpu: {}}\ngpu: {request: nvidia}", ["request"]),
    ],
)  # fmt: skip
def test_what_no_site_can_be_is_refused_with_the_file(refused, tmp_path, content, words):
    path = tmp_path / "site.yaml"
    path.write_text(content)
    with refused(str(path), *words):
        site.read(path)


def test_where_a_site_file_is_looked_for(refused, tmp_path):
    own = tmp_path / "upfield" / "site.yaml"
    own.parent.mkdir()
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert site.find(None, environment) is None
    own.write_text("partitions: {cpu: {}}")
    named = tmp_path / "named.yaml"
    named.write_text("partitions: {cpu: {}}")
    assert site.find(None, environment) == own
    assert site.find(None, environment | {"UPFIELD_SITE": str(named)}) == named
    assert site.find(str(named), environment) == named
    with refused("nowhere.yaml", "propose_site"):
        site.find(str(tmp_path / "nowhere.yaml"), environment)
    # A job on a node that does not see the file goes without.
    assert site.find(None, environment | {"UPFIELD_SITE": "/nowhere"}, required=False) == own
    assert site.find(None, {}) is None


def test_what_jobs_ask_for_is_in_the_words_of_the_site():
    partitions = (Partition("cpu", 720, 64000), Partition("gpu", 480, 128000, gpus=2))
    here = Site(partitions=partitions, account="lab", qos="long", gpu_request="gres", gpu_type="a100")
    assert here.resources("other") == {"slurm_account": "lab", "qos": "long"}
    assert here.gpus(2) == {"gres": "gpu:a100:2"} and here.gpus(0) == {"gres": ""}
    assert Site(gpu_type="a100").gpus(1) == {"gpu": 1, "gpu_model": "a100"}
    assert Site().gpus(1) == {"gpu": 1}
    assert Site(partition={"training": "gpu"}).resources("training") == {"slurm_partition": "gpu"}
    assert here.most("training", 1, "minutes") == 480 and here.most("other", 0, "minutes") == 720
    assert here.most("other", 0, "mem_mb") == 128000
    assert Site().most("training", 1, "minutes") == math.inf


def test_the_table_has_a_row_for_each_kind():
    first = [submission(minutes=5), submission(minutes=20), submission("train_model", partition="gpu", gpus=1)]
    found = looked(first, [submission(minutes=80, mem_mb=9500), submission("train_model", partition="gpu", gpus=1)])
    assert found.refused == () and found.notes == ()
    rows = found.table.set_index("jobs")
    assert rows.loc["brain", ["submissions", "minutes", "GB"]].tolist() == [2, "20 to 80", "4 to 9.5"]
    assert "train_model" in text(found.table) and text(looked([]).table) == "nothing is to be submitted"


@pytest.mark.parametrize(
    ("over", "words", "expected"),
    [
        ({"minutes": 1440}, None, ["1440 minutes are asked for, cpu has 720", "cut to its limit", "fewer in a group"]),
        ({"mem_mb": 99000}, None, ["99 GB of memory are asked for, cpu has 64", "mem_mb"]),
        ({"gpus": 1}, None, ["1 GPU", "cpu has 0", "gpu (a100)"]), ({"cpus": 40}, None, ["40 CPUs", "cpu has 16"]),
        ({}, "Invalid account or account/partition combination specified", ["Invalid account", "(lab)"]),
        ({}, "invalid partition specified: cqu", ["cqu", "cpu, gpu"]), ({}, "Invalid qos specification", ["sacctmgr"]),
        ({}, "Job violates accounting/QOS policy (job submit limit, user's size limits)", ["submit limit", "max_jobs"]),
        ({}, "Requested node configuration is not available", ["GPUs are in gpu (a100)"]),
        ({}, "Whatever", ["Whatever"]),
        ({"partition": None, "minutes": 900}, None, ["by default", "900 minutes", "cpu has 720"]),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_with_what_to_do(over, words, expected):
    found = looked([submission(**over)], words=words)
    (line,) = found.refused
    assert "\n" not in line and "site.yaml" in line
    assert [word for word in expected if word not in line] == [], line


def test_what_only_the_last_attempt_could_not_have_is_a_note():
    found = looked([submission()], [submission(mem_mb=80000)])
    assert found.refused == () and "80 GB" in found.notes[0]


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        ("PartitionTimeLimit", False), ("QOSMaxWallDurationPerJobLimit", False), ("AssocMaxMemPerJob", False),
        ("BadConstraints", False), ("JobHeldUser", False), ("Priority", True), ("Resources", True),
        ("Dependency", True), ("QOSMaxJobsPerUserLimit", True), ("BeginTime", True),
    ],
)  # fmt: skip
def test_reasons_that_waiting_does_not_end(reason, ends):
    assert (watch.never(reason) is None) is ends


def test_a_job_that_will_never_run_is_said_once(monkeypatch):
    monkeypatch.setattr(
        slurm, "pending", lambda name: {"7": "PartitionTimeLimit", "8": "PartitionTimeLimit", "9": "Priority"}
    )
    said = set()
    (line,) = watch.impossible("run", said)
    assert "2 jobs (the first is 7)" in line and "max_runtime" in line
    assert watch.impossible("run", said) == []


LOG = """\
Building DAG of jobs...
rule inventory:
    input: a.nii.gz
    output: inventory.tsv
Traceback (most recent call last):
ImportError: libcudart.so.12: cannot open shared object file
[Sun Nov 29 01:32:30 2026]
Error in rule inventory:
    message: None
Exiting because a job execution failed. Look above for error messages
slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.
"""


def test_what_a_job_said_last_is_shown_once(tmp_path, caplog):
    assert said_last(LOG) == [
        "Traceback (most recent call last):", "ImportError: libcudart.so.12: cannot open shared object file",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.",
    ]  # fmt: skip
    (tmp_path / "7.log").write_text(LOG)
    record = logging.makeLogRecord({"event": "LogEvent.JOB_ERROR", "log": [str(tmp_path / "7.log"), "/nowhere.log"]})
    handler = SaidLast(logging.getLogger("test"))
    handler.emit(record)
    handler.emit(record)
    assert caplog.text.count("libcudart") == 1 and "7.log ends with" in caplog.text


def test_a_killed_process_is_named(tmp_path, caplog):
    """It could not say anything itself; what a job in this terminal said is there already."""
    logs = [tmp_path / f"{name}.log" for name in ("failed", "killed")]
    for log in logs:
        log.write_text("something\n")
        attempts.started(log)
    attempts.ended(logs[0], ValueError())
    record = logging.makeLogRecord({"event": "LogEvent.JOB_ERROR", "log": [str(log) for log in logs]})
    handler = SaidLast(logging.getLogger("test"), most=0)
    handler.emit(record)
    handler.emit(record)
    (line,) = caplog.messages
    assert "killed.log was killed, or crashed" in line and "mem_mb" in line


def test_a_process_that_was_killed_before_its_step_began_is_named(tmp_path, caplog):
    """It has no record; neither has a job that ended well and left no outputs."""
    # That of a run before, which failed, is not of now.
    attempts.started(tmp_path / "early.log")
    attempts.ended(tmp_path / "early.log", ValueError())
    time.sleep(0.05)
    handler = SaidLast(logging.getLogger("test"), most=0)
    for name in ("early", "without-outputs"):
        if name == "early":
            handler.emit(logging.makeLogRecord({"msg": "Command 'python' died with <Signals.SIGSEGV: 11>."}))
        handler.emit(logging.makeLogRecord({"event": "LogEvent.JOB_ERROR", "log": [str(tmp_path / f"{name}.log")]}))
    (line,) = caplog.messages
    assert "early.log was killed, or crashed" in line


def test_only_what_ran_out_grows(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    log = tmp_path / "train.log"
    for error in (MemoryError(), ValueError()):
        attempts.started(log)
        attempts.ended(log, error)
    attempts.started(log)
    # The third was killed: Slurm knows why.
    assert attempts.ran_out(log, 1, attempts.MEMORY, None) == 0
    assert attempts.ran_out(log, 4, attempts.MEMORY, lambda job: attempts.TIME) == 1
    assert attempts.ran_out(log, 4, attempts.TIME, None) == 1
    assert attempts.ran_out(log, 2, attempts.MEMORY, None) == 0
    attempts.ended(log, None)
    assert list(tmp_path.iterdir()) == []


def test_killed_without_anybody_who_knows_why_may_have_run_out_of_both(tmp_path):
    log = tmp_path / "train.log"
    attempts.started(log)
    assert [attempts.ran_out(log, 2, what, None) for what in (attempts.MEMORY, attempts.TIME)] == [1, 1]


@pytest.mark.parametrize(
    ("line", "log", "expected"),
    [
        ("JobState=TIMEOUT", "", attempts.TIME), ("JobState=OUT_OF_MEMORY", "", attempts.MEMORY),
        ("JobState=CANCELLED", "slurmstepd: error: Job 7 exceeded memory limit, being killed", attempts.MEMORY),
        ("JobState=CANCELLED", "CANCELLED AT 2026", attempts.OTHER), ("JobState=NODE_FAIL", "", attempts.OTHER),
    ],
)  # fmt: skip
def test_why_slurm_ended_a_job(monkeypatch, tmp_path, line, log, expected):
    (tmp_path / "7.log").write_text(log)
    monkeypatch.setattr(slurm, "ask", lambda *words: f"JobId=7 {line} StdOut={tmp_path / '7.log'}")
    assert slurm.ended("7") == expected


def test_a_site_without_memory_leaves_half_of_the_machine():
    assert step.own_memory(0) > 2**28
    assert step.own_memory(1500) == 1000 * 2**20


def test_site_files_of_the_docs_are_read(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "hpc.md").read_text()
    sites = [block.split("```")[0] for block in page.split("```yaml file: site.yaml\n")[1:]]
    assert len(sites) >= 3
    for number, block in enumerate(sites):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert site.read(path).partitions and yaml.safe_load(block)


def test_the_frame_of_a_job_keeps_its_record(tmp_path):
    class Fake:
        threads, rule, wildcards, log = 1, "brain", {}, [str(tmp_path / "brain.log")]

    record = tmp_path / ".brain.attempts.json"
    with job.job(Fake(), 1):
        assert record.is_file()
    assert not record.exists()
