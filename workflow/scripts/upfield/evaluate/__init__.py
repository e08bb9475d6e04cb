"""Evaluation of the test participants: metrics, tissues, and the tables made of them."""

from upfield.evaluate.subject import COLUMNS, OWN, measure
from upfield.evaluate.tables import TABLES, gathered, summarise
from upfield.evaluate.tissues import SEGMENTATION, segment_outputs, segment_truth

__all__ = [
    "COLUMNS",
    "OWN",
    "SEGMENTATION",
    "TABLES",
    "gathered",
    "measure",
    "segment_outputs",
    "segment_truth",
    "summarise",
]
