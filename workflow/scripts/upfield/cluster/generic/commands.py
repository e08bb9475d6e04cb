"""What Snakemake's plugin cluster-generic calls for each job: submit, status, cancel."""

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from upfield.cluster.generic import jobs, programs, schedulers
from upfield.cluster.generic.asked import Asked, asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler
from upfield.errors import UpfieldError

# The line of Snakemake's job script that says what the job is.
_PROPERTIES = "# properties = "


def submit(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Submit Snakemake's script of a job, and print the number that the scheduler gave it."""
    from upfield.cluster import site

    script = Path(words[0]).read_text()
    here = site.read(site.find(None, environment))
    scheduler = schedulers.find(environment.get(jobs.SCHEDULER) or here.scheduler, environment)
    wanted = asked(properties(script), here)
    log = f"{jobs.LOGS}/{wanted.name}.{secrets.token_hex(4)}.log"
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    text = prepared(script, wanted, scheduler, jobs.code_file(log))
    answer = programs.ask([scheduler.submit, *scheduler.options(wanted, log)], text)
    number = scheduler.number_of(answer.text)
    if answer.code or number is None:
        raise UpfieldError(f"{scheduler.submit} does not take {wanted.name}: {answer.reason}")
    jobs.of(environment).add(number, log)
    print(number)


def status(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Print what a job is: running (or waiting), success or failed; the end of its log where it failed."""
    (number,) = words
    known, scheduler = jobs.of(environment), schedulers.SCHEDULERS[environment[jobs.SCHEDULER]]
    code = known.code(number)
    # What a job that left the queue wrote last may not be visible here yet.
    if code is None and (_lives(scheduler, number) or known.gone_for(number) < jobs.PATIENCE):
        print("running")
        return
    if code != 0:
        _tell(known, number, "was ended from outside: killed, or over its time or memory" if code is None else "failed")
    known.forget(number)
    print("success" if code == 0 else "failed")


def cancel(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Take jobs out of the queue."""
    scheduler = schedulers.SCHEDULERS[environment[jobs.SCHEDULER]]
    known = jobs.of(environment)
    answer = programs.ask([scheduler.cancel, *words])
    if answer.code:
        # That some are over already is no reason to keep quiet about the others.
        print(f"upfield: {scheduler.cancel} says: {answer.reason}", file=sys.stderr)
        return
    for number in words:
        known.forget(number)


def properties(script: str) -> Mapping[str, object]:
    """What Snakemake says of a job in its script."""
    line = next((line for line in script.splitlines() if line.startswith(_PROPERTIES)), None)
    if line is None:
        raise UpfieldError("the script of the job does not say its properties: is --jobscript set?")
    found: Mapping[str, object] = json.loads(line.removeprefix(_PROPERTIES))
    return found


def prepared(script: str, wanted: Asked, scheduler: Scheduler, code: str) -> str:
    """Snakemake's script, which then leaves its exit code, lives through the warning, and warns itself where needed.

    `code` is a relative path without odd characters; Snakemake's script goes to its folder first.
    """
    lines = ["#!/bin/sh", f"trap 'echo $? > {code}.part && mv {code}.part {code}' EXIT"]
    # Training alone listens to the warning; whatever it ignores here is ignored by all below.
    lines.append("trap '' USR1")
    after = 60 * wanted.minutes - wanted.warning
    if wanted.warning and after > 0 and not scheduler.tells:
        lines.append(f"(sleep {after}; kill -USR1 0) < /dev/null > /dev/null 2>&1 &")
    return "\n".join(lines) + "\n" + script.removeprefix("#!/bin/sh\n")


def _lives(scheduler: Scheduler, number: str) -> bool:
    answer = programs.ask([*scheduler.look, number])
    wrong = scheduler.stuck_because(answer.text)
    if wrong is not None:
        print(f"upfield: job {number} cannot be started, and is cancelled: {wrong}", file=sys.stderr)
        programs.ask([scheduler.cancel, number])
        return False
    return scheduler.lives(*answer)


def _tell(known: jobs.Jobs, number: str, what: str) -> None:
    from upfield.cluster.said import ending, said_last
    from upfield.files import tail

    log = known.log(number)
    lines = said_last(tail(log)) if log else []
    print(f"upfield: job {number} {what}; {ending(log, lines)}", file=sys.stderr)
