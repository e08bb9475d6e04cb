"""`upfield report`: the report of a study, and where it is."""

from pathlib import Path

import click

from upfield.commands.launch import Call, with_preset
from upfield.commands.run import study


@click.command(short_help="Make the report of a study, and say where it is.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--cores", metavar="N", help="Cores to use; all unless given.")
@with_preset
@click.pass_context
def report(context: click.Context, config: Path, cores: str | None, preset: str | None) -> None:
    """Make the report of the study of CONFIG, with what it needs and is not made yet, and say where it is.

    \b
    upfield report my-study.yaml
    """
    context.exit(study(Call(config, cores=cores, preset=preset)))
