"""`upfield segment`: the structures of a scan, without a study."""

import time
from pathlib import Path

import click

from upfield.errors import ScanError, UpfieldError
from upfield.image.formats import EXTENSIONS, split


@click.command(short_help="Name the structures of the brain in a scan, and measure them.")
@click.argument("scan", type=click.Path(exists=True, path_type=Path))
@click.option("--model", required=True, help="Folder of a trained segmenter, such as results/anatomy/models/anatomy.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write: an image, or a folder; beside the scan unless given.",
)
@click.option("--skull-stripped", is_flag=True, help="The scan is skull-stripped: brain is what is above 0.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that are there.")
def segment(scan: Path, model: str, output: Path | None, skull_stripped: bool, device: str, overwrite: bool) -> None:
    """Name the structures of the brain in SCAN, whatever its contrast.

    SCAN is a NIfTI file. Beside the label image lie its sidecar, the table of its labels, and the volume of every
    structure in ml (`..._morph.tsv`).

    \b
    upfield segment sub-01_T1w.nii.gz --model results/anatomy/models/anatomy
    """
    # Imported here: --help is quick then.
    from upfield.commands import alone
    from upfield.study.config import folder_of

    where = _output(scan, output)
    if where.exists() and not overwrite:
        raise UpfieldError(f"{where} is there already; give --overwrite to replace it")
    started = time.monotonic()
    try:
        table = alone.segment(scan, where, Path(folder_of(model)), skull_stripped, device)
    except ScanError as error:
        raise UpfieldError(f"{scan.name}: {error}") from None
    click.echo(f"{scan.name} -> {where}, {len(table)} structures ({time.monotonic() - started:.0f} s)")


def _output(scan: Path, output: Path | None) -> Path:
    """Where the label image goes: `desc-anatomy` and `dseg` in the place of the scan's suffix."""
    if scan.is_dir() or not scan.name.endswith(EXTENSIONS):
        raise UpfieldError(f"{scan} is no NIfTI file (.nii, .nii.gz)")
    if output is not None and output.name.endswith(EXTENSIONS):
        return output
    stem, _ = split(scan)
    first, underscore, last = stem.rpartition("_")
    name = first if underscore and last.isalnum() else stem
    return (scan.parent if output is None else output) / f"{name}_desc-anatomy_dseg.nii.gz"
