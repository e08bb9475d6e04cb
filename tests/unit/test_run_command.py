"""`upfield run` and its kin: what Snakemake is called with, how it ends, and what is said of mistakes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from upfield.commands import launch
from upfield.commands.launch import PROFILES, ROOT, SNAKEFILE, STOPPED, Call
from upfield.commands.main import upfield_command
from upfield.errors import UpfieldError
from upfield.study import kinds
from upfield.study.config import PRESETS

# A Snakemake that has one job: it notes who they are, and waits for it when it is interrupted.
LEADER = """
import os, signal, subprocess, sys
job = subprocess.Popen([sys.executable, "-c", {job!r}])
def stop(number, frame):
    print("a traceback that nobody wants", file=sys.stderr, flush=True)
    job.wait()
    sys.exit(3)
signal.signal(signal.SIGINT, stop)
open("{pids}", "w").write(f"{{os.getpid()}} {{job.pid}}")
{end}
"""
WAITS = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
# Tests that run in the background of a script ignore Ctrl-C, and so would what they start.
STARTED = """
import signal, sys
from upfield.commands import launch
signal.signal(signal.SIGINT, signal.default_int_handler)
launch.Call.words = property(lambda call: [sys.executable, "-c", sys.argv[1]])
sys.exit(launch.run(launch.Call()))
"""


@pytest.fixture
def started(tmp_path):
    """Start such a Snakemake as `upfield run` does; the process, and the numbers of leader and job, come back."""

    def start(job=WAITS, end="signal.pause()"):
        pids = tmp_path / "pids"
        program = LEADER.format(job=job, pids=pids, end=end)
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
        process = subprocess.Popen([sys.executable, "-c", STARTED, program], env=environment, stderr=subprocess.PIPE,
                                   text=True)  # fmt: skip
        end_of_wait = time.monotonic() + 60
        while not (pids.is_file() and pids.read_text().count(" ")):
            assert time.monotonic() < end_of_wait and process.poll() is None
            time.sleep(0.05)
        # The job ignores signals once it has said so to the system.
        time.sleep(0.5 if job == STUBBORN else 0)
        return process, *map(int, pids.read_text().split())

    return start


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_snakemake_hears_interrupts_also_where_upfield_ignores_them():
    hears = "import signal, sys; sys.exit(3 if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else 0)"
    program = STARTED.replace("signal.default_int_handler", "signal.SIG_IGN")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    assert subprocess.run([sys.executable, "-c", program, hears], env=environment, timeout=60).returncode == 0


def test_an_interrupt_ends_jobs_and_snakemake_and_is_one_line(started):
    process, leader, job = started()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3 and said.splitlines() == [STOPPED]
    assert not lives(leader) and not lives(job)


def test_a_second_interrupt_leaves_nothing_behind(started):
    process, leader, job = started(STUBBORN)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None and lives(job), "a training may still write its checkpoint"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3 and said.splitlines() == [STOPPED]
    assert not lives(leader) and not lives(job)


def test_what_a_run_leaves_behind_ends_with_it_and_its_exit_code_is_handed_on(started):
    process, _, job = started(end="print('done', file=sys.stderr); os._exit(7)")
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (7, "done\n")
    assert not lives(job)


def test_targets_come_first_and_options_of_snakemake_last():
    words = Call(Path("a b.yaml"), ["train", "qc"], cores="2", dry=True, options=["-R", "measure"]).words
    assert words == [sys.executable, "-m", "snakemake", "train", "qc", "--snakefile", str(SNAKEFILE), "--configfile",
                     "a b.yaml", "--cores", "2", "--dry-run", "-R", "measure"]  # fmt: skip


def test_all_cores_are_used_unless_a_profile_says(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "all" in Call().words and "--cores" not in Call(profile="slurm").words
    assert str(PROFILES / "slurm") in Call(profile="slurm").words
    (tmp_path / "slurm").mkdir()
    assert "slurm" in Call(profile="slurm").words, "a profile of the user's own comes first"
    assert "./mine" in Call(profile="./mine").words


@pytest.mark.parametrize(
    ("call", "executor"),
    [
        (Call(), "local"),
        (Call(profile="demo"), "local"),
        (Call(profile="slurm"), "slurm"),
        (Call(options=["--executor", "slurm"]), "slurm"),
        (Call(profile="nowhere"), "local"),
    ],
)
def test_executor(call, executor, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call.executor == executor


def invoked(*arguments):
    done = CliRunner().invoke(upfield_command, list(map(str, arguments)))
    if isinstance(done.exception, UpfieldError):
        raise done.exception
    return done


@pytest.fixture
def calls(monkeypatch):
    """What Snakemake would be called with; it is not."""
    found = []
    monkeypatch.setattr(launch, "run", lambda call, follower=None: found.append(call) or 5)
    return found


def test_a_cluster_without_slurm_is_refused_at_once_but_not_a_dry_run(calls, bids_study, monkeypatch, refused):
    monkeypatch.setenv("PATH", "/nowhere")
    with refused("sbatch was not found", "no Slurm here"):
        invoked("run", bids_study(), "--profile", "slurm")
    assert calls == []
    invoked("run", bids_study(), "--profile", "slurm", "-n")
    assert len(calls) == 1


@pytest.fixture
def bids_study(two_sessions, bids_tree, tmp_path, monkeypatch):
    """Write a study with relative paths in its own folder, with changes; its name there comes back."""
    two_sessions("data")
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        sides = {side: {"bids_dir": "data", "entities": {"session": number}}
                 for side, number in (("source", "1"), ("target", "2"))}  # fmt: skip
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", **sides} | changes))
        return "study.yaml"

    return write


def test_run_hands_on_everything_and_the_exit_code(calls, bids_study):
    done = invoked("run", bids_study(), "train", "-n", "--cores", "3", "--", "-R", "measure")
    assert done.exit_code == 5
    assert calls == [Call(Path("study.yaml"), ("train",), "3", None, True, options=["-R", "measure"])]


def test_a_preset_is_a_config_that_is_laid_over_the_study(calls, bids_study, refused):
    study, file = bids_study(patches={"size": 64, "brain_share": 0.5}), PRESETS / "cpu-small.yaml"
    invoked("run", study, "-n", "--preset", "cpu-small")
    (call,) = calls
    words = call.words
    assert words[words.index("--configfile") + 1 :][:2] == [study, str(file)]
    patches = kinds.read(*call.configs)["patches"]
    assert (patches["size"], patches["brain_share"]) == (yaml.safe_load(file.read_text())["patches"]["size"], 0.5)
    for command in ("run", "report"):
        with refused("'cpu-smal' is no preset", "did you mean cpu-small?"):
            invoked(command, study, "--preset", "cpu-smal")
    assert invoked("check", study, "--preset", "cpu-smal").exit_code == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["nowhere.yaml is no file"]),
        ("a: [", ["study.yaml, line 2", "no YAML"]),
        ("- a", ["study.yaml holds no keys"]),
        ("trian: {epochs: 3}", ["trian is not a known key; did you mean train?"]),
        ("study: s", ["source.bids_dir is not set"]),
        ("source: {bids_dir: nowhere}", ["source.bids_dir is nowhere"]),
    ],
)
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_mistake_in_the_config_is_one_line(calls, tmp_path, monkeypatch, refused, content, words, command):
    monkeypatch.chdir(tmp_path)
    name = "nowhere.yaml" if content is None else "study.yaml"
    if content is not None:
        Path(name).write_text(content)
    with refused(*words):
        invoked(command, name)
    assert calls == [] and not (tmp_path / "results").exists()


def test_what_is_missing_may_stand_behind_the_config(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text("study: s")
    invoked("run", "study.yaml", "--", "--config", "source={bids_dir: data}")
    assert len(calls) == 1


def test_report_says_where_it_is(bids_study, monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "run", lambda call, follower=None: 0)
    page = tmp_path / "results/s/report/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    assert invoked("report", bids_study()).output == f"The report: {page}\n"
    assert invoked("run", bids_study(), "train").output == ""


def test_demo_names_its_config_wherever_one_is(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoked("demo", "-n")
    assert calls == [Call(ROOT / "config/examples/demo.yaml", profile="demo", dry=True)]


# -- BIDS Apps -----------------------------------------------------------------------------------------------------


@pytest.fixture
def heads(bids_tree, tmp_path, monkeypatch):
    """One session of six people."""
    monkeypatch.chdir(tmp_path)
    return bids_tree({f"sub-{n}/anat/sub-{n}_T1w.nii.gz": None for n in range(1, 7)})


@pytest.mark.parametrize("level", ["participant", "group"])
def test_a_dataset_in_the_place_of_a_subcommand_is_trained_on(calls, heads, tmp_path, level):
    assert invoked("study", "out", level, "--participant-label", "1", "sub-2", "3", "--cores", "2").exit_code == 5
    (call,) = calls
    assert (call.folder, call.config, call.cores) == (tmp_path / "out", tmp_path / "out/config.yaml", "2")
    said = yaml.safe_load(call.config.read_text())
    assert said["pairing"] == "simulated" and said["splits"]["folds"] == 3
    assert said["participants"] == {"include": ["1", "sub-2", "3"]} and said["output_dir"] == str(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def test_a_model_is_applied_to_it(calls, heads, tmp_path, trained):
    model = trained()
    invoked("study", "out", "--participant_label", "1", "2", "participant", "--model", "model")
    said = yaml.safe_load((tmp_path / "out/config.yaml").read_text())
    assert said == {"model": model, "bids_dir": str(heads), "output_dir": str(tmp_path / "out"),
                    "participants": {"include": ["1", "2"]}}  # fmt: skip
    assert calls[0].targets == (), "the default target of a model is apply"


def test_mistakes_of_an_app_are_one_line(calls, heads, refused):
    with refused("has no scan of sub-99"):
        invoked("study", "out", "participant", "--participant-label", "99")
    with refused("no model.json"):
        invoked("study", "out", "participant", "--model", "nowhere")
    assert invoked("study", "out").exit_code == 2 and invoked("nowhere", "out", "participant").exit_code == 2
    assert calls == []


def test_a_subcommand_comes_before_a_folder_of_its_name(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with refused("nowhere.yaml is no file"):
        invoked("run", "nowhere.yaml")
