"""Snakemake with this project's workflow, from any folder: how it is called, and how it is ended."""

import json
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import click

from upfield.errors import UpfieldError, closed
from upfield.place import ROOT
from upfield.study.events import VARIABLE

SNAKEFILE = ROOT / "Snakefile"
PROFILES = ROOT / "profiles"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Options with which Snakemake may have another configuration than the config says.
OVERRIDING = {"--config", "-C", "--configfile", "--configfiles", "--directory", "-d"}
# Seconds for the last words of a run.
PATIENCE = 2
STOPPED = "upfield: stopped; the same command goes on"
# Whatever reads a config takes it: what was run with a preset is reported with it.
with_preset = click.option("--preset", metavar="NAME", help="Sizes laid over CONFIG: cpu-small, gpu-24gb.")


@dataclass(frozen=True)
class Call:
    """A call of Snakemake, whose own words are shown if `verbose`.

    `preset` names sizes over the config; `options` are more of its arguments, the last.
    """

    config: Path | None = None
    targets: Sequence[str] = ()
    cores: str | None = None
    profile: str | None = None
    dry: bool = False
    folder: Path | None = None
    options: Sequence[str] = ()
    preset: str | None = None
    verbose: bool = False

    @property
    def configs(self) -> list[Path]:
        """The files of the configuration, of which later ones win. Raises UpfieldError for an unknown preset."""
        # Imported here: --help is quick then.
        from upfield.study.config import preset

        files = [self.config] if self.config is not None else []
        return [*files, preset(self.preset)] if self.preset is not None else files

    @property
    def words(self) -> list[str]:
        """The command line. Raises UpfieldError where the workflow does not belong to the library."""
        if not SNAKEFILE.is_file():
            raise UpfieldError(
                f"{SNAKEFILE} is not there: Upfield was not installed whole; install its wheel, or run make setup in a"
                " checkout"
            )
        # Targets come first: options that take several values would swallow them.
        words = [sys.executable, "-m", "snakemake", *self.targets, "--snakefile", str(SNAKEFILE)]
        words += ["--directory", str(self.folder)] if self.folder is not None else []
        words += ["--configfile", *map(str, self.configs)] if self.configs else []
        words += ["--profile", self._profile] if self.profile is not None else []
        # A profile says itself how much runs at one time.
        cores = self.cores or ("all" if self.profile is None else None)
        words += ["--cores", cores] if cores is not None else []
        return [*words, *(["--dry-run"] if self.dry else []), *self.options]

    @property
    def _profile(self) -> str:
        """The profile as given, or the project's own of this name: Snakemake knows those of the folder it runs in."""
        given = str(self.profile)
        own = PROFILES / given
        return str(own) if "/" not in given and own.is_dir() and not Path(given).exists() else given

    def _check_profile(self) -> None:
        """Raise UpfieldError for a profile that is in none of the places where Snakemake looks."""
        if self.profile is None or Path(self._profile).exists():
            return
        home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        places = [home, *(os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
        folders = [Path(place).expanduser() / "snakemake" for place in places]
        if any((folder / self.profile).exists() for folder in folders):
            return
        from upfield.catalogue.rules import hint

        known = [path.name for folder in (PROFILES, *folders) if folder.is_dir() for path in folder.iterdir()]
        raise UpfieldError(f"--profile {self.profile} is no profile{hint(self.profile, known)}")

    @property
    def executor(self) -> str:
        """What jobs are run by, as far as options and profile say: `local` is this machine."""
        if "--executor" in self.options[:-1]:
            return self.options[list(self.options).index("--executor") + 1]
        file = Path(self._profile) / "config.yaml"
        if self.profile is None or not file.is_file():
            return "local"
        # Imported here: --help is quick then.
        from upfield.files import read_yaml

        said = read_yaml(file)
        return str(said.get("executor", "local")) if isinstance(said, dict) else "local"

    @property
    def overridden(self) -> bool:
        """Whether the config may not be the last word."""
        return bool(OVERRIDING & set(self.options))

    def check(self) -> None:
        """Raise UpfieldError, one line, for options, a config or targets that cannot be, or a Slurm that is none."""
        # Imported here: --help is quick then.
        from upfield.cluster import slurm
        from upfield.commands import targets
        from upfield.study import config, kinds
        from upfield.study.scans import root_of

        if self.cores is not None and self.cores != "all" and not self.cores.isdecimal():
            raise UpfieldError(f"--cores is {self.cores!r:.40}; expected a number, or all")
        self._check_profile()
        if self.configs and self.overridden:
            for file in self.configs:
                config.whole(config.read(file))
        elif self.configs:
            settings = kinds.read(*self.configs)
            if settings["model"] is None:
                config.check(settings)
            targets.check(self.targets, SNAKEFILE, settings)
            refused = closed(Path(self.folder or "", root_of(settings)))
            if refused:
                raise UpfieldError(refused)
        if self.executor == "slurm" and not self.dry:
            slurm.require()


class Follower(Protocol):
    """Who listens to a run, see `commands.follow`."""

    def hear(self, chunk: bytes) -> None:
        """Snakemake says something."""

    def event(self, said: Mapping[str, Any]) -> None:
        """A job begins, ends or fails."""

    def close(self, code: int, stopped: bool) -> None:
        """The run has ended."""


def run(call: Call, follower: Follower | None = None) -> int:
    """Run Snakemake to its end; returns its exit code. What it says is handed on, or is the `follower`'s.

    Ctrl-C, or a signal to this process, ends it properly: trainings write their checkpoints, and what is made stays. A
    second one kills its jobs on this machine; jobs on a cluster it goes on cancelling. Nothing of it is left behind.
    """
    # Imported here: --help is quick then.
    from upfield.job import handling

    ending = Ending(local=call.executor == "local")
    # Under nohup, and in the background of a script, some are to be ignored.
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    said, written = _pipe() if follower is None else os.pipe()
    readers = [threading.Thread(target=_copy, args=(said, ending, _show if follower is None else follower.hear))]
    more: dict[str, Any] = {}
    if follower is not None:
        told, telling = os.pipe()
        readers.append(threading.Thread(target=_listen, args=(told, ending, follower)))
        more = {"stdout": written, "pass_fds": [telling], "env": os.environ | {VARIABLE: str(telling)}}
    with handling(dict.fromkeys(heard, ending.stop)):
        # In a group of its own, a terminal's Ctrl-C comes to this process alone, which hands it on.
        # It must hear what it is sent, also where this process is to ignore it, which processes hand on to their own.
        with handling({signal.SIGINT: ending.stop}):
            ending.leader = subprocess.Popen(
                call.words, stdin=subprocess.DEVNULL, stderr=written, process_group=0, **more
            )
        for descriptor in (written, *more.get("pass_fds", [])):
            os.close(descriptor)
        for reader in readers:
            reader.daemon = True
            reader.start()
        code = ending.leader.wait()
        ending.send(signal.SIGKILL)
        for reader in readers:
            reader.join(PATIENCE)
    if follower is not None:
        follower.close(code, ending.times > 0)
    if ending.times:
        click.echo(("\r" if sys.stderr.isatty() else "") + STOPPED, err=True)
    return code if code >= 0 else 128 - code


def _pipe() -> tuple[int, int]:
    """Two ends of a pipe; where errors go to a terminal, of one that is a terminal too, for colours and progress."""
    if not sys.stderr.isatty():
        return os.pipe()
    said, written = os.openpty()
    termios.tcsetwinsize(written, termios.tcgetwinsize(sys.stderr.fileno()))
    # What ends a line is for the terminal in front to decide.
    settings = termios.tcgetattr(written)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(written, termios.TCSANOW, settings)
    return said, written


def _copy(said: int, ending: "Ending", hear: Callable[[bytes], None]) -> None:
    """Hand on what Snakemake says, until it is told to end: of jobs that were ended nobody wants to read."""
    while True:
        try:
            chunk = os.read(said, 65536)
        except OSError:
            # How a terminal ends.
            return
        if not chunk:
            return
        if not ending.times:
            hear(chunk)


def _show(chunk: bytes) -> None:
    sys.stderr.buffer.write(chunk)
    sys.stderr.buffer.flush()


def _listen(told: int, ending: "Ending", follower: Follower) -> None:
    """Hand on what jobs do, until Snakemake is told to end."""
    with os.fdopen(told, encoding="utf-8") as lines:
        for line in lines:
            if not ending.times:
                follower.event(json.loads(line))


def dry_run(call: Call) -> "subprocess.CompletedProcess[str]":
    """What Snakemake would do, as it says it."""
    return subprocess.run(call.words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


class Ending:
    """How a running Snakemake, the `leader` of its group, is ended; `local` if its jobs run in this group."""

    def __init__(self, local: bool) -> None:
        self.local, self.times = local, 0
        self.leader: subprocess.Popen[bytes] | None = None

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.times += 1
        if self.leader is None:
            raise KeyboardInterrupt
        if self.times == 1 and sys.stderr.isatty():
            click.echo("\rupfield: stopping ...", err=True, nl=False)
        if self.times == 1 or not self.local:
            self.leader.send_signal(signal.SIGINT)
        if self.local:
            # Snakemake itself lives on until it has put its records in order.
            for process in _members(self.leader.pid) - {self.leader.pid}:
                _send(process, signal.SIGTERM if self.times == 1 else signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to Snakemake and all that it started here."""
        if self.leader is not None:
            _send(-self.leader.pid, number)


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _members(group: int) -> set[int]:
    """The processes of a group."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # After the name, which may hold spaces and brackets: state, parent, group.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                found.add(int(entry.name))
    return found
