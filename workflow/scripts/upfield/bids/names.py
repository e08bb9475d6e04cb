"""How derivatives are called."""

from pathlib import Path

from upfield.bids.scan import Scan


def derivative(root: str | Path, scan: Scan, description: str, suffix: str | None = None, extra: str = "") -> str:
    """Path of a derivative: `<root>/<folder>/<name>[_extra]_desc-<description>_<suffix>.nii.gz`.

    BIDS allows only letters and digits in a label, so anything else is dropped (`unet3d_patchgan` becomes
    `unet3dpatchgan`).
    """
    middle = f"_{extra}" if extra else ""
    return f"{root}/{scan.folder}/{scan.name}{middle}_desc-{label(description)}_{suffix or scan.suffix}.nii.gz"


def label(text: str) -> str:
    """`text` as a BIDS label: letters and digits only."""
    return "".join(character for character in text if character.isalnum())


def reconstructed(name: str, kind: str) -> str:
    """`name` with the entity `rec-<kind>` where BIDS wants it: after acq and ce, before run; added to an old one."""
    first: list[str] = []
    last: list[str] = []
    for entity in name.split("_"):
        key, _, value = entity.partition("-")
        if key == "rec":
            kind = value + kind
        else:
            (first if key in ("sub", "ses", "sample", "acq", "ce") else last).append(entity)
    return "_".join([*first, f"rec-{kind}", *last])


def sidecar(path: str | Path) -> Path:
    """The JSON file that belongs to an image or a transform."""
    return Path(str(path).removesuffix(".gz")).with_suffix(".json")
