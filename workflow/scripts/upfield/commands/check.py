"""`upfield check`: what a config would run, and whether it can."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upfield.commands import cost
from upfield.commands.launch import Call, with_preset
from upfield.errors import UpfieldError

if TYPE_CHECKING:
    from upfield.commands.dry import Job
    from upfield.study.anatomy import Maps
    from upfield.study.application import Application
    from upfield.study.study import Study
    from upfield.study.validation import Validation

    Any_study = Study | Validation | Application

# Fewer test participants show large differences alone.
FEW_TESTED = 5
# Names in one line.
NAMED = 20
# Images of four bytes a voxel that a participant leaves behind in every stage together, about.
IMAGES = 30
GB = 1e9


@click.command(short_help="Say what a config would run, and what to be careful about.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--profile", metavar="NAME", help="The profile that you would run it with, such as slurm.")
@with_preset
@click.pass_context
def check(context: click.Context, config: Path, profile: str | None, preset: str | None) -> None:
    """Say what `upfield run CONFIG` would do, without starting anything: who takes part, methods, jobs, warnings.

    Ends with exit code 0 where it can run, with 1 and a line for each problem where it cannot.

    \b
    upfield check my-study.yaml
    """
    call = Call(config, profile=profile, dry=True, preset=preset)
    problems = [*_problems(call)]
    if not problems:
        try:
            for line in _said(call):
                click.echo(line)
        except UpfieldError as error:
            problems = [str(error)]
    for problem in problems:
        click.echo(f"upfield: {problem}", err=True)
    context.exit(int(bool(problems)))


def _problems(call: Call) -> Iterator[str]:
    """What is wrong whatever the study is, and with its config as a text."""
    # Imported here: --help is quick then.
    from upfield import place
    from upfield.cluster import slurm

    unwritable = place.unwritable(Path.cwd())
    if unwritable:
        yield unwritable
    for look in (call.check, slurm.require if call.executor == "slurm" else lambda: None):
        try:
            look()
        except UpfieldError as error:
            yield str(error)


def _said(call: Call) -> Iterator[str]:
    """The lines of a config that can run; raises UpfieldError for one that cannot."""
    from upfield.commands import dry
    from upfield.study import kinds

    study = kinds.of(kinds.read(*call.configs))
    yield from summary(call, study, dry.jobs(call))


def jobs_line(found: Sequence["Job"]) -> str:
    """How many jobs there are, by stage."""
    from upfield.commands import dry
    from upfield.report.costs import STAGES

    return _line("jobs", f"{len(found)}: {dry.by_stage(found, STAGES)}" if found else "none: all is made already")


def summary(call: Call, study: "Any_study | Maps", found: Sequence["Job"]) -> Iterator[str]:
    """The lines of a study with these jobs left to do; raises UpfieldError for one that cannot run here."""
    from upfield.study.anatomy import Maps

    here, jobs = call.executor == "local", jobs_line(found)
    yield _line("study", f"{study.config['study']}, in {study.root}")
    if isinstance(study, Maps):
        yield _line("methods", f"anatomy, a segmenter, from label maps in {study.config['anatomy']['labels']}")
        yield jobs
        return
    yield from _who(study)
    yield _line("methods", _methods(study))
    device = device_of(study.config["train"]["device"], here)
    where = _described(device) if here else f"that of the jobs of {call.executor}"
    yield _line("device", where)
    yield jobs
    if found:
        yield _line("time", _time(study, found, device))
        yield _line("memory", f"at most {max(job.mem_mb for job in found) / 1000:.1f} GB for a job, with its margin")
    yield _line("disk", f"{_free(study) / GB:.0f} GB free, about {_needed(study) / GB:.1f} GB are written in all")
    for warning in _warnings(study, found, here, device):
        yield f"warning: {warning}"


def _line(name: str, said: str) -> str:
    return f"{name:<10}{said}"


def _who(study: "Any_study") -> Iterator[str]:
    """Participants, exclusions, and parts of the split."""
    from upfield import bids
    from upfield.study.application import Application
    from upfield.study.study import Study

    if isinstance(study, Application):
        people, left_out = {scan.participant for scan in study.scans.values()}, [*study.excluded]
        yield _line("scans", f"{len(study.groups)} of {len(people)} participants, to be enhanced by {study.method}")
    else:
        people, left_out = {bids.person(scan.participant) for scan in study.index.used}, [*study.index.excluded]
        pairs = f"{len(study.pairs)} pairs" if study.pairs else "no pairs"
        yield _line("scans", f"{pairs} of {len(people)} participants; pairing: {study.design.name}")
    first = [f"{row.participant} ({row.role}: {row.reason})" for row in left_out[:3]]
    more = f" and {len(left_out) - len(first)} more" if len(left_out) > len(first) else ""
    yield _line("left out", f"{len(left_out)}: {'; '.join(first)}{more}" if left_out else "nothing so far")
    if isinstance(study, Study):
        table = study.folds.table
        sizes = table.groupby(["fold", "split"]).size().unstack(fill_value=0)
        parts = ", ".join(f"{part} {_span(sizes[part])}" for part in ("train", "val", "test"))
        folds = f", in each of {len(sizes)} folds" if len(sizes) > 1 else ""
        yield _line("split", f"{parts}{folds}")
    if not isinstance(study, Application):
        tested = sorted({bids.person(name) for name in study.tested})
        yield _line("tested", f"{len(tested)}: {_some(tested)}")


def _span(counts: Sequence[int]) -> str:
    return " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if names[NAMED:] else "")


def _methods(study: "Any_study") -> str:
    from upfield.study.application import Application

    if isinstance(study, Application):
        return f"{study.method}, {len(study.folders)} model{'s' * (len(study.folders) != 1)}"
    baselines = study.methods.baselines
    models = [name for name in study.methods.names if name not in baselines]
    return f"{', '.join(models) or 'none'}; baselines {', '.join(baselines)}"


def device_of(wanted: str, here: bool) -> str:
    """What networks run on, cpu or cuda. Raises UpfieldError for a GPU that is to be here and is not."""
    from upfield.training.device import choose

    if here:
        return choose(wanted).type
    return "cpu" if wanted == "cpu" else "cuda"


def _described(device: str) -> str:
    """What this machine has of it."""
    if device == "cuda":
        import torch

        card = torch.cuda.get_device_properties(0)
        return f"{card.name}, {card.total_memory / GB:.0f} GB"
    return f"CPU, {os.cpu_count()} cores, {_memory() / GB:.0f} GB"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _time(study: "Any_study", found: Sequence["Job"], device: str) -> str:
    """How long jobs take, as far as that is known before anything runs."""
    each = cost.training_hours(study.config, device)
    trained = Counter(job.wildcards["method"] for job in found if job.rule == cost.TRAINING)
    hours = sum(cost.minutes(job, each) for job in found if job.rule != cost.TRAINING) / 60
    said = [f"at most {hours:.2g} core hours" + (" beside the trainings" if trained else "")]
    for name, count in trained.items():
        long = f"about {each:g} h each" if name in _planned(study) else "as long as their epochs take"
        said.append(f"{count} of {name}, {long}")
    return "; ".join(said)


def _planned(study: "Any_study") -> list[str]:
    from upfield.study.study import Study

    return study.methods.planned if isinstance(study, Study) else []


def _free(study: "Any_study") -> int:
    """Bytes that are free where the study is written."""
    folder = Path(study.root).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _needed(study: "Any_study") -> float:
    """Bytes that a whole study takes, about."""
    return sum(study.megavoxels.values()) * 1e6 * 4 * IMAGES


def _warnings(study: "Any_study", found: Sequence["Job"], here: bool, device: str) -> Iterator[str]:
    from upfield import bids
    from upfield.study.study import Study

    training = any(job.rule == cost.TRAINING for job in found)
    on_cpu = training and device == "cpu"
    if isinstance(study, Study):
        tested = {bids.person(name) for name in study.tested}
        if len(tested) < FEW_TESTED:
            more = "; splits.scheme: kfold tests everybody" if study.config["splits"]["scheme"] == "holdout" else ""
            yield f"{len(tested)} test participants, with whom only large differences can be seen{more}"
        large = [name for name in study.methods.networks
                 if name not in {*_planned(study), *study.config["method_overrides"]}]  # fmt: skip
        if on_cpu and large:
            yield (
                f"{', '.join(large)}: of published size, which takes days on a CPU; --preset cpu-small has small ones"
            )
    if on_cpu:
        yield "no GPU is used, networks are trained on the CPU"
    if here and found and max(job.mem_mb for job in found) * 1e6 > _memory():
        yield f"this machine has {_memory() / GB:.0f} GB of memory, less than a job may need"
    if found and _free(study) < _needed(study):
        yield f"{_free(study) / GB:.0f} GB are free, which may be too little"
