"""`upfield run`: a study, or some of its stages, from any folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from upfield.commands import launch
from upfield.commands.launch import Call, with_preset

if TYPE_CHECKING:
    from upfield.commands.follow import Follower


class WithOptions(click.Command):
    """A command that keeps what stands behind `--` for Snakemake, in `context.obj`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.obj = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say so."""
        pieces = [*self.collect_usage_pieces(ctx), "[-- SNAKEMAKE_OPTIONS]"]
        formatter.write_usage(ctx.command_path, " ".join(pieces))


@click.command(cls=WithOptions, short_help="Run a study, or stages of it, up to the report.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("targets", nargs=-1)
@click.option("--cores", metavar="N", help="Cores to use, or all; all unless a profile says.")
@click.option("--profile", metavar="NAME", help="A profile of Snakemake, such as slurm.")
@with_preset
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Show all that Snakemake says.")
@click.pass_context
def run(
    context: click.Context,
    config: Path,
    targets: tuple[str, ...],
    cores: str | None,
    profile: str | None,
    preset: str | None,
    dry: bool,
    verbose: bool,
) -> None:
    """Run the study of CONFIG up to its report, or up to TARGETS: preprocess, qc, train, predict, evaluate and so on.

    After a summary there is a line for each stage: how far it is, whom it works on, how long it will take; all that
    Snakemake says is in the study's logs/run.log. What is made already is kept: after Ctrl-C, or a failure, the same
    command goes on. Relative paths in CONFIG start in the folder that you are in, which also gets Snakemake's records
    (.snakemake). Whatever stands behind -- is handed to Snakemake.

    \b
    upfield run my-study.yaml -n
    upfield run my-study.yaml preprocess split --cores 4
    upfield run my-study.yaml --preset cpu-small
    upfield run my-study.yaml -- --config study=second -R measure
    """
    call = Call(config, targets, cores, profile, dry, options=context.obj, preset=preset, verbose=verbose)
    context.exit(study(call))


def study(call: Call) -> int:
    """Run a study; says where its report is if that was made. Returns Snakemake's exit code, raises UpfieldError."""
    call.check()
    code = launch.run(call) if call.verbose or call.dry else launch.run(call, _follower(call))
    if code == 0 and not call.dry and set(call.targets) <= {"report", "apply"}:
        say_report(call)
    return code


def _follower(call: Call) -> "Follower":
    """What follows a run; its log is in the study's folder, or beside Snakemake's records where that is not known."""
    # Imported here: --help is quick then.
    from upfield.bids.layout import Layout
    from upfield.commands.follow import Follower
    from upfield.study import kinds
    from upfield.study.scans import root_of

    known = call.config is not None and not call.overridden
    log = Layout(root_of(kinds.read(*call.configs)))("log", job="run") if known else ".snakemake/log/upfield.log"
    return Follower(call, Path(call.folder or "", log))


def say_report(call: Call) -> None:
    """Say where the report of a study is, if it is there."""
    # Imported here: --help is quick then.
    from upfield.bids.layout import Layout
    from upfield.study import kinds
    from upfield.study.scans import root_of

    if not call.configs or call.overridden:
        return
    page = Path(call.folder or "", Layout(root_of(kinds.read(*call.configs)))("report"))
    if page.is_file():
        click.echo(f"The report: {page.resolve()}")
