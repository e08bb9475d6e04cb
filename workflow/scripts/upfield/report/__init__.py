"""The study's report: one HTML page that opens from disk and needs nothing else; another for an applied model."""

from upfield.report.applied import Enhanced, build_applied
from upfield.report.page import build, notices
from upfield.report.subject import SubjectImages

__all__ = ["Enhanced", "SubjectImages", "build", "build_applied", "notices"]
