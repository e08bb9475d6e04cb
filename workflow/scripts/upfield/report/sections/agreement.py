"""Agreement of what is measured in an output with the same in the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.catalogue.methods import MODEL_FREE
from upfield.foreign import read_object
from upfield.report import charts, tables
from upfield.report.context import MeasuredContext
from upfield.report.sections import Section
from upfield.study import anatomy

VOLUME = "volume_ml"
# Methods with a row of their own in the charts.
ROWS = 6


def applies(context: MeasuredContext) -> bool:
    """Whether anything was measured in a target image."""
    return not context.table["metrics/agreement"].empty


def build(context: MeasuredContext) -> dict[str, Any]:
    """The section's values under one name."""
    return {"agreement": agreement(context.table, context.methods), "segmenter": trusted(context.config)}


def agreement(table: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> dict[str, Any]:
    """What is measured in an output against the same in the target: `chart` of volumes, `rows`."""
    found = table["metrics/agreement"]
    order = tables.known(found["method"], methods)
    rows = found.assign(place=found["method"].map(order.index), named=found["region"].map(_region))
    rows = rows.sort_values(["quantity", "region", "place"], kind="stable")
    volumes = table["metrics/quantities"]
    volumes = volumes[volumes["quantity"] == VOLUME].assign(region=lambda rows: rows["region"].map(_region))
    limits = rows[rows["quantity"] == VOLUME].assign(region=lambda rows: rows["named"])
    known = [method for method in order if (volumes["method"] == method).any()]
    # Networks first, whose scales are their own.
    drawn = sorted(known[:ROWS], key=lambda method: method in MODEL_FREE)
    networks = [method for method in drawn if method not in MODEL_FREE]
    shown = volumes[volumes["method"].isin(drawn)]
    return {
        "chart": charts.bland_altman(shown, limits, drawn, networks) if drawn else None,
        "left_out": known[ROWS:],
        "rows": rows.to_dict("records"),
        "notes": sorted(set(found["note"].dropna())),
    }


def trusted(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How well the segmenter of a study found the structures of label maps that were left out; None without one.

    `maps`, how many; `mean`, `lowest` and `highest` Dice, and the structures that have these two.
    """
    files = anatomy.used(config) if "evaluate" in config else None
    if files is None:
        return None
    card = read_object(files[1])
    dice = {key.removeprefix("val_").replace("_", " "): value for key, value in card["dice"].items()}
    lowest, highest = min(dice, key=lambda name: dice[name]), max(dice, key=lambda name: dice[name])
    return {
        "maps": len(card["maps"]["val"]),
        "mean": sum(dice.values()) / len(dice),
        "lowest": (lowest, dice[lowest]),
        "highest": (highest, dice[highest]),
    }


def _region(name: str) -> str:
    return tables.REGIONS.get(name, name)


SECTION = Section(
    id="agreement", title="Agreement", order=800, of=MeasuredContext, build=build, applies=applies,
    heading="Agreement with the target",
)  # fmt: skip
