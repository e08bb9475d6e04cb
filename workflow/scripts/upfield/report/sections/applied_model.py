"""The model that was applied, and the range of scans that it was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.catalogue.weights import keeps_contrast
from upfield.report.context import ModelContext
from upfield.report.render import inline
from upfield.report.sections import Section


def build(context: ModelContext) -> dict[str, Any]:
    """The model and its training range in terms and descriptions."""
    return {"model": _model(context.cards, context.training_range), "seen": _seen(context.training_range)}


def _model(cards: Sequence[Mapping[str, Any]], training_range: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The models in terms and descriptions."""
    card, source, target = cards[0], training_range["source"], training_range["target"]
    many = f", mean of {len(cards)} models" if len(cards) > 1 else ""
    prepared = {key: value for key, value in card["preprocess"].items() if key != "registration"}
    low, high = target["offset"], target["offset"] + target["scale"]
    task = f"{' or '.join(source['suffix'])} to {' or '.join(target['suffix'])}, {card['pairing']} scans"
    scale = f"those of a typical training target: 0 becomes {low:.4g}, 1 becomes {high:.4g}"
    if keeps_contrast(card):
        task, scale = "any contrast to the same contrast; learned from simulated acquisitions", "those of the scan"
    trained_on = sorted({len(card["participants"]["train"]) for card in cards})
    return [
        ("Method", f"{card['method']} ({card.get('preset', 'n/a')} preset){many}"),
        ("Task", task),
        ("Trained on", f"{' or '.join(map(str, trained_on))} participants"),
        ("Output size by input size", " x ".join(map(str, card["scale"]))),
        ("Preprocessing", inline(prepared)),
        ("Intensities", scale),
    ]


def _seen(training_range: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the training scans were like, in terms and descriptions."""
    source = training_range["source"]

    def span(name: str) -> str:
        low, high = (np.atleast_1d(source[name][end]) for end in ("low", "high"))
        texts = [f"{a:.3g}" if a == b else f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True)]
        return "; ".join(texts)

    return [
        ("Contrast", ", ".join(source["suffix"])),
        ("Field strength (T)", ", ".join(f"{field:g}" for field in source["field_strength"]) or "not known"),
        ("Manufacturer", ", ".join(source["manufacturer"]) or "not known"),
        ("Voxels (mm; right, anterior, superior)", span("voxel")),
        ("Intensities in the brain, width of the range", span("intensity")),
        ("Their 10, 25, 50, 75, 90 percentiles, relative", span("profile")),
        ("Brain volume (cm3)", span("brain_volume")),
    ]


SECTION = Section(id="model", title="Model", order=300, of=ModelContext, build=build)
