"""Images that are not quite named as BIDS wants: none may vanish without a word."""

import re
from pathlib import Path

from upfield.image.formats import EXTENSIONS

# Of images in other formats, which are converted first; of a pair of files (.hdr and .img) the one with the voxels.
OTHERS = (
    ".nii.bz2", ".nii.xz", ".nii.zst", ".nii.zip", ".img", ".img.gz", ".mgz", ".mgh", ".mnc", ".nrrd", ".nhdr", ".mif",
    ".mif.gz", ".par", ".dcm", ".ima",
)  # fmt: skip
FORMATS = (*EXTENSIONS, *OTHERS)
ENDING = re.compile("|".join(rf"{re.escape(ending)}$" for ending in FORMATS), re.IGNORECASE)
LABEL = re.compile(r"[A-Za-z0-9]+")
FOLDER = re.compile(r"sub-[A-Za-z0-9]+(/ses-[A-Za-z0-9]+)?/[a-z]+")
# `+` is allowed in labels of newer datasets; everything else means something to a shell or to a pattern.
NAME = re.compile(r"[A-Za-z0-9+_-]+")
# Characters: those of outputs add up to a hundred, and a file system takes 255.
LONGEST = 140


def extension(name: str) -> str:
    """The extension of an image's name as it is written; of another file what follows the first dot."""
    found = ENDING.search(name)
    return found[0] if found else name[name.index(".") :] if "." in name else ""


def stem(name: str) -> str:
    """An image's name without its extension."""
    return name.removesuffix(extension(name))


def is_nifti(name: str) -> bool:
    """Whether an image is called as NIfTI files are, in letters of either case."""
    return extension(name).lower() in EXTENSIONS


def is_named(name: str) -> bool:
    """Whether an image's name begins as BIDS wants and ends in what can be a suffix."""
    suffix = stem(name).rsplit("_", 1)[-1]
    return name.startswith("sub-") and suffix != "" and "-" not in suffix


def entities(path: Path) -> dict[str, str]:
    """Entities of an image below its dataset's folder, as far as they can be told; `sub` and `ses` are its folder's.

    In `sub-A_1_ses-2_T1w` the participant is `A_1` if that is what the folder says.
    """
    name = stem(path.name)
    folder = {
        key: part.removeprefix(f"{key}-")
        for part, key in zip(path.parts[:-1], ("sub", "ses"), strict=False)
        if part.startswith(f"{key}-")
    }
    for key, value in folder.items():
        name = re.sub(rf"(^|_){key}-{re.escape(value)}(?=_|$)", "", name)
    *parts, suffix = name.strip("_").split("_")
    found = dict(part.split("-", 1) for part in parts if "-" in part)
    datatype = {"datatype": path.parent.name} if len(path.parts) > len(folder) + 1 else {}
    return {**found, **folder, "suffix": suffix, **datatype}


def problem(path: Path) -> str:
    """What is wrong with the name of an image below its dataset's folder; empty if nothing is."""
    ending = extension(path.name)
    if ending not in EXTENSIONS:
        convert = ": convert the image" if ending.lower() in OTHERS else ""
        return f"its name ends in {ending}; expected .nii or .nii.gz{convert}"
    if len(path.name) > LONGEST:
        return (
            f"its name has {len(path.name)} characters; expected at most {LONGEST}, since names of outputs are longer"
        )
    folders = dict(zip(("sub", "ses"), path.parts[:-1], strict=False))
    for key, folder in folders.items():
        label = folder.removeprefix(f"{key}-")
        if folder.startswith(f"{key}-") and not LABEL.fullmatch(label):
            return f"{label!r} in {folder} is no BIDS label; expected letters and digits only"
    name = stem(path.name)
    for key, folder in folders.items():
        said = next((part for part in name.split("_") if part.startswith(f"{key}-")), None)
        if said is not None and folder.startswith(f"{key}-") and said != folder:
            return f"its name says {said}, its folder {folder}; expected the same"
    if not FOLDER.fullmatch(path.parent.as_posix()):
        return f"it is in the folder {path.parent.as_posix()}; expected sub-<label>[/ses-<label>]/<datatype>"
    if not NAME.fullmatch(name):
        return f"{name!r:.60} is no BIDS name; expected entities of letters and digits, such as sub-01_T1w"
    return ""
