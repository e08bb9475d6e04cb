"""The form of BIDS Apps: `upfield BIDS_DIR OUTPUT_DIR participant`."""

from pathlib import Path
from typing import Any

import click

from upfield.commands.init import config_of, look
from upfield.commands.launch import Call
from upfield.commands.run import study

NAME = "bids-app"
LEVELS = ("participant", "group")
LABELS = ("--participant-label", "--participant_label")


class AsApps(click.Command):
    """A command whose `--participant-label` takes several labels in a row, as BIDS Apps want."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line in which the option stands before each label."""
        words, inside = list[str](), False
        for word in args:
            if inside and (word.startswith("-") or word in LEVELS):
                inside = False
            if word in LABELS:
                inside = True
                continue
            words += [LABELS[0], word] if inside else [word]
        return super().parse_args(ctx, words)


@click.command(NAME, cls=AsApps, hidden=True)
@click.argument("bids_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output_dir", type=click.Path(file_okay=False, path_type=Path))
@click.argument("level", metavar="participant|group", type=click.Choice(LEVELS))
@click.option(*LABELS, "labels", multiple=True, metavar="LABEL...", help="Who takes part; everybody unless given.")
@click.option("--model", help="Folder of a trained model that is applied; without it models are trained.")
@click.option("--cores", metavar="N", help="Cores to use, or all; all unless a profile says.")
@click.option("--profile", metavar="NAME", help="A profile of Snakemake, such as slurm.")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Say what would be done, and do nothing.")
@click.pass_context
def app(
    context: click.Context,
    bids_dir: Path,
    output_dir: Path,
    level: str,
    labels: tuple[str, ...],
    model: str | None,
    cores: str | None,
    profile: str | None,
    dry: bool,
) -> None:
    """Apply a model to BIDS_DIR, or train the study that `upfield init` proposes for it; all outputs in OUTPUT_DIR.

    What is made concerns all participants at one time, so participant and group do the same. What is run stands in
    OUTPUT_DIR/config.yaml, which is written anew each time.
    """
    # Imported here: --help is quick then.
    from upfield.files import write_text
    from upfield.study import propose

    output_dir = output_dir.absolute()
    config = output_dir / "config.yaml"
    extra: dict[str, Any] = {"output_dir": str(output_dir)}
    extra |= {"participants": {"include": list(labels)}} if labels else {}
    if model is None:
        text = config_of(propose.of_one(look(bids_dir, labels)), str(config), extra)
    else:
        text = _applied(bids_dir, model, extra)
    write_text(config, text)
    # Snakemake keeps its records in the folder that it runs in.
    context.exit(study(Call(config, cores=cores, profile=profile, dry=dry, folder=output_dir)))


def _applied(bids_dir: Path, model: str, extra: dict[str, Any]) -> str:
    """The config of a model that is applied."""
    import yaml

    from upfield.study.config import folder_of

    said = {"model": str(Path(folder_of(model)).absolute()), "bids_dir": str(bids_dir.absolute()), **extra}
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
