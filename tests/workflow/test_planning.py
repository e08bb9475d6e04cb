"""rules/planning.smk replaces internals of one version of Snakemake, in this workflow alone."""

import gc
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import smart_open
import snakemake.common
import snakemake.rules
import snakemake.script
import yaml
from snakemake import cli
from snakemake.dag import DAG
from snakemake.output_index import OutputIndex
from snakemake.scheduling.job_scheduler import JobScheduler

from tests import forked

ROOT = Path(__file__).resolve().parents[2]
PLANNING = (ROOT / "rules" / "planning.smk").read_text()
STUDY = {"study": "planned", "phantom": {"subjects": 6, "seed": 42, "spacing": 2.0}}
STUDY |= {side: {"bids_dir": "phantom", "entities": {"session": session, "suffix": "T1w"}}
          for side, session in (("source", "64mT"), ("target", "3T"))}  # fmt: skip


def state():
    """The internals that might be replaced."""
    found = {f"{kind.__name__}.{name}": value for kind in (DAG, OutputIndex, JobScheduler)
             for name, value in vars(kind).items()}  # fmt: skip
    for module in (smart_open, snakemake.common, snakemake.rules, snakemake.script):
        found |= {f"{module.__name__}.{name}": value for name, value in vars(module).items() if callable(value)}
    return found | {"gc": gc.get_threshold()}


def probe(arguments, version, plain, said):
    """Run Snakemake in a process of its own, as a version if one is given, and say which internals are others then."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    for name in [name for name in os.environ if name.startswith("SNAKEMAKE")]:
        del os.environ[name]
    os.environ["UPFIELD_PLAIN"] = plain
    if version:
        snakemake.__version__ = version
    before = state()
    try:
        cli.main(arguments)
    finally:
        after = state()
        print("REPLACED", *sorted(name for name in before if before[name] != after[name]), flush=True)


@pytest.fixture
def dry_run(tmp_path):
    """Dry run of a Snakefile as some version of Snakemake; what it said, and which internals it replaced."""

    def run(snakefile, *arguments, version="", plain=""):
        words = ["--dry-run", "--cores", "1", "--nocolor", "--snakefile", snakefile, "--directory", tmp_path]
        words = list(map(str, [*words, *arguments]))
        path = tmp_path / "said.txt"
        path.unlink(missing_ok=True)
        process = forked.CONTEXT.Process(target=probe, args=(words, version, plain, str(path)))
        process.start()
        process.join(180)
        said = path.read_text()
        assert process.exitcode == 0, said[-3000:]
        (replaced,) = re.findall(r"^REPLACED(.*)$", said, re.MULTILINE)
        return said, replaced.split()

    return run


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


def rules_planned(said):
    return dict(re.findall(r"^(\w+) +(\d+)$", said.split("Job stats:")[1].split("total")[0], re.MULTILINE))


def test_internals_are_replaced_in_the_version_it_was_written_for(dry_run, study):
    said, replaced = dry_run(ROOT / "Snakefile", "--configfile", study)
    assert "DAG._check_groups" in replaced and "Planning as Snakemake" not in said
    names = re.findall(r'^    "(\w+)": replace_', PLANNING, re.MULTILINE)
    assert dry_run(ROOT / "Snakefile", "--configfile", study, plain=",".join(names))[1] == []


def test_another_version_plans_by_itself_and_says_so_once(dry_run, study):
    said, replaced = dry_run(ROOT / "Snakefile", "--configfile", study, version="9.26.0")
    assert replaced == []
    assert len(re.findall(r"Planning as Snakemake 9\.26\.0 does", said)) == 1


class Scheduler:
    """As much of Snakemake's scheduler as looks again: it counts its looks, and asks for another at each."""

    def __init__(self, look_again):
        self.looks, self.look_again, self._open_jobs = 0, look_again, self

    def release(self):
        self.looks += 1
        if self.looks < 3:
            self.look_again(self, 0.01)


def test_a_scheduler_looks_again_by_one_timer_at_a_time():
    names = {}
    exec(PLANNING.split("if snakemake_version")[0], names)
    scheduler, other = Scheduler(names["look_again"]), Scheduler(names["look_again"])
    before = threading.active_count()
    for _ in range(50):
        names["look_again"](scheduler, 0.3)
        names["look_again"](other, 0.3)
    assert threading.active_count() == before + 2
    deadline = time.monotonic() + 20
    while min(scheduler.looks, other.looks) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scheduler.looks == other.looks == 3


HOST = """
config["of_the_host"] = {{"upfield": {study!r}}}

rule all:
    input: "done.txt"

module upfield:
    snakefile: "{snakefile}"
    config: config["of_the_host"]["upfield"]

use rule * from upfield as upfield_*

rule last:
    input: rules.upfield_report.input
    output: "done.txt"
    shell: "touch {{output}}"

assert config == {{"of_the_host": {{"upfield": {study!r}}}}}, config
"""


def test_as_a_module_it_plans_the_same_and_leaves_the_host_alone(dry_run, study, tmp_path):
    host = tmp_path / "Snakefile"
    host.write_text(HOST.format(study=STUDY, snakefile=ROOT / "Snakefile"))
    said, replaced = dry_run(host)
    assert replaced == [] and "Planning as Snakemake" not in said
    alone = rules_planned(dry_run(ROOT / "Snakefile", "--configfile", study)[0])
    expected = {f"upfield_{name}": number for name, number in alone.items() if name != "report"}
    assert rules_planned(said) == expected | {"last": "1", "all": "1"}


SHORT = """
module upfield:
    snakefile: "{snakefile}"
    {prefix}config: {study!r}

use rule * from upfield as upfield_*
"""


@pytest.mark.parametrize("prefix", ["", "prefix: 'sub'\n    ", "replace_prefix: {'results/': 'x/'}\n    "])
def test_as_a_module_three_keys_are_enough(bids_tree, tmp_path, prefix):
    """All else has its default; what would move some of the files and not the others is refused."""
    scans = [f"sub-{who}/ses-{visit}/anat/sub-{who}_ses-{visit}_T1w.nii.gz" for who in "1234" for visit in "12"]
    folder = str(bids_tree(dict.fromkeys(scans)))
    study = {"study": "short"} | {
        side: {"bids_dir": folder, "entities": {"session": visit}} for side, visit in (("source", 1), ("target", 2))
    }
    host = tmp_path / "Snakefile"
    host.write_text(SHORT.format(snakefile=ROOT / "Snakefile", prefix=prefix, study=study))
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--directory", str(tmp_path)]
    command += ["--snakefile", str(host), "upfield_ingest"]
    # As a service has it, whose account has no home.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
    environment |= {"HOME": "/dev/null", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    if prefix:
        assert done.returncode != 0 and "takes no prefix" in said and "output_dir" in said
    else:
        assert done.returncode == 0, said[-3000:]
        assert rules_planned(said)["upfield_inventory"] == "1"


def test_the_version_is_the_locked_one():
    (version,) = re.findall(r'^WRITTEN_FOR = "(.*)"$', PLANNING, re.MULTILINE)
    assert f"snakemake=={version}\n" in (ROOT / "requirements.lock").read_text()
