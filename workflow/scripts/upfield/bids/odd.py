"""Images that are not quite named as BIDS wants: none may vanish without a word."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from upfield import foreign

EXTENSIONS = (".nii", ".nii.gz")
ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
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
        return f"its name ends in {ending}; expected .nii or .nii.gz"
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


def unlisted(root: Path, listed: Iterable[str]) -> list[Path]:
    """Images, relative to `root`, of participants' folders whose name is no BIDS label: no listing has them.

    A folder without one image that is named as BIDS wants, but with others, is named in the log.
    """
    known = {Path(path).parts[0] for path in listed if extension(Path(path).name).lower() in EXTENSIONS}
    result = []
    for folder in sorted(_participants(root)):
        if folder.name in known:
            continue
        images = [path.relative_to(root) for path in _images(folder)]
        named = [path for path in images if folder.name.startswith("sub-") and path.name.startswith("sub-")]
        named = [path for path in named if not LABEL.fullmatch(folder.name.removeprefix("sub-"))]
        result += named
        if images and not named:
            foreign.warn(f"{folder}: no image in it is named as BIDS wants ({images[0].name} ...); none is used")
    return result


def _participants(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.lower().startswith("sub-") and entry.is_dir():
                yield root / entry.name


def _images(folder: Path) -> list[Path]:
    return sorted(
        Path(place) / name
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if extension(name).lower() in EXTENSIONS and not name.startswith(".")
    )
