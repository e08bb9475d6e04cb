"""The images of a dataset, each once: links are followed, but none into a folder that is looked through anyway."""

import os
from collections.abc import Iterable
from pathlib import Path

from upfield import foreign
from upfield.bids import odd


def listing(bids_dir: str | Path) -> list[Path]:
    """The images of a dataset's participants, relative to its folder, in path order; nothing is opened.

    Those of another format than NIfTI are among them where there is no NIfTI of the same name. A folder without one
    image that is named as BIDS wants, but with others, is named in the log, and so are links that lead back to a folder
    that they are in, folders that cannot be looked through, and how many.
    """
    root = Path(bids_dir).resolve()
    looked = _Looked(root)
    result: list[Path] = []
    for folder in sorted(looked.folders(root)):
        if not folder.name.lower().startswith("sub-"):
            continue
        images = _one_format(looked.images(folder))
        named = [path for path in images if folder.name.startswith("sub-") and odd.is_named(path.name)]
        result += named
        if images and not named:
            foreign.warn(f"{folder}: no image in it is named as BIDS wants ({images[0].name} ...); none is used")
    looked.say()
    return [path.relative_to(root) for path in result]


def _one_format(images: Iterable[Path]) -> list[Path]:
    """The images, of which another format gives way to the NIfTI of the same name beside it."""
    images = list(images)
    nifti = {path.with_name(odd.stem(path.name)) for path in images if odd.is_nifti(path.name)}
    return [path for path in images if odd.is_nifti(path.name) or path.with_name(odd.stem(path.name)) not in nifti]


class _Looked:
    """A look through folders of a dataset, with what could not be looked through."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.above = {root, *root.parents}
        self.circles: list[str] = []
        self.closed: list[str] = []

    def images(self, folder: Path) -> list[Path]:
        """The images below a folder, in path order. What a link leads to comes after what lies there itself."""
        seen = set(self.above)
        found: list[Path] = []
        places, links = [folder], list[Path]()
        while places or links:
            place = places.pop() if places else links.pop(0)
            real = place.resolve()
            if real in seen:
                self.circles.append(f"{place} leads to {real}")
                continue
            seen.add(real)
            inside = self._entries(place)
            images = [entry for entry in inside if odd.extension(entry.name).lower() in odd.FORMATS]
            found += [place / entry.name for entry in images]
            folders = [entry for entry in inside if entry not in images and _is_folder(entry)]
            places += [place / entry.name for entry in folders if not entry.is_symlink()]
            links += [place / entry.name for entry in folders if entry.is_symlink()]
        return sorted(found)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder."""
        return [folder / entry.name for entry in self._entries(folder) if _is_folder(entry)]

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            self.closed.append(f"{folder}: {error.strerror}")
            return []

    def say(self) -> None:
        """What was left out, once."""
        for what, places in (
            ("a link leads back to a folder that is looked through anyway, and is not followed", self.circles),
            ("a folder cannot be looked through, and no scan in it is found", self.closed),
        ):
            more = f", and {len(places) - 1} more" if places[1:] else ""
            if places:
                foreign.warn(f"{self.root}: {what} ({min(places)}{more})")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself.
        return False
