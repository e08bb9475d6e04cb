"""The page of `snakemake apply`: which scans were enhanced, what to be careful about, inputs beside outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from upfield.errors import ScanError
from upfield.files import write_text
from upfield.image import nifti
from upfield.image.intensity import robust_range
from upfield.image.nifti import mask_on
from upfield.report import costs, panels, tables
from upfield.report.page import PANEL_PIXELS, notices
from upfield.report.panels import Layer
from upfield.report.render import inline, render


@dataclass(frozen=True)
class Enhanced:
    """Files of one enhanced scan: `source` and `mask` on its native grid, `output` over the same field of view."""

    name: str
    source: Path
    mask: Path
    output: Path


def build_applied(
    output: Path,
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    table: pd.DataFrame,
    scans: Sequence[Enhanced],
    cards: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any],
    benchmarks: Path,
) -> None:
    """Write the page to `output`, atomically: one HTML file that refers to nothing else.

    Parameters
    ----------
    config, provenance
        As for the report of a study; of `config`, `pairing` and `simulate` are the model's.
    table
        applied.tsv.
    scans
        Enhanced scans to show, in order; only what lies inside their brain masks gets into the file.
    cards, domain
        The models' cards and what they have seen together.
    benchmarks
        Folder with the run times.

    """
    told = notices({"phantom": None, **config})
    if any(card.get("phantom") for card in cards):
        told.insert(
            0, "The model was trained on a phantom: simulated heads, no scan of a person. It is a test, no tool."
        )
    page = render(
        "applied.html",
        config=config,
        provenance=provenance,
        notices=told,
        counts=_counts(table),
        rows=tables.records(table),
        model=_model(cards, domain),
        seen=_seen(domain),
        views=[_view(scan, PANEL_PIXELS / len(scans)) for scan in scans],
        runs=[{**card, "name": card["method"]} for card in cards],
        benchmarks=costs.benchmarks(benchmarks, []),
        gpu_energy=0.0,
    )
    write_text(output, page)


def _counts(table: pd.DataFrame) -> list[tuple[str, int]]:
    applied = table["status"] == "applied"
    return [
        ("scans found", len(table)),
        ("scans enhanced", int(applied.sum())),
        ("of them out of range", int((applied & table["warnings"].notna()).sum())),
        ("scans left out", int((~applied).sum())),
    ]


def _model(cards: Sequence[Mapping[str, Any]], domain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The models in terms and descriptions."""
    card, source, target = cards[0], domain["source"], domain["target"]
    many = f", mean of {len(cards)} models" if len(cards) > 1 else ""
    prepared = {key: value for key, value in card["preprocess"].items() if key != "registration"}
    low, high = target["offset"], target["offset"] + target["scale"]
    people = sorted({len(card["participants"]["train"]) for card in cards})
    return [
        ("Method", f"{card['method']} ({card.get('preset', 'n/a')} preset){many}"),
        ("Task", f"{' or '.join(source['suffix'])} to {' or '.join(target['suffix'])}, {card['pairing']} scans"),
        ("Trained on", f"{' or '.join(map(str, people))} people"),
        ("Output size by input size", " x ".join(map(str, card["scale"]))),
        ("Preprocessing", inline(prepared)),
        ("Intensities", f"those of a typical training target: 0 becomes {low:.4g}, 1 becomes {high:.4g}"),
    ]


def _seen(domain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the training scans were like, in terms and descriptions."""
    source = domain["source"]

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


def _view(scan: Enhanced, pixels: float) -> dict[str, Any]:
    """Slices through the input, on the grid of the output, and the output; each in its own robust range."""
    try:
        output = nifti.reorient(nifti.load(scan.output))
        source, native = nifti.load(scan.source), nifti.load_mask(scan.mask)
        inside = mask_on(native, output.grid)
        moved = nifti.resample(source, output.grid, order=1)
        windows = {"input": robust_range(moved.data, inside), "output": robust_range(output.data, inside)}
        layers = {
            name: Layer(np.where(inside, image.data, windows[name][0]), windows[name])
            for name, image in (("input", moved), ("output", output))
        }
        found, pixel = panels.cuts(layers, output.with_data(inside), pixels)
    except ScanError as error:
        return {"name": scan.name, "problem": str(error), "planes": [], "windows": {}, "pixel": None}
    return {"name": scan.name, "problem": None, "planes": found, "windows": windows, "pixel": pixel}
