"""The demo dataset of a study: its scans are known before they exist."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield.bids import Scan
from upfield.phantom import Phantom, scans


def settings(config: Mapping[str, Any]) -> Phantom:
    """Settings of the demo dataset."""
    return Phantom(**config["phantom"])


def numbers(config: Mapping[str, Any]) -> list[str]:
    """The labels of its participants."""
    return [f"{number + 1:02d}" for number in range(settings(config).subjects)]


def planned_scans(config: Mapping[str, Any]) -> list[Scan]:
    """The scans that the phantom will have, by side."""
    found = []
    for role in ("source", "target"):
        folder, wanted = config[role]["bids_dir"], config[role]["entities"]
        for path in scans(settings(config)):
            if f"_ses-{wanted['session']}_" in path.name:
                stem, suffix = path.name.split(".")[0].rsplit("_", 1)
                participant, session = stem.split("_")
                found.append(
                    Scan(
                        participant=participant,
                        role=role,
                        path=str(Path(folder) / path),
                        folder=str(path.parent),
                        name=stem,
                        suffix=suffix,
                        session=session.removeprefix("ses-"),
                    )
                )
    return found
