"""`upfield enhance`: scans without a study."""

import time
from pathlib import Path

import click

from upfield.errors import UpfieldError, closed
from upfield.image.formats import EXTENSIONS, split

# What derivatives have in their names, which are no scans to enhance.
MADE = ("_desc-", "_mask.", "_dseg.", "_probseg.")


@click.command(short_help="Enhance scans: files, folders, DICOM series, BIDS datasets.")
@click.argument("scans", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--model",
    default="restore",
    show_default=True,
    help="Folder of a trained model, or the name of one that comes with Upfield.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write: a file for one scan, or a folder; beside the scan unless given.",
)
@click.option("--skull-stripped", is_flag=True, help="The scans are skull-stripped: brain is what is above 0.")
@click.option("--tta", is_flag=True, help="Also enhance the mirror image, and average: twice the time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:0 and so on.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that are there.")
def enhance(
    scans: tuple[Path, ...],
    model: str,
    output: Path | None,
    skull_stripped: bool,
    tta: bool,
    device: str,
    overwrite: bool,
) -> None:
    """Enhance SCANS with a trained model.

    Without a model of your own it is `restore`, which comes with Upfield: it takes noise and blur of any contrast away,
    at 1 mm, and changes no contrast.

    A scan is a NIfTI file or the folder of a DICOM series; of any other folder, a BIDS dataset for one, all NIfTI files
    in it are taken that are no derivatives. Beside each image lie a sidecar, which says what was done, and a page with
    input, output and what to be careful about. A scan that cannot be used does not stop the others.

    \b
    upfield enhance sub-01_T1w.nii.gz
    upfield enhance sub-01_T1w.nii.gz --model results/my-study/models/upfield/fold-0_seed-42
    upfield enhance my-bids --model my-model --output enhanced
    """
    # Imported here: --help is quick then.
    from upfield.commands import single
    from upfield.study.config import defaults, folder_of
    from upfield.training.device import choose

    choose(device)
    used = single.Model.read(Path(folder_of(model)))
    jobs = _jobs(scans, output, str(used.card["method"]))
    usual = defaults()
    inference = {
        "overlap": usual["predict"]["overlap"],
        "tta": tta,
        "device": device,
        "precision": usual["train"]["precision"],
    }
    failed = 0
    for number, (scan, where) in enumerate(jobs, 1):
        started = time.monotonic()
        shown = f"{scan.name} ({number} of {len(jobs)})" if len(jobs) > 1 else scan.name
        try:
            if where.exists() and not overwrite:
                raise UpfieldError(f"{where} is there already; give --overwrite to replace it")
            # Said before minutes are spent on it.
            refused = closed(where.parent)
            if refused:
                raise UpfieldError(refused)
            done = single.enhance(scan, where, used, inference, skull_stripped)
        except UpfieldError as error:
            if len(jobs) == 1:
                raise UpfieldError(f"{shown}: {error}") from None
            failed += 1
            click.echo(f"upfield: {shown}: {error}", err=True)
            continue
        click.echo(f"{shown} -> {done.output}, page {done.page} ({time.monotonic() - started:.0f} s)")
        for warning in done.warnings:
            click.echo(f"  careful: {warning}", err=True)
    if failed:
        raise UpfieldError(f"{failed} of {len(jobs)} scans were not enhanced")


def _jobs(scans: tuple[Path, ...], output: Path | None, method: str) -> list[tuple[Path, Path]]:
    """Each scan with where its output goes. Raises UpfieldError where there is none, or outputs would collide."""
    found = [(scan, inside) for scan in scans for inside in _scans_in(scan)]
    if not found:
        raise UpfieldError(f"{', '.join(map(str, scans))}: no scan to enhance; expected NIfTI files or a DICOM series")
    if output is not None and output.name.endswith(EXTENSIONS):
        if len(found) > 1:
            raise UpfieldError(f"--output is one file, {output}, for {len(found)} scans; expected a folder")
        return [(found[0][1], output)]
    jobs = []
    for given, scan in found:
        folder = scan.parent
        if output is not None:
            folder = output / scan.parent.relative_to(given) if given.is_dir() and given != scan else output
        jobs.append((scan, folder / _named(scan, method)))
    taken: dict[Path, Path] = {}
    for scan, where in jobs:
        if taken.setdefault(where, scan) != scan:
            raise UpfieldError(f"{taken[where]} and {scan} would both be written to {where}; enhance them one by one")
    return jobs


def _scans_in(path: Path) -> list[Path]:
    """A file or a DICOM series itself; the NIfTI files of another folder that are no derivatives."""
    if not path.is_dir():
        return [path]
    images = sorted(found for found in path.rglob("*") if found.name.endswith(EXTENSIONS) and found.is_file())
    scans = [found for found in images if not any(word in found.name for word in MADE)]
    return scans if images else [path]


def _named(scan: Path, method: str) -> str:
    """The name of an output: that of the scan with `desc-<method>` before its suffix."""
    from upfield.bids import label

    stem, extension = split(scan)
    first, underscore, last = stem.rpartition("_")
    named = f"{first}_desc-{label(method)}_{last}" if underscore else f"{last}_desc-{label(method)}"
    return f"{named}{extension or '.nii.gz'}"
