"""Patch stores, and the drawing of patches from them."""

from upfield.patches.draw import Patches, Sampling, UnpairedPatches, draw, require
from upfield.patches.store import (
    SOURCE,
    TARGET,
    Store,
    contents,
    extract,
    source_key,
    standardised,
    usable,
    write_store,
)

__all__ = [
    "SOURCE",
    "TARGET",
    "Patches",
    "Sampling",
    "Store",
    "UnpairedPatches",
    "contents",
    "draw",
    "extract",
    "require",
    "source_key",
    "standardised",
    "usable",
    "write_store",
]
