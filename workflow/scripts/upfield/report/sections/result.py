"""The answer to "did it work?", and where the winner loses."""

from typing import Any

from upfield.evaluate.statistics import decide
from upfield.report import tables, winner
from upfield.report.context import MeasuredContext
from upfield.report.headline import headline
from upfield.report.sections import Section, harmonization


def build(context: MeasuredContext) -> dict[str, Any]:
    """Notices, headline and sentences on the winner; of cohorts where the study has no target images."""
    table, scores = context.table, context.scores
    comparisons = table["metrics/comparisons"]
    if harmonization.applies(context):
        said, sentences = harmonization.headline(harmonization.harmonization(table)["rows"]), []
    else:
        values, first = table["metrics/per_subject"], decide.primary_metric(comparisons, tables.PRIMARY[0])
        told = list(dict.fromkeys([first, *tables.PRIMARY]))[:2]
        said = headline({metric: tables.per_subject(values, metric) for metric in told}, comparisons, context.external)
        sentences = winner.sentences(table["metrics/per_subject"], scores["psnr"], comparisons)
    return {"notices": context.narrative.notices, "headline": said, "winner": sentences}


SECTION = Section(id="result", title="Result", order=100, of=MeasuredContext, build=build, heading="Did it work?")
