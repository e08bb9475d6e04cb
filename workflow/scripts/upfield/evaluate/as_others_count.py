"""Every method by the scores of papers and challenges, in tables of their own: nothing else reads them."""

from collections.abc import Sequence

import pandas as pd

from upfield.catalogue.metrics import OTHERS, RANK_SUM
from upfield.evaluate import statistics
from upfield.evaluate.case import Case, Said
from upfield.evaluate.metrics import others
from upfield.evaluate.metrics.volume import VOLUME
from upfield.evaluate.statistics import LEADERBOARD
from upfield.evaluate.subject import COLUMNS
from upfield.evaluate.tables import gathered
from upfield.files import write_tsv
from upfield.image import nifti
from upfield.step import step

# What the order of MRIxFields is made of, as far as it is computed here.
RANKED = [metric for metric in OTHERS if metric.name in ("mrixfields_nrmse", "mrixfields_ssim")]


@step(version=0, memory=(400, 200), minutes=(0.1, 0.1))
def measure(case: Said, values: str) -> None:
    """Write what `measured` gives of a test participant."""
    write_tsv(values, measured(Case.of(case)))


def measured(case: Case) -> pd.DataFrame:
    """Rows of `COLUMNS` of every output by every metric of `metrics.others`; none if the pair was excluded.

    Errors as for `Case.output`.
    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS)
    target = case.reference_image
    axial = nifti.world_axes(target.affine).index(2)
    rows = [
        (*case.row(method), "test", *row)
        for method in case.outputs
        for row in others.measure(case.output(method), target.data, case.brain, axial)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@step(version=0, memory=(300, 1), minutes=(0.1, 0.01))
def summarise(values: Sequence[str], per_subject: str, leaderboard: str) -> None:
    """Write the rows of all test participants, whose files of `measure` are `values`, and their leaderboard.

    The leaderboard also has the sum of ranks of MRIxFields, see `rank_sums`.
    """
    found = gathered(values, COLUMNS)
    board = statistics.leaderboard(found)
    write_tsv(per_subject, found)
    both = pd.concat([part for part in (board, rank_sums(board)) if len(part)] or [board])
    write_tsv(leaderboard, both.sort_values(LEADERBOARD[:4], ignore_index=True))


def rank_sums(board: pd.DataFrame) -> pd.DataFrame:
    """The order of MRIxFields 2026 as rows of a leaderboard: `mean` is the sum of a method's ranks.

    Methods are ranked by the mean over participants of each metric of `RANKED`, 1 is best, and the ranks added: the
    lowest sum is first. The organizers do not say what ties do; here they share. A method without a value of one of
    them has no row. There is no interval: it is a place among these methods, all baselines included.
    """
    parts = [board[board["metric"] == metric.name].set_index("method") for metric in RANKED]
    ranks = [part["mean"].rank(ascending=RANKED[k].better == "lower") for k, part in enumerate(parts)]
    sums = pd.concat(ranks, axis=1).sum(axis=1, skipna=False).dropna().sort_index()
    rows = pd.DataFrame({"method": sums.index, "mean": sums.to_numpy(), "n": parts[0]["n"].reindex(sums.index)})
    return rows.assign(split="test", region=VOLUME, metric=RANK_SUM).reindex(columns=LEADERBOARD)
