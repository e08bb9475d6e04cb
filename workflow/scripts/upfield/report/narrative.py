"""What a page says of a study that depends on how its scans belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from upfield.bids import contrast_names
from upfield.study import designs
from upfield.study.designs.narrative import Narrative


def of(config: Mapping[str, Any]) -> Narrative:
    """The texts of a configured study: those of its design, and what any design may have to say."""
    found = designs.of(config).narrative(config)
    notices = list(found.notices)
    if config.get("phantom") is not None:
        notices.insert(
            0,
            "The data are a phantom: simulated heads, no scan of a person. The numbers show that the workflow works;"
            " they say nothing about real images.",
        )
        found = replace(found, source="The data are a phantom; no person was scanned.")
    source = config.get("source", {})
    if len(source.get("channels", [])) > 1:
        notices.append(
            f"The networks see several contrasts of the source side by side: {', '.join(contrast_names(source))}."
            " The baselines without a network, and the images shown, have the first alone."
        )
    return replace(found, notices=notices)


def of_models(cards: Sequence[Mapping[str, Any]], narrative: Narrative) -> Narrative:
    """The same with what is to be said of given models."""
    if not any(card.get("phantom") for card in cards):
        return narrative
    notice = "The model was trained on a phantom: simulated heads, no scan of a person. It is a test, no tool."
    return replace(narrative, notices=[notice, *narrative.notices])
