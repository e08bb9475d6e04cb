"""Runs that are killed, disturbed or doubled: the next one ends as if nothing had been."""

import random
import shutil
import subprocess

from .small import Small, different, kill, wait_for

# Kills of one study before it is let come to its end.
CHAIN = 5


def test_killed_runs(tries, tally, undisturbed, data, tmp_path):
    """After each kill the documented way on: unlock, and the same command again."""
    wanted, seconds = undisturbed
    rows = tally("kill -9 of the whole tree")
    study, kills = Small(tmp_path / "0", data), []
    numbers = list(tries(5))
    for try_ in numbers:
        dice = random.Random(f"kill {try_}")
        process = study.start()
        try:
            # Now and then while it plans, mostly while its jobs run.
            process.wait(dice.uniform(0, seconds / 2))
        except subprocess.TimeoutExpired:
            kill(process)
            study.run("--unlock")
        kills.append(try_)
        if len(kills) == CHAIN or try_ == numbers[-1]:
            code = study.start().wait(1800)
            problem = different(study.results(), wanted) if code == 0 else f"ended with {code}: {study.said()[-800:]}"
            for number in kills:
                rows.check(str(number), problem)
            if not problem:
                shutil.rmtree(study.folder)
            study, kills = Small(tmp_path / str(try_ + 1), data), []
    rows.done()


def test_two_runs_of_one_study(tally, undisturbed, data, tmp_path):
    """The second says so and ends; the first does not notice."""
    rows = tally("two runs at once")
    study = Small(tmp_path / "twice", data)
    first = study.start()
    wait_for(study.folder, "Select jobs", first)
    done = subprocess.run(study.command(), cwd=study.folder, capture_output=True, text=True, timeout=600)
    said = done.stdout + done.stderr
    code = first.wait(1800)
    with rows.survived("second"):
        assert done.returncode != 0 and "cannot be locked" in said and "Traceback" not in said, said[-2000:]
    rows.check("first", different(study.results(), undisturbed[0]) if code == 0 else study.said()[-800:])
    rows.done()
