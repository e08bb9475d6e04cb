"""`upfield`, the command: its subcommands, and how it ends."""

import logging
import sys

import click

import upfield
from upfield import home
from upfield.commands.enhance import enhance
from upfield.commands.heads import heads
from upfield.errors import UpfieldError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(upfield.__version__, prog_name="Upfield")
def upfield_command() -> None:
    """Upfield: enhance MR images with trained models.

    Studies that train and compare models are run by snakemake, see README.md.
    """


for command in (enhance, heads):
    upfield_command.add_command(command)


def main() -> None:
    """Run the command line; what the user can mend is one line, without a traceback."""
    home.settle()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        upfield_command(prog_name="upfield")
    except UpfieldError as error:
        sys.exit(f"upfield: {error}")


if __name__ == "__main__":
    main()
