"""The answer of a harmonization study: what a scanner classifier can still tell, and what happened to the anatomy."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.catalogue.methods import MODEL_FREE
from upfield.evaluate.harmonization.cohort import SMALLEST
from upfield.evaluate.statistics import decide
from upfield.evaluate.statistics.interval import ALPHA
from upfield.report import figures, tables
from upfield.report.context import MeasuredContext, StudyContext
from upfield.report.headline import NBSP, POINTS, SMALL, Headline, pointed, signed, state
from upfield.report.sections import Section

BEFORE = "identity"
DISTANCES = ("scanner_auc", "mmd", "wasserstein")
ANATOMY = ("ssim_source", "gradient_correlation", "tissue_dice", "cycle_error")
CHANCE = 0.5


def applies(context: MeasuredContext) -> bool:
    """Whether cohorts were compared."""
    return not context.table["metrics/harmonisation"].empty


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    return {"harmonization": harmonization(context.table)}


def harmonization(table: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Distances before and after.

    `rows`: methods with `n` of both sides and `cells` by metric, which are rows of the table, before first,
    then by how near the AUC is to 0.5; `metrics`: those with a value anywhere; `sentences`; `auc` and `densities`:
    charts or None.
    """
    values = table["metrics/harmonisation"]
    board = table["metrics/leaderboard"]
    found = board[(board.split == "test") & (board.region == "brain") & board.metric.isin(ANATOMY)]
    long = pd.concat([values, found.rename(columns={"mean": "value"})]).dropna(subset="value")
    rows: list[dict[str, Any]] = []
    for method in _ordered(values):
        cells = {row.metric: row for row in long[long.method == method].itertuples()}
        size = values[values.method == method].iloc[0]
        rows.append({"method": method, "n": [int(size.n_source), int(size.n_target)], "cells": cells})
    aucs = [row for row in rows if "scanner_auc" in row["cells"]]
    networks = [row["method"] for row in rows if _is_network(row["method"])]
    shown = table["metrics/appearance"]
    shown = shown[shown.block == "brain"]
    drawn = [row["method"] for row in rows if (shown.method == row["method"]).any()]
    return {
        "rows": rows,
        "metrics": [name for name in (*DISTANCES, *ANATOMY) if any(name in row["cells"] for row in rows)],
        "distances": DISTANCES,
        "sentences": _sentences(rows),
        "auc": figures.scanner_auc(aucs, networks) if aucs else None,
        "densities": figures.intensity_densities(shown, drawn) if drawn else None,
    }


def headline(rows: Sequence[Mapping[str, Any]]) -> Headline:
    """Tell of the trained network whose AUC is nearest to 0.5 what the table of distances decided."""
    known = {row["method"]: row["cells"]["scanner_auc"] for row in rows if "scanner_auc" in row["cells"]}
    before = known.get(BEFORE)
    networks = [method for method in known if _is_network(method)]
    if before is None or not networks:
        missing = "there is no trained network" if before is not None else "there are too few scans for a classifier"
        return Headline(f"No verdict: {missing}.", "See the numbers of the harmonization section.", None, [])
    best = networks[0]
    after = known[best]
    smallest = min(min(row["n"]) for row in rows)
    told = f"AUC {_auc(before)} before and {_auc(after)} after {best}"
    if after.decision == decide.BETTER:
        beaten = "" if after.p_permutation < ALPHA else ", and the classifier is not shown to beat chance"
        answer = f"{pointed('Yes', smallest)}: the scanners are harder to tell apart after {best}{beaten}."
    elif after.decision == decide.WORSE:
        answer = f"{pointed('No', smallest)}: the scanners are easier to tell apart after {best}."
    elif not before.p_permutation < ALPHA:
        answer = f"No verdict: the scanners cannot be told apart before harmonization ({_auc(before)})."
    elif abs(after.value - CHANCE) < abs(before.value - CHANCE):
        answer = f"Not shown: the scanners may be harder to tell apart after {best}, but the change may be none."
    else:
        answer = f"Not shown: the scanners are told apart as well after {best} as before."
    details = f"A classifier of appearance tells the scanners apart with {told}; 0.5 is chance. {_change(after)}"
    others = [f"{method} {_auc(auc)}" for method, auc in known.items() if method not in (BEFORE, *networks)]
    if others:
        details += f" Without a network: {'; '.join(others)}."
    likeness = next(row["cells"].get("ssim_source") for row in rows if row["method"] == best)
    if likeness is not None:
        details += f" SSIM of {best} to its own source is {likeness.value:.3f}: how much of the anatomy was kept."
    cautions = []
    if smallest < SMALL:
        cautions.append(f"With {smallest} test participants on one side this is an indication, not a proof.")
    if len(networks) > 1:
        cautions.append(f"The network was picked among {len(networks)} on these same participants.")
    return Headline(answer, details, None, cautions, state(answer), few=answer.startswith(POINTS))


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know to read the numbers."""
    first = rows[0]["n"]
    result = [
        f"{first[0]} test participants of the source scanner and {first[1]} of the target scanner. Before is the"
        f" source as it is ({BEFORE}). A classifier is trained anew for every row to tell source from target by how"
        " slabs of the brain look (intensities, tissues, gradients, noise; never by size), cross-validated so that all"
        " that belongs to a participant is on one side. An AUC of 1 means that it always can, 0.5 that it cannot.",
        "An AUC near 0.5 says that this classifier finds nothing with these features, not that there is nothing to"
        " find. The cohorts are different participants: where they differ in age or disease, some of the distance is"
        " theirs and should stay.",
    ]
    result.append(
        "p: how often the scanners look as far apart when they are exchanged between participants at random. A method"
        " is better or worse than before where the interval of the change, over the same participants, leaves 0 out and"
        " the scanners could be told apart before. Nothing is corrected for the number of methods and distances."
    )
    if min(first) < SMALLEST:
        result.append(f"With {min(first)} participants on one side, fewer than {SMALLEST}, there are no intervals.")
    if any(row["method"] == tables.FEATURES_ONLY for row in rows):
        result.append("ComBat adjusts the features of both scanners, not the images: it has no anatomy to be kept.")
    return result


def _ordered(values: pd.DataFrame) -> list[str]:
    """Methods: before, then by the distance of the AUC from chance, those without one last."""
    auc = values[values.metric == "scanner_auc"].set_index("method")["value"]
    distance = (auc - CHANCE).abs().reindex(values.method.unique()).sort_values(kind="stable", na_position="last")
    return sorted(distance.index, key=lambda method: method != BEFORE)


def _is_network(method: str) -> bool:
    return method not in MODEL_FREE and method != tables.FEATURES_ONLY


def _auc(cell: Any) -> str:
    """0.63 (95 % CI 0.40 to 0.81, p = 0.12)."""
    interval = f"95{NBSP}% CI {cell.ci_low:.2f} to {cell.ci_high:.2f}, " if cell.ci_low == cell.ci_low else ""
    return f"{cell.value:.2f} ({interval}p{NBSP}={NBSP}{cell.p_permutation:.2g})"


def _change(cell: Any) -> str:
    """The change of the AUC, and its interval where there is one."""
    if cell.change_low == cell.change_low:
        within = f"95{NBSP}% CI {signed(cell.change_low)} to {signed(cell.change_high)}"
    else:
        within = "no interval: too few participants, or none of them makes a difference"
    return f"It changed by {signed(cell.change)} ({within})."


SECTION = Section(id="harmonization", title="Harmonization", order=600, of=StudyContext, build=build, applies=applies)
