"""`upfield demo`: the whole workflow on simulated heads."""

import click

from upfield.commands.launch import Call
from upfield.commands.run import study
from upfield.place import ROOT


@click.command(short_help="Run the demo: ten simulated heads, in minutes on a CPU.")
@click.option("--cores", metavar="N", help="Cores to use; all unless given.")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Say what would be done, and do nothing.")
@click.pass_context
def demo(context: click.Context, cores: str | None, dry: bool) -> None:
    """Run the demo study in this folder: data/phantom and results/demo are made here.

    Ten simulated heads, each at 64 mT and 3 T. The numbers of its report say nothing about real scans.
    """
    # The profile names its config from the project's folder.
    config = ROOT / "config" / "examples" / "demo.yaml"
    context.exit(study(Call(config, cores=cores, profile="demo", dry=dry)))
