"""What a design says of a study, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Narrative:
    """Texts of a study's design, as plain values.

    Attributes
    ----------
    notices
        Plain sentences shown above everything else, such as "The data are a phantom."
    input
        What the source is where it is no dataset of its own; empty otherwise.
    source
        Sentence of the methods text on where sources come from; may be empty.
    evaluation
        Clauses of the methods text on what outputs were compared with, with keys of references in brackets.
    native_grid
        What a native working grid is.
    not_applied
        Why nothing was measured as `apply` would deliver it, a clause; empty where it was, or where nothing could be.
    trained
        Clauses of the methods text on a model that was given, in the place of those on training and splits.
    skipped
        Rooms and modules of preprocessing, such as `preprocess.registration`, that the design does not run.

    """

    notices: Sequence[str] = ()
    input: str = ""
    source: str = ""
    evaluation: Sequence[str] = ()
    native_grid: str = "the target's own grid"
    not_applied: str = ""
    trained: Sequence[str] = ()
    skipped: frozenset[str] = frozenset()
