"""The steps that make the demo dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield.phantom.dataset import write_dataset, write_subject
from upfield.phantom.scanner import Phantom
from upfield.step import step


@step(version=0, memory=(600, 100), minutes=(0.2, 0.02))
def subject(root: str, number: str, settings: Mapping[str, Any]) -> None:
    """Simulate participant `number` (from 01); `settings` is the `phantom` of a study."""
    write_subject(Path(root), int(number) - 1, Phantom(**settings))


@step(version=0, memory=(150, 0), minutes=(0.1, 0))
def dataset(root: str, settings: Mapping[str, Any]) -> None:
    """Write what belongs to the dataset as a whole."""
    write_dataset(Path(root), Phantom(**settings))
