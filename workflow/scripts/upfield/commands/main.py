"""`upfield`, the command: its subcommands, and how it ends."""

import logging
import signal
import sys
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError

import upfield
from upfield import home
from upfield.commands.app import LEVELS, app
from upfield.commands.check import check
from upfield.commands.demo import demo
from upfield.commands.enhance import enhance
from upfield.commands.heads import heads
from upfield.commands.init import init
from upfield.commands.report import report
from upfield.commands.run import run
from upfield.commands.segment import segment
from upfield.errors import UpfieldError, of_machine


class Commands(click.Group):
    """The subcommands in the order in which one meets them; a folder in their place is a dataset, as for BIDS Apps."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line, in which a subcommand stands before a folder of the same name."""
        if args and args[0] not in self.commands and (Path(args[0]).is_dir() or set(LEVELS) & set(args[1:])):
            args = [str(app.name), *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names as they were added."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(upfield.__version__, prog_name="Upfield")
def upfield_command() -> None:
    """Upfield: from MR images in BIDS to trained enhancement models and a report that compares them.

    \b
    upfield init /data/my-bids      look at a dataset, write config.yaml
    upfield check config.yaml       what would run
    upfield run config.yaml         run it, up to the report

    \b
    upfield BIDS_DIR OUTPUT_DIR participant [--model MODEL] [--participant-label LABEL ...]
                                    the same as a BIDS App (upfield bids-app --help)
    eval "$(_UPFIELD_COMPLETE=bash_source upfield)"
                                    completion in bash (zsh_source, fish_source in others)
    """


for command in (init, check, run, report, demo, enhance, segment, heads, app):
    upfield_command.add_command(command)


def main() -> None:
    """Run the command line; what the user can mend is one line, without a traceback."""
    home.settle()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        code = upfield_command(prog_name="upfield", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        named = error.ctx.command_path if error.ctx is not None else "upfield"
        click.echo(f"upfield: {' '.join(error.format_message().split())} ({named} --help)", err=True)
        code = error.exit_code
    except click.Abort:
        code = 128 + signal.SIGINT
    except (UpfieldError, OSError, MemoryError) as error:
        told = str(error) if isinstance(error, UpfieldError) else of_machine(error)
        if told is None:
            raise
        code = f"upfield: {told}"
    sys.exit(code)


if __name__ == "__main__":
    main()
