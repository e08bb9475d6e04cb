"""The trainings: how long, how losses went, the last preview."""

from collections.abc import Mapping, Sequence
from typing import Any

from upfield.catalogue.methods import MODEL_FREE
from upfield.report import figures
from upfield.report.context import StudyContext
from upfield.report.sections import Section

# Models with pictures of their training; 0.2 MB each.
DRAWN = 12


def build(context: StudyContext) -> dict[str, Any]:
    """Every trained model."""
    return {"trained": _trained([run for run in context.runs if run["method"] not in context.external])}


def _trained(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trained models, the first `DRAWN` with their curves and preview: `drawn`."""
    networks = [run for run in runs if run["method"] not in MODEL_FREE]
    first = [{**run, "drawn": True, "curves": _curves(run)} for run in networks[:DRAWN]]
    return [*first, *({**run, "drawn": False, "curves": None, "last": None} for run in networks[DRAWN:])]


def _curves(run: Mapping[str, Any]) -> bytes | None:
    """A run's training curves; None without a history."""
    return figures.training_curves(run["history"], run.get("best_epoch")) if len(run["history"]) else None


SECTION = Section(id="training", title="Training", order=1200, of=StudyContext, build=build)
