"""What a methods text says of predictions."""

from collections.abc import Mapping
from typing import Any

from upfield.catalogue.methods import facts, known_methods


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How the standard deviation of a prediction was found, as a clause; empty if there is none."""
    samples = config.get("predict", {}).get("uncertainty")
    if not samples:
        return ""
    drawn = [name for name in config["methods"] if name in known_methods() and facts(name).sampler]
    said = "the standard deviation of a prediction is that"
    kinds = [f"over {samples} samples with dropout [gal2016] and over seeds"]
    if drawn:
        around = f"of {samples} samples around their mean, scaled to the errors of validation participants"
        kinds = [*kinds[: len(config["methods"]) > len(drawn)], f"for {' and '.join(drawn)} {around}"]
    return f"{said} {', '.join(kinds)}"
