"""What a methods text says of predictions."""

from collections.abc import Mapping
from typing import Any


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How the standard deviation of a prediction was found, as a clause; empty if there is none."""
    samples = config.get("predict", {}).get("uncertainty")
    if not samples:
        return ""
    return (
        f"the standard deviation of a prediction is that over {samples} samples with dropout [gal2016] and over seeds"
    )
