"""Sidecar fields of images, with BIDS inheritance; a damaged sidecar is named in the log and stops nothing."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield import foreign
from upfield.errors import UpfieldError


class Sidecars:
    """The sidecars of a dataset, each file and folder read once.

    `damaged` are those that could not be read, with the reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: dict[Path, str] = {}
        self._folders: dict[Path, list[tuple[Path, dict[str, str]]]] = {}
        self._fields: dict[Path, dict[str, Any]] = {}

    def fields(self, image: Path) -> tuple[dict[str, Any], str]:
        """The fields of an image, the nearest file's last word on each, and what is wrong with its sidecars."""
        found = self._files(image)
        fields: dict[str, Any] = {}
        for path in found:
            fields |= self._read(path)
        problems = [self.damaged[path] for path in found if path in self.damaged]
        return fields, "; ".join(problems)

    def _files(self, image: Path) -> list[Path]:
        """The sidecars that hold for an image, the farthest first."""
        query = _entities(image)
        folder, folders = image.parent, []
        while True:
            folders.append(folder)
            if folder in (self.root, folder.parent):
                break
            folder = folder.parent
        return [
            path
            for folder in reversed(folders)
            for path, entities in self._listed(folder)
            if all(query.get(key) == value for key, value in entities.items())
        ]

    def _listed(self, folder: Path) -> list[tuple[Path, dict[str, str]]]:
        """JSON files of a folder with their entities, those with fewer first; files of macOS (`._*`) are none."""
        if folder not in self._folders:
            try:
                paths = [path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
            except OSError as error:
                foreign.warn(f"{folder} cannot be looked through ({error.strerror}): sidecars in it are not read")
                paths = []
            known = [(path, _entities(path)) for path in sorted(paths)]
            self._folders[folder] = sorted((row for row in known if "suffix" in row[1]), key=lambda row: len(row[1]))
        return self._folders[folder]

    def _read(self, path: Path) -> Mapping[str, Any]:
        if path not in self._fields:
            self._fields[path] = {}
            try:
                self._fields[path] = foreign.read_object(path)
            except UpfieldError as error:
                self.damaged[path] = str(error)
                foreign.warn(f"{error}; nothing of it is used")
        return self._fields[path]


def beside(path: Path) -> dict[str, Any]:
    """The fields of the one sidecar of an image that is in no dataset; none, and a warning, if it is damaged."""
    if not os.path.lexists(path):
        return {}
    try:
        return foreign.read_object(path)
    except UpfieldError as error:
        foreign.warn(f"{error}; nothing of it is used")
        return {}


def _entities(path: Path) -> dict[str, str]:
    import bids2table as b2t

    found: dict[str, str] = b2t.parse_bids_entities(path.name)
    return {key: value for key, value in found.items() if key != "ext"}
