"""From per-subject values to what they allow to be said; the subject is the unit everywhere."""

from upfield.statistics.agreement import AGREEMENT, QUANTITIES, agreement
from upfield.statistics.board import CONFIDENCE, LEADERBOARD, leaderboard, subject_table
from upfield.statistics.compare import COMPARISONS, comparisons, holm
from upfield.statistics.outliers import OUTLIERS, outliers
from upfield.statistics.ranks import RANKS, ranks

__all__ = [
    "AGREEMENT",
    "COMPARISONS",
    "CONFIDENCE",
    "LEADERBOARD",
    "OUTLIERS",
    "QUANTITIES",
    "RANKS",
    "agreement",
    "comparisons",
    "holm",
    "leaderboard",
    "outliers",
    "ranks",
    "subject_table",
]
