"""`upfield init`: a config for a dataset that nobody has described yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upfield.errors import UpfieldError

if TYPE_CHECKING:
    from upfield.study.propose import Proposal
    from upfield.study.survey import Survey


@click.command(short_help="Look at a BIDS dataset, and write a config that fits it.")
@click.argument("bids_dir", type=click.Path(path_type=Path))
@click.argument("target_dir", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default="config.yaml", show_default=True,
              help="Where to write the config.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a config that is there.")
def init(bids_dir: Path, target_dir: Path | None, output: Path, overwrite: bool) -> None:
    """Look at BIDS_DIR, and write a short config with comments, which runs as it is.

    Two sessions of the same people become a paired study, the scans of lower field or larger voxels its source. One
    kind of scan becomes a simulated one. Two scanners, or a second dataset, TARGET_DIR, become an unpaired one. Nothing
    is written but the config.

    \b
    upfield init /data/my-bids -o my-study.yaml
    """
    if output.exists() and not overwrite:
        raise UpfieldError(f"{output} is there already; give --overwrite to replace it, or another name with --output")
    # Imported here: --help is quick then.
    from upfield.files import write_text
    from upfield.study import propose

    surveys = [look(one) for one in (bids_dir, target_dir) if one is not None]
    found = propose.of_one(*surveys) if target_dir is None else propose.of_two(*surveys)
    write_text(output, config_of(found, str(output)))
    click.echo(f"{output}: a study with pairing {found.pairing} of {found.people} participants.")
    click.echo(f"Next: upfield check {output}")


def look(folder: Path, labels: Sequence[str] = ()) -> "Survey":
    """Look at a dataset, or at some of its participants, and print what was seen as a table. Raises UpfieldError."""
    # Imported here: --help is quick then.
    from upfield.study.survey import Survey

    survey = Survey(folder, labels)
    click.echo(f"{survey.folder}\n{survey.table.to_string(index=False)}\n")
    if survey.unreadable:
        click.echo(f"careful: {len(survey.unreadable)} of the scans that were opened cannot be read", err=True)
    return survey


def config_of(found: "Proposal", file: str, extra: Mapping[str, Any] | None = None) -> str:
    """The config of a study, as text that is known to be valid; `file` is its path, `extra` are more keys of it."""
    # Imported here: --help is quick then.
    import yaml

    from upfield.study import config, propose
    from upfield.training.device import choose

    text = propose.text(found, choose("auto").type == "cuda", file, extra)
    config.check(config.whole(yaml.safe_load(text)))
    return text
