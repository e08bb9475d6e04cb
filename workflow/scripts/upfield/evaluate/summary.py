"""What is made of all participants' tables: the steps around `tables`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from upfield.evaluate import statistics
from upfield.evaluate import tables as made
from upfield.evaluate.statistics import Primary
from upfield.evaluate.subject import COLUMNS, REFERENCE_COLUMNS
from upfield.evaluate.tissues import SEGMENTATION
from upfield.files import write_tsv
from upfield.step import step

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@step(version=5, memory=(300, 1), minutes=(0.1, 0.01))
def write_tables(
    values: Sequence[str],
    methods: Sequence[str],
    baselines: Sequence[str],
    seed: int,
    primary: Mapping[str, Any] = NOTHING,
    relevant: Mapping[str, float | None] = NOTHING,
    reference_values: Sequence[str] = (),
    perceptual: Sequence[str] = (),
    segmentations: Sequence[str] = (),
    **tables: str,
) -> None:
    """Write every table that `tables.summarise` makes, to the file that is named after it.

    A file for each test participant: `values` and `reference_values` of `subject.measure`, `perceptual` of
    `perceptual.measure`, `segmentations` of `tissues.segment_outputs`; what a study does not measure is left out.
    `primary` are the values of `statistics.Primary`, `relevant` the smallest differences that matter, by metric.
    """
    found = made.summarise(
        made.gathered([*values, *perceptual], COLUMNS),
        made.gathered(reference_values, REFERENCE_COLUMNS),
        made.gathered(segmentations, SEGMENTATION),
        methods=methods,
        baselines=baselines,
        seed=seed,
        primary=Primary(**primary),
        relevant=relevant,
    )
    for name, path in tables.items():
        write_tsv(path, found[name])


@step(version=0, memory=(300, 1), minutes=(0.1, 0.01))
def write_as_applied(values: Sequence[str], per_subject: str, leaderboard: str) -> None:
    """Write the rows of outputs as `apply` would deliver them, of all test participants, and their leaderboard.

    `values` are files of `subject.measure`.
    """
    found = made.gathered(values, COLUMNS)
    write_tsv(per_subject, found)
    write_tsv(leaderboard, statistics.leaderboard(found))


@step(version=0, memory=(300, 1), minutes=(0.1, 0.01))
def gather(parts: Mapping[str, Sequence[str]], tables: Sequence[str]) -> None:
    """Write the rows of the files of each name in `parts` as one table, in the order of `tables`."""
    for paths, table in zip(parts.values(), tables, strict=True):
        write_tsv(table, made.gathered(paths))
