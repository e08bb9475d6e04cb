"""The progress bar of a training, where tqdm is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """What the training loop tells a progress bar."""

    def update(self) -> object:
        """One step more is done."""

    def set_postfix(self, **values: Any) -> object:
        """Show these values beside the bar."""


class Silent:
    """A bar that shows nothing."""

    def update(self) -> None:
        """Show nothing."""

    def set_postfix(self, **values: Any) -> None:
        """Show nothing."""


@contextmanager
def progress(total: int, done: int, shown: bool) -> Iterator[Bar]:
    """A bar over `total` steps of which `done` are taken; silent if it is not to be `shown`, or without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        # A bar is a comfort: machines that only train need not have it.
        yield Silent()
        return
    with tqdm(total=total, initial=done, desc="training", unit="step", disable=not shown) as bar:
        yield bar
