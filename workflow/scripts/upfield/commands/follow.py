"""A quiet run: a summary before its first job, then a line a stage; all that Snakemake says goes into a file."""

import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from upfield.cluster.said import said_last
from upfield.commands import cost, dry
from upfield.commands.progress import Progress, about, duration
from upfield.errors import UpfieldError
from upfield.files import tail

if TYPE_CHECKING:
    from upfield.commands.launch import Call

# Of a stage that is not shown live, a line whenever so much more of it is done.
STEP = 0.25
# Characters of what Snakemake said that are at hand once jobs run.
KEPT = 20_000
LOCKED = "cannot be locked"
HELD = (
    "another run works in this folder, or one was killed here; wait for it to end, or if there is none:"
    " upfield run CONFIG -- --unlock, then the same command again"
)
# What Snakemake says when there is nothing to do.
NOTHING = "Nothing to be done"


class Follower:
    """Follows one run of Snakemake: `hear` takes what it says, `event` what its jobs do, `close` ends it."""

    def __init__(self, call: "Call", log: Path) -> None:
        self.call, self.log = call, log
        self.file: BinaryIO | None = None
        self.progress: Progress | None = None
        self.failed: set[int] = set()
        self.shown: dict[str, float] = {}
        self.bars: dict[str, Any] = {}
        self.last = ""

    def hear(self, chunk: bytes) -> None:
        """Keep what Snakemake says, and the end of it at hand."""
        if self.file is None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.log.open("ab")
            self.file.write(f"\n== {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}\n".encode())
        self.file.write(chunk)
        self.file.flush()
        self.last += chunk.decode(errors="replace")
        if self.progress is not None:
            self.last = self.last[-KEPT:]

    def event(self, said: Mapping[str, Any]) -> None:
        """Show what a job does."""
        if said["event"] == "planned":
            self._planned(said["jobs"])
        elif self.progress is not None and said["job"] in self.progress.jobs:
            number, job = said["job"], self.progress.jobs[said["job"]]
            if said["event"] == "began":
                self.progress.began(number)
                self.failed.discard(number)
            elif said["event"] == "ended":
                self.progress.done(number)
            elif number in self.progress.running:
                self.progress.failed(number)
                self.failed.add(number)
                self._say(_failure(f"{job.rule} {about(job)}".strip(), said["log"]))
            self._show(job.stage)

    def close(self, code: int, stopped: bool) -> None:
        """Say how it ended, where that is not as it should; the command says itself that it was stopped."""
        for bar in self.bars.values():
            bar.close()
        if self.file is not None:
            self.file.close()
        if stopped:
            return
        if not code and self.progress is None and NOTHING in self.last:
            click.echo("Nothing is left to do: all is made already.")
        elif not code and self.progress is None:
            # It was asked for something else than a run, such as `-- --summary`.
            click.echo(self.last, nl=False)
        if code and LOCKED in self.last:
            click.echo(f"upfield: {HELD}", err=True)
        elif code and not self.failed:
            click.echo(f"upfield: {dry.wrong(self.last)}", err=True)
        elif code:
            count = len(self.failed)
            click.echo(f"upfield: {count} job{'s' * (count > 1)} failed; the same command tries again", err=True)
        if code:
            click.echo(f"All that Snakemake said: {self.log}", err=True)

    def _planned(self, rows: list[Mapping[str, Any]]) -> None:
        found = {row["job"]: dry.planned(row) for row in rows}
        hours = self._summary(list(found.values()))
        self.progress = Progress(found, lambda job: cost.minutes(job, hours))

    def _summary(self, found: list[dry.Job]) -> float:
        """Say what will be done; returns the hours that a training is planned to take."""
        # Imported here: this takes as long as Snakemake needs to begin.
        from upfield.commands import check
        from upfield.study import config, kinds

        said, device = config.defaults(), "cpu"
        try:
            if self.call.config is not None and not self.call.overridden:
                said = kinds.read(*self.call.configs)
                for line in check.summary(self.call, kinds.of(said, rescan=False), found):
                    click.echo(line)
                device = check.device_of(said["train"]["device"], self.call.executor == "local")
            else:
                click.echo(check.jobs_line(found))
        except UpfieldError as error:
            click.echo(f"warning: {error}")
        click.echo(f"log       {self.log}")
        return cost.training_hours(said, device)

    def _say(self, line: str) -> None:
        """A line of its own, above what is shown live."""
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)

    def _show(self, stage: str) -> None:
        assert self.progress is not None
        share, mine = self.progress.share(stage), self.progress.of(stage)
        done = sum(number in self.progress.ended for number in mine)
        ready = done == len(mine)
        rest = "done" if ready else f"{duration(self.progress.left([stage]))} left"
        whole = "" if ready else f", {duration(self.progress.left(self.progress.stages))} to the end"
        who = self.progress.who(stage)
        said = f"{done} of {len(mine)} jobs{f', {who}' if who else ''}, {rest}{whole}"
        if sys.stderr.isatty():
            self._draw(stage, share, said)
        elif stage not in self.shown or ready or share >= self.shown[stage] + STEP:
            self.shown[stage] = share
            self._say(f"{stage:<10} {share:4.0%}  {said}")

    def _draw(self, stage: str, share: float, said: str) -> None:
        from tqdm import tqdm

        if stage not in self.bars:
            form = "{desc:<10} {percentage:3.0f}% {bar:20} {unit}"
            self.bars[stage] = tqdm(
                total=1.0, desc=stage, position=len(self.bars), bar_format=form, dynamic_ncols=True, file=sys.stderr
            )
        bar = self.bars[stage]
        bar.n, bar.unit = share, said
        bar.refresh()


def _failure(job: str, logs: list[str]) -> str:
    """A job that failed, the last that it said, and where the rest is."""
    lines = said_last(tail(logs[0]), 1) if logs else []
    # Before the words stands when they were said.
    words = [re.sub(r"^[\d-]+ [\d:,]+ ", "", line.strip()) for line in lines]
    return f"failed: {': '.join([job, *words])}{f' ({logs[0]})' if logs else ''}"
