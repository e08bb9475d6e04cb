"""The page of `snakemake apply`: which scans were enhanced, what to be careful about, inputs beside outputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.files import places, portable, write_text
from upfield.report import tables
from upfield.report.context import AppliedContext, Enhanced
from upfield.report.narrative import of_models
from upfield.report.render import render
from upfield.study.designs.narrative import Narrative


def build_applied(
    root: Path,
    output: Path,
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    narrative: Narrative,
    applied: pd.DataFrame,
    scans: Sequence[Enhanced],
    cards: Sequence[Mapping[str, Any]],
    training_range: Mapping[str, Any],
) -> None:
    """Write the page to `output`, atomically: one HTML file that refers to nothing else.

    Parameters are those of `AppliedContext`; of `config`, `pairing` and `simulate` are the model's. Only what lies
    inside the brain masks of `scans` gets into the file.
    """
    narrative = of_models(cards, narrative)
    known = places({**config, "root": str(root)})
    context = AppliedContext(
        root,
        portable(config, known),
        provenance,
        narrative,
        known,
        applied=tables.outgoing(applied, known),
        scans=scans,
        cards=portable(cards, known),
        training_range=training_range,
    )
    write_text(output, render(context, title="scans enhanced by Upfield", over="Upfield: a trained model applied"))
