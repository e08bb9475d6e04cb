"""The answer to "did it work?", and where the winner loses."""

from typing import Any

from upfield.report import winner
from upfield.report.context import StudyContext
from upfield.report.headline import headline
from upfield.report.sections import Section, harmonization


def build(context: StudyContext) -> dict[str, Any]:
    """Notices, headline and sentences on the winner; of cohorts where the study has no target images."""
    table, scores = context.table, context.scores
    comparisons = table["metrics/comparisons"]
    if harmonization.applies(context):
        said, sentences = harmonization.headline(harmonization.harmonization(table)["rows"]), []
    else:
        said = headline(scores["psnr"], scores["ssim"], comparisons)
        sentences = winner.sentences(table["metrics/per_subject"], scores["psnr"], comparisons)
    return {"notices": context.narrative.notices, "headline": said, "winner": sentences}


SECTION = Section(id="result", title="Result", order=100, of=StudyContext, build=build, heading="Did it work?")
