"""From per-subject values to what they allow to be said; the subject is the unit everywhere."""

from upfield.evaluate.statistics.agreement import AGREEMENT, QUANTITIES, agreement
from upfield.evaluate.statistics.board import LEADERBOARD, gap, leaderboard, of_people, pair_table, subject_table
from upfield.evaluate.statistics.compare import COMPARISONS, comparisons, holm
from upfield.evaluate.statistics.outliers import OUTLIERS, outliers
from upfield.evaluate.statistics.plan import Primary
from upfield.evaluate.statistics.ranks import RANKS, ranks

__all__ = [
    "AGREEMENT",
    "COMPARISONS",
    "LEADERBOARD",
    "OUTLIERS",
    "QUANTITIES",
    "RANKS",
    "Primary",
    "agreement",
    "comparisons",
    "gap",
    "holm",
    "leaderboard",
    "of_people",
    "outliers",
    "pair_table",
    "ranks",
    "subject_table",
]
