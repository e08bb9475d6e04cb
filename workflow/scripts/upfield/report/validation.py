"""The page of a model that was measured on other data: how good it is there, and what sets those data apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.files import places, portable, write_text
from upfield.report import tables
from upfield.report.citing import says
from upfield.report.context import ValidationContext
from upfield.report.narrative import of_models
from upfield.report.render import render
from upfield.report.subject import SubjectImages
from upfield.study import seen
from upfield.study.designs.narrative import Narrative
from upfield.study.validation import BLOCKS, OWN, UNKNOWN

# Of blocks that a given model leaves a part of, the keys that have an effect.
PARTS = {
    block: [key.split(".")[1] for key in OWN if key.startswith(f"{block}.")]
    for block in ("train", "predict", "evaluate")
}


def build_validation(
    root: Path,
    output: Path,
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    narrative: Narrative,
    applied: pd.DataFrame,
    images: Sequence[SubjectImages],
    cards: Sequence[Mapping[str, Any]],
    training_range: Mapping[str, Any],
) -> None:
    """Write the page to `output`, atomically: one HTML file that refers to nothing else.

    Parameters are those of `ValidationContext`. Only what lies inside the brain masks of `images` gets into the file.
    """
    known = places({**config, "root": str(root)})
    context = ValidationContext(
        root,
        portable(effective(config), known),
        provenance,
        told(of_models(cards, narrative), applied, cards),
        known,
        images=images,
        cards=portable(cards, known),
        training_range=training_range,
        applied=tables.outgoing(applied, known),
    )
    write_text(output, render(context, title="Upfield external validation", over="Upfield: a model on other data"))


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration has an effect where a model is given: nothing of training and of splits."""
    kept = {key: value for key, value in config.items() if key in BLOCKS}
    parts = {block: {key: kept[block][key] for key in names if key in kept[block]} for block, names in PARTS.items()}
    return kept | parts


def told(narrative: Narrative, applied: pd.DataFrame, cards: Sequence[Mapping[str, Any]]) -> Narrative:
    """What the page says above all else, and what the methods text says of the model."""
    notices = list(narrative.notices)
    if not seen.complete(cards):
        notices.append(f"The model may know these participants: {UNKNOWN}.")
    apart = int(applied["warnings"].notna().sum())
    if apart:
        notices.append(
            f"{apart} of {len(applied)} sources are unlike those that the model was trained on; the section Model and"
            " data says in what."
        )
    # The two grids of a training are not what these networks saw.
    return replace(narrative, notices=notices, trained=_clauses(cards), skipped=narrative.skipped | {"preprocess.grid"})


def _clauses(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    card = cards[0]
    people = sorted({len(one["participants"]["train"]) for one in cards})
    trained_on = f"{' or '.join(map(str, people))} participant{'' if people == [1] else 's'}"
    many = f"the mean of {len(cards)} models" if len(cards) > 1 else "one model"
    said = (
        f"{says(card['method'])} ({card['method']}), {many} trained before on {trained_on} of other data with"
        f" Upfield {card['upfield']}, was measured as it is: nothing was trained, tuned or chosen on these data, and"
        " every eligible participant was tested"
    )
    if seen.complete(cards):
        said += "; by labels and by voxels none of their scans is among those that trained or validated it"
    return [
        said,
        "each source was prepared by itself as in the model's training, on a grid of its own, and enhanced without"
        " knowledge of its target; the output was moved to the target by their registration, with one interpolation,"
        " only to be measured",
        "intensities are compared on the target's scale: what is 0 and 1 of the model's training targets became 0 and"
        " 1 of the normalized target",
    ]
