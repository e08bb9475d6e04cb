"""What a methods text says of brain extraction."""

from collections.abc import Mapping
from typing import Any

from upfield.preprocess.brain.tool import tools

SIDES = ("source", "target")


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What was done, as a clause with citations: of both sides, or of each where they differ."""
    common = config.get("preprocess", {}).get("brain") or {}
    methods = {side: {**common, **((config.get(side) or {}).get("brain") or {})}.get("method") for side in SIDES}
    if methods["source"] == methods["target"]:
        return _clause("", methods["source"], versions)
    return " and ".join(filter(None, (_clause(f" of the {side}", how, versions) for side, how in methods.items())))


def _clause(of: str, method: str | None, versions: Mapping[str, str]) -> str:
    """One side, or both if `of` is empty."""
    if method == "none":
        return f"scans{of} had been skull-stripped before"
    if method not in tools():
        return ""
    # {} stands for the version of the package with the tool's name.
    version = f" {versions[method]}" if method in versions else ""
    return f"brains{of} were extracted {tools()[method].says.format(version)}"
