"""What a folder is that is no BIDS dataset, and what to do then."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from upfield.bids import odd
from upfield.catalogue.rules import near

DESCRIPTION = "dataset_description.json"
# So many files of a folder say what is in it.
LOOKED = 200
# After the first 128 bytes of a DICOM file.
DICOM = b"DICM"


def no_dataset(folder: str | Path) -> str:
    """Why a folder is no BIDS dataset and what to do, as the end of a sentence that its name begins; empty if it is."""
    root = Path(folder)
    if (root / DESCRIPTION).is_file():
        return ""
    if not root.exists():
        meant = near(root.name, _folders(root.parent))
        return f", which is not there{f'; did you mean {root.with_name(meant)}?' if meant else ''}"
    if not root.is_dir():
        return ", which is a file; expected the folder of a BIDS dataset"
    missing = f", where there is no {DESCRIPTION}; "
    above = next((one for one in root.absolute().parents if (one / DESCRIPTION).is_file()), None)
    if above is not None:
        return f"{missing}it is a part of the dataset {above}: give that"
    folders = _folders(root)
    below = next((name for name in folders if (root / name / DESCRIPTION).is_file()), None)
    if below is not None:
        return f"{missing}did you mean {root / below}?"
    if any(name.startswith("sub-") for name in folders):
        return f'{missing}if it is a BIDS dataset, write one, such as {{"Name": "mine", "BIDSVersion": "1.10.0"}}'
    files = list(islice(_files(root), LOOKED))
    if any(_is_dicom(path) for path in files):
        return (
            f"{missing}it holds DICOM files: convert them to BIDS first (dcm2bids, HeuDiConv), list the series in a"
            " table (samples), or enhance single ones (upfield enhance)"
        )
    if any(odd.is_nifti(path.name) for path in files):
        return f"{missing}its images are not in BIDS: list them in a table (samples), or arrange them as BIDS wants"
    return f"{missing}expected a BIDS dataset"


def _folders(root: Path) -> list[str]:
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError:
        return []


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == DICOM
    except OSError:
        return False
