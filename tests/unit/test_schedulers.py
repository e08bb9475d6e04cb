"""Schedulers without Slurm's plugin, against stand-ins that take the arguments of the real programs and no others."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from upfield.cluster.generic import commands, jobs, schedulers
from upfield.cluster.generic.asked import Asked, asked
from upfield.cluster.site import Partition, Site

ROOT = Path(__file__).resolve().parents[2]
# What each program takes of what is used here, after its manual: options with the form of their values, "" for none.
NAME, WORD = r"[A-Za-z][A-Za-z0-9_]*", r"[\w.@+-]+"
LOG = r"\.snakemake/cluster_logs/\w+\.\w+\.log"
CLOCK = r"walltime=\d{2,}:[0-5]\d:[0-5]\d"
PBS_SHARED = {
    "-N": r"[A-Za-z]\w{0,14}", "-j": "oe|eo|n", "-o": LOG, "-r": "[yn]", "-V": "", "-S": "/bin/sh",
    "-q": WORD, "-A": WORD,
}  # fmt: skip
TAKES = {
    "pbs": PBS_SHARED | {"-l": rf"select=\d+:ncpus=\d+(:mem=\d+mb)?(:ngpus=\d+)?|{CLOCK}"},
    "torque": PBS_SHARED | {"-l": rf"nodes=1:ppn=\d+(:gpus=\d+(:{WORD})?)?|mem=\d+mb|{CLOCK}|qos={WORD}"},
    "sge": {
        "-terse": "", "-N": NAME, "-j": "y|n", "-o": LOG, "-cwd": "", "-r": "y|n", "-V": "", "-S": "/bin/sh",
        "-q": WORD, "-P": WORD, "-pe": rf"{WORD} \d+", "-l": rf"({WORD}=\d+[KMG]?)(,{WORD}=\d+[KMG]?)*",
    },
    "lsf": {
        "-J": NAME, "-o": LOG, "-rn": "", "-n": r"\d+", "-R": r"span\[hosts=1\]|rusage\[mem=\d+MB\]", "-q": WORD,
        "-P": WORD, "-M": r"\d+MB", "-W": r"\d+", "-wa": "USR1", "-wt": r"[1-9]\d*",
        "-gpu": rf"num=\d+(:gmodel={WORD})?",
    },
    "slurm": {
        "--parsable": "", "--job-name": NAME, "--output": LOG, "--no-requeue": "", "--nodes": "1", "--ntasks": "1",
        "--cpus-per-task": r"\d+", "--partition": WORD, "--account": WORD, "--qos": WORD, "--mem": r"\d+M",
        "--time": r"\d+", "--gres": rf"gpu(:{WORD})?:\d+",
    },
}  # fmt: skip
ANSWERS = {
    "pbs": "12.head",
    "torque": "12.head",
    "sge": "12",
    "lsf": "Job <12> is submitted to queue <main>.",
    "slurm": "12",
}
# What the program says of a job that runs, and of one that is over (exit code, output, errors).
RUNS = {
    "pbs": "Job Id: 12.head\n    job_state = R\n", "torque": "Job Id: 12.head\n    job_state = R\n",
    "sge": "job_number: 12\nscript_file: STDIN\n", "lsf": "RUN\n", "slurm": "RUNNING\n",
}  # fmt: skip
OVER = {
    "pbs": (35, "", "qstat: 12.head Job has finished, use -x or -H to obtain historical job information"),
    "torque": (0, "Job Id: 12.head\n    job_state = C\n    exit_status = 0\n", ""),
    "sge": (1, "", "Following jobs do not exist: \n12"),
    "lsf": (0, "EXIT\n", ""),
    "slurm": (1, "", "slurm_load_jobs error: Invalid job id specified"),
}
DOWN = (1, "", "cannot connect to server head (errno=15034)")
# A program that answers from files beside it, and keeps how it was called.
STAND_IN = """\
#!{python}
import json, pathlib, sys
here, name = pathlib.Path({here!r}), {name!r}
with (here / "calls").open("a") as file:
    file.write(json.dumps([name, sys.argv[1:], "" if name not in {submits!r} else sys.stdin.read()]) + "\\n")
code, text, errors = json.loads((here / (name + ".answer")).read_text())
sys.stdout.write(text)
sys.stderr.write(errors)
sys.exit(code)
"""


def takes(scheduler, words):
    """Fail for what the real program would not take."""
    known, at = TAKES[scheduler], 0
    while at < len(words):
        option, equals, value = words[at].partition("=") if scheduler == "slurm" else (words[at], "", "")
        assert option in known, f"{scheduler} has no {words[at]}"
        count = 0 if equals or not known[option] else 1 + known[option].count(" ")
        value = value if equals else " ".join(words[at + 1 : at + 1 + count])
        assert re.fullmatch(known[option], value), f"{option} {value}"
        at += 1 + count


FULL = {"minutes": 1440, "mem_mb": 8001, "cpus": 4, "gpus": 1, "queue": "gpu", "account": "lab", "warning": 600}


@pytest.mark.parametrize("scheduler", TAKES)
@pytest.mark.parametrize(
    "over", [{}, {"gpus": 0, "warning": 0}, {"mem_mb": 0, "cpus": 1, "queue": None, "account": None}]
)
def test_the_real_programs_take_what_is_asked_for(scheduler, over):
    found = schedulers.SCHEDULERS[scheduler]
    extra = {key: "a100" for key in ("gpu_type", "qos") if key not in found.lacks}
    wanted = Asked("upfield_train_model", **FULL | extra | over)
    takes(scheduler, found.options(wanted, f"{jobs.LOGS}/upfield_train_model.0af3.log"))


def test_every_value_arrives():
    wanted = Asked("upfield_train_model", **FULL)
    words = {name: " ".join(found.options(wanted, "a.log")) for name, found in schedulers.SCHEDULERS.items()}
    assert "-l select=1:ncpus=4:mem=8001mb:ngpus=1 -l walltime=24:00:00" in words["pbs"]
    assert "-N upfield_train_m " in words["pbs"]
    assert "-l nodes=1:ppn=4:gpus=1 -l mem=8001mb -l walltime=24:00:00" in words["torque"]
    # A slot's memory, rounded up; told two minutes before the end.
    assert "-pe smp 4 -l h_rt=86400,s_rt=86280,mem_free=2001M,gpu=1" in words["sge"]
    assert "-R rusage[mem=8001MB] -M 8001MB -W 1440 -wa USR1 -wt 10 -gpu num=1" in words["lsf"]
    assert "--partition=gpu --account=lab --mem=8001M --time=1440 --gres=gpu:1" in words["slurm"]


def properties(**resources):
    return {"rule": "brain", "threads": 2, "resources": {"runtime": 30, "mem_mb": 4000} | resources}


def test_queue_is_the_first_that_fits_and_those_with_gpus_are_left_to_them(refused):
    queues = (Partition("gpu", 480, 64000, 16, 2), Partition("short", 20), Partition("long", 7200, 64000, 16))
    site = Site(file=Path("site.yaml"), partitions=queues)
    assert asked(properties(), site).queue == "long"
    assert asked(properties(gres="gpu:a100:2"), site).queue == "gpu"
    assert asked(properties(slurm_partition="short"), site).queue == "short"
    assert asked(properties(), Site()).queue is None
    with refused("site.yaml", "99 GB", "--set-resources"):
        asked(properties(mem_mb=99000), site)
    # A later attempt is only looked at: held against the largest.
    assert asked(properties(mem_mb=99000), site, strict=False).queue == "long"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [({}, (0, None)), ({"gpu": 2}, (2, None)), ({"gpu": 1, "gpu_model": "a100"}, (1, "a100")),
     ({"gres": ""}, (0, None)), ({"gres": "gpu:4"}, (4, None)), ({"gres": "gpu:a100:1"}, (1, "a100")),
     ({"gpu": 0, "gpu_model": ""}, (0, None))],
)  # fmt: skip
def test_gpus_in_either_form(resources, expected):
    found = asked(properties(**resources), Site())
    assert (found.gpus, found.gpu_type) == expected


def test_names_of_groups_and_the_warning():
    found = asked(
        {"groupid": "enhance_unet-3d $(x)", "threads": 1, "resources": {"slurm_extra": "'--signal=USR1@600'"}}, Site()
    )
    assert (found.name, found.warning) == ("upfield_enhance_unet_3d_x", 600)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder where Snakemake runs, and a way to have stand-ins answer."""

    def answer(name, code=0, text="", errors=""):
        submits = {found.submit for found in schedulers.SCHEDULERS.values()}
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / f"{name}.answer").write_text(json.dumps([code, text, errors]))
        path.write_text(STAND_IN.format(python=sys.executable, here=str(path.parent), name=name, submits=submits))
        path.chmod(0o755)

    def call(action, *words, scheduler):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "UPFIELD_PYTHON": sys.executable, "HOME": str(tmp_path),
            jobs.SCHEDULER: scheduler, jobs.FOLDER: str(tmp_path / "submitted"),
        }  # fmt: skip
        program = ROOT / "profiles" / "generic" / action
        done = subprocess.run([program, *words], env=environment, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout.strip(), done.stderr, done.returncode

    def calls():
        return [json.loads(line) for line in (tmp_path / "bin" / "calls").read_text().splitlines()]

    here.answer, here.call, here.calls, here.folder = answer, call, calls, tmp_path
    return here


def snakemakes_script(folder, body):
    path = folder / "snakejob.brain.7.sh"
    path.write_text(
        f"#!/bin/sh\n# properties = {json.dumps(properties())}\ncd '{folder}' && {body} && exit 0 || exit 1\n"
    )
    return str(path)


@pytest.mark.parametrize("scheduler", TAKES)
@pytest.mark.parametrize(("body", "end"), [("true", "success"), ("echo 'no such mask'; false", "failed")])
def test_a_job_from_submission_to_its_end(here, scheduler, body, end):
    found = schedulers.SCHEDULERS[scheduler]
    here.answer(found.submit, text=ANSWERS[scheduler] + "\n")
    number, errors, code = here.call("submit", snakemakes_script(here.folder, body), scheduler=scheduler)
    assert code == 0, errors
    assert number.startswith("12")
    ((_, words, script),) = here.calls()
    takes(scheduler, words)
    here.answer(found.look[0], text=RUNS[scheduler])
    assert here.call("status", number, scheduler=scheduler)[0] == "running"
    # What the scheduler would do with the script, and its output.
    log = next(word.removeprefix("--output=") for word in words if word.endswith(".log"))
    output = subprocess.run(["sh"], input=script, cwd=here.folder, capture_output=True, text=True).stdout
    (here.folder / log).write_text(output)
    answered, errors, code = here.call("status", number, scheduler=scheduler)
    assert (answered, code) == (end, 0)
    assert ("no such mask" in errors) == (end == "failed")
    assert list((here.folder / "submitted").iterdir()) == []


@pytest.mark.parametrize("scheduler", TAKES)
def test_a_job_that_was_killed_has_failed_and_one_nobody_knows_of_has_not(here, scheduler):
    found = schedulers.SCHEDULERS[scheduler]
    known = jobs.Jobs(here.folder / "submitted")
    known.add("12", "a.log")
    here.answer(found.look[0], *DOWN)
    assert here.call("status", "12", scheduler=scheduler)[0] == "running"
    assert not known.folder.joinpath("12.gone").exists()
    here.answer(found.look[0], *OVER[scheduler])
    assert here.call("status", "12", scheduler=scheduler)[0] == "running", "its file may be on its way"
    long_ago = time.time() - 2 * jobs.PATIENCE
    os.utime(known.folder / "12.gone", (long_ago, long_ago))
    answered, errors, _ = here.call("status", "12", scheduler=scheduler)
    assert answered == "failed" and "ended from outside" in errors


def test_a_job_in_error_at_grid_engine_is_cancelled_with_the_reason(here):
    jobs.Jobs(here.folder / "submitted").add("12", "a.log")
    here.answer("qstat", text="job_number: 12\nerror reason    1:      can't chdir to /data\n")
    here.answer("qdel")
    _, errors, _ = here.call("status", "12", scheduler="sge")
    assert "can't chdir to /data" in errors and ["qdel", ["12"], ""] in here.calls()


@pytest.mark.parametrize("scheduler", TAKES)
def test_cancel(here, scheduler):
    found = schedulers.SCHEDULERS[scheduler]
    here.answer(found.cancel)
    here.call("cancel", "12", "13", scheduler=scheduler)
    assert here.calls() == [[found.cancel, ["12", "13"], ""]]


def test_a_refusal_is_one_line_in_the_schedulers_words(here):
    here.answer("qsub", 1, "", "qsub: Unknown queue\n")
    answered, errors, code = here.call("submit", snakemakes_script(here.folder, "true"), scheduler="pbs")
    assert (answered, code) == ("", 1)
    assert errors == "upfield: qsub does not take upfield_brain: qsub: Unknown queue\n"


def test_only_what_does_not_warn_by_itself_gets_a_clock_and_the_job_lives_through_it(tmp_path):
    wanted = Asked("upfield_train_model", minutes=1, mem_mb=0, cpus=1, warning=59)
    script = '#!/bin/sh\npython3 -c "import time; time.sleep(2)"\n'
    texts = {
        name: commands.prepared(script, wanted, found, "job.code") for name, found in schedulers.SCHEDULERS.items()
    }
    assert {name for name, text in texts.items() if "kill -USR1 0" in text} == {"pbs", "torque", "slurm"}
    listens = 'python3 -c "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3)); signal.pause()"\n'
    text = commands.prepared("#!/bin/sh\n" + listens, wanted, schedulers.SCHEDULERS["pbs"], "job.code")
    subprocess.run(["sh"], input=text, cwd=tmp_path, text=True, start_new_session=True, timeout=30)
    assert (tmp_path / "job.code").read_text() == "3\n"


def test_what_both_profiles_say_is_the_same():
    """But for how many jobs there may be."""
    slurm, generic = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("slurm", "generic")
    )
    assert {key for key in slurm.keys() & generic.keys() if slurm[key] != generic[key]} == {"executor", "jobs"}


def test_which_scheduler_is_here(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(schedulers, "PBS_CONF", tmp_path / "pbs.conf")

    def at(*programs, **environment):
        folder = tmp_path / "-".join(programs)
        folder.mkdir(exist_ok=True)
        for program in programs:
            (folder / program).touch(0o755)
        return {"PATH": str(folder)} | environment

    assert schedulers.find(None, at("bsub")).name == "lsf"
    assert schedulers.find(None, at("qsub", SGE_ROOT="/opt/sge")).name == "sge"
    assert schedulers.find(None, at("qsub", "sbatch")).name == "slurm"
    assert schedulers.find("torque", at("qsub")).name == "torque"
    with refused("qsub belongs to", "torque"):
        schedulers.find(None, at("qsub"))
    with refused("bsub was not found", "no lsf"):
        schedulers.find("lsf", at("qsub"))
    (tmp_path / "pbs.conf").touch()
    assert schedulers.find(None, at("qsub")).name == "pbs"
