"""The answer to "did it work?": in a sentence, three numbers, pictures and a chart; then where the winner loses."""

from typing import Any

from upfield.evaluate.statistics import decide
from upfield.report import glance, tables, winner
from upfield.report.context import MeasuredContext
from upfield.report.headline import POINTS, Headline, headline
from upfield.report.sections import Section, harmonization, leaderboard

# What stands in the circle beside the answer, and how it is read out.
SIGNS = {
    "yes": ("✓", "yes"),
    "no": ("✗", "no"),
    "same": ("=", "the same"),
    "open": ("?", "open"),
    "none": ("–", "no answer"),
}


def build(context: MeasuredContext) -> dict[str, Any]:
    """Notices, headline and sentences on the winner; of cohorts where the study has no target images."""
    table = context.table
    comparisons = table["metrics/comparisons"]
    first = decide.primary_metric(comparisons, tables.PRIMARY[0])
    sentences: list[str] = []
    if harmonization.applies(context):
        said = harmonization.headline(harmonization.harmonization(table)["rows"])
    else:
        said = _said(context, first)
        sentences = winner.sentences(table["metrics/per_subject"], context.scores["psnr"], comparisons)
    sight = glance.sight(context, first, said.best)
    return {
        "notices": context.narrative.notices,
        "headline": said,
        "sign": _sign(said),
        "tiles": glance.tiles(context, first, said.best, said.rival),
        "sight": sight,
        "bar": None if sight is None else glance.bar(sight),
        "charts": leaderboard.subject_charts(context)[:1],
        "winner": sentences,
    }


def _sign(said: Headline) -> tuple[str, str]:
    """The sign of a headline, and how it is read out."""
    shown, words = SIGNS[said.state]
    return shown, f"{POINTS}{words}".capitalize() if said.few else words


def _said(context: MeasuredContext, first: str) -> Headline:
    values = context.table["metrics/per_subject"]
    told = list(dict.fromkeys([first, *tables.PRIMARY]))[:2]
    scores = {metric: tables.per_subject(values, metric) for metric in told}
    return headline(scores, context.table["metrics/comparisons"], context.external)


SECTION = Section(id="result", title="Result", order=100, of=MeasuredContext, build=build, heading="Did it work?")
