"""The study's report: one HTML page that opens from disk and needs nothing else."""

from upfield.report.figures import SubjectImages
from upfield.report.page import build, notices

__all__ = ["SubjectImages", "build", "notices"]
