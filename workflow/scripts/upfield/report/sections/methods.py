"""Methods text to paste into a paper, with its references."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from upfield.catalogue.methods import FITTED
from upfield.image.denoising import UNITS
from upfield.report import citing
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section


def build(context: MeasuredContext) -> dict[str, Any]:
    """Text and BibTeX."""
    told = [tuned(context.runs)] if context.trains else [learned(context.methods)]
    narrative = replace(context.narrative, evaluation=[*context.narrative.evaluation, *told])
    return {"citing": citing.written(context.config, context.provenance, context.named, narrative)}


def tuned(runs: Iterable[Mapping[str, Any]]) -> str:
    """What was chosen for the baseline `denoise` in each fold, as a clause; empty without cards of it."""
    chosen = []
    for run in runs:
        if run["method"] == "denoise" and "tuned_on" in run:
            said, part = run["settings"], {"val": "validation", "train": "training"}[run["tuned_on"]]
            what = f"{said['kind']} {said['strength']:g} {UNITS[said['kind']]}, {said['curve']} curve"
            chosen.append(f"{what} (fold {run.get('fold', 'n/a')}, {run['psnr']:.2f} dB PSNR on {part} participants)")
    return f"the baseline denoise was tuned to {'; '.join(chosen)}" if chosen else ""


def learned(methods: Iterable[str]) -> str:
    """Which baselines learned from the people that a given model was trained on, as a clause; empty if none."""
    fitted = [method for method in methods if method in FITTED]
    return f"{' and '.join(fitted)} had been fitted to the participants that the model was trained on" if fitted else ""


SECTION = Section(id="methods", title="Methods text", order=1300, of=MeasuredContext, build=build)
