"""The study's report: one HTML page that opens from disk and needs nothing else."""

from upfield.report.page import build, notices
from upfield.report.panels import SubjectImages

__all__ = ["SubjectImages", "build", "notices"]
