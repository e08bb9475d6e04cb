"""Methods text to paste into a paper, with its references."""

from typing import Any

from upfield.report import citing
from upfield.report.context import StudyContext
from upfield.report.sections import Section


def build(context: StudyContext) -> dict[str, Any]:
    """Text and BibTeX."""
    return {"citing": citing.written(context.config, context.provenance, context.named, context.narrative)}


SECTION = Section(id="methods", title="Methods text", order=1300, of=StudyContext, build=build)
