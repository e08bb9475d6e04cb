"""`upfield heads`: travelling heads whose truth is known, simulated from label maps."""

from pathlib import Path

import click

from upfield.errors import UpfieldError
from upfield.image.formats import images_in


@click.command(short_help="Simulate heads that travel between scanners, from label maps.")
@click.argument("maps", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--scanners", default="A,B,C,D", show_default=True, help="A: 3 T, B: 1.5 T, C: slices at 1.5 T, D: 0.055 T."
)
@click.option("--seed", default=42, show_default=True, type=click.IntRange(min=0), help="Of all that is drawn.")
def heads(maps: tuple[Path, ...], output: Path, scanners: str, seed: int) -> None:
    """Write a BIDS dataset to OUTPUT: each of MAPS (NIfTI files, or folders of them) seen by several scanners.

    MAPS have FreeSurfer's numbers. A head is drawn once, T1-weighted, and acquired by each scanner; what it is like is
    in OUTPUT/derivatives/truth. Everything is simulated.

    \b
    upfield heads data/labels travelling --scanners A,C
    """
    # Imported here: --help is quick then.
    from upfield.phantom import travelling

    wanted = [name for name in scanners.split(",") if name]
    unknown = next((name for name in wanted if name not in travelling.SCANNERS), None)
    if unknown is not None or not wanted:
        raise UpfieldError(f"--scanners is {scanners}; expected names among {', '.join(travelling.SCANNERS)}")
    if output.exists() and any(output.iterdir()):
        raise UpfieldError(f"{output} is there already; give a new folder")
    found = [file for path in maps for file in (images_in(path) if path.is_dir() else [path])]
    if not found:
        raise UpfieldError(f"{', '.join(map(str, maps))}: no label map (.nii, .nii.gz) is there")
    written = travelling.write(found, output, wanted, seed)
    click.echo(f"{output}: {len(written)} scans of {len(found)} heads")
