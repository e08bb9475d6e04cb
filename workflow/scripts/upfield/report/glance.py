"""What the first screen of a report shows: three numbers, and pictures of the participant in the middle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from upfield.errors import ScanError
from upfield.evaluate.statistics import decide
from upfield.files import read_tsv
from upfield.report import panels, subject
from upfield.report.context import MeasuredContext
from upfield.report.headline import NBSP, amount, bounds

# Pixels of the pictures together; one plane of three is shown.
PIXELS = 6e5
# mm that the bar in a picture is long.
BAR = 50.0


@dataclass(frozen=True)
class Tile:
    """One number: `title` above it, a `note` below; `share`, 0 to 1, is drawn as a bar."""

    title: str
    value: str
    note: str
    share: float | None = None


@dataclass(frozen=True)
class Picture:
    """An axial slice as PNG, what it is, and which method made it."""

    image: bytes
    title: str
    of: str = ""


@dataclass(frozen=True)
class Sight:
    """Pictures of one participant: `size` in mm, `position` of the slice, `marks` at its left and right edge."""

    participant: str
    pictures: list[Picture]
    size: tuple[float, float]
    position: str
    marks: tuple[str, str]
    median: bool


def tiles(context: MeasuredContext, metric: str, best: str, rival: str) -> list[Tile]:
    """What `best` gains over `rival`, how much of the input's error it removes, and what was left out.

    The first two are left out where nothing was compared.
    """
    found = []
    values = context.table["metrics/comparisons"]
    gain = decide.between(values, best, rival, metric) if best and rival else decide.Compared()
    if gain.n:
        within = f"95{NBSP}% CI {bounds(gain, metric)}, " if gain.bounded else ""
        found.append(Tile(f"Gain over {rival}", amount(gain.mean, metric), f"{within}n{NBSP}={NBSP}{gain.n}"))
    psnr = context.scores["psnr"]
    if best in psnr and "identity" in psnr:
        found += _removed((psnr[best] - psnr["identity"]).dropna())
    return [*found, _left_out(context)]


def _removed(gains: pd.Series) -> list[Tile]:
    """Which share of the input's error is gone, from gains over it in dB, which have the same range on both sides."""
    shares = 1 - 10 ** (-gains.to_numpy() / 20)
    if not len(shares) or not np.isfinite(shares).all():
        return []
    share = float(shares.mean())
    text = f"{100 * share:.0f}{NBSP}%".replace("-", "−")
    note = f"root mean square in the brain, n{NBSP}={NBSP}{len(shares)}"
    title = "Error of the input that is removed" if share >= 0 else "Farther from the target than the input"
    return [Tile(title, text, note, float(np.clip(share, 0, 1)))]


def _left_out(context: MeasuredContext) -> Tile:
    """Participants with something that was left out, and those with a flag."""
    out, paired = (set(context.table[name]["participant_id"]) for name in ("excluded", "pairs"))
    path = context.root / "qc" / "quality.tsv"
    flagged: set[str] = set()
    if path.is_file():
        quality = read_tsv(path)
        flagged = set(quality["participant_id"][quality["flag"] != "ok"])
    everybody = paired | out | flagged
    note = f"of {len(everybody)} participant{'' if len(everybody) == 1 else 's'}, by something of theirs"
    return Tile("Left out · flagged in quality control", f"{len(out)} · {len(flagged)}", note)


def sight(context: MeasuredContext, metric: str, best: str) -> Sight | None:
    """Input, output of `best`, target and error (without a target: the change) of a participant of those to show.

    The one in the middle by the metric, or who is next to it where images cannot be read; None if nobody's can.
    """
    values = context.scores.get(metric, pd.DataFrame())
    own = values[best].dropna() if best in values else pd.Series(dtype=float)
    known = [images for images in context.images if images.participant_id in own.index]
    for images in sorted(known, key=lambda images: abs(own[images.participant_id] - own.median())) or context.images:
        try:
            volumes = subject.read(images, context.faces)
        except ScanError:
            # The section of images says why.
            continue
        method = best if best in volumes.outputs else next(iter(volumes.outputs), None)
        if method is not None:
            return _seen(images.participant_id, volumes, method, bool(known))
    return None


def _seen(participant: str, volumes: subject.SubjectVolumes, method: str, median: bool) -> Sight:
    """The middle axial slice of one participant."""
    scale = (-volumes.error, volumes.error)
    layers = {"Input": panels.Layer(volumes.source, volumes.window)}
    layers["Output"] = panels.Layer(volumes.outputs[method], volumes.window)
    if volumes.target is not None:
        layers["Target"] = panels.Layer(volumes.target, volumes.window)
    layers["Error" if volumes.target is not None else "Change"] = panels.Layer(volumes.errors[method], scale, True)
    axial = next(cut for cut in panels.cuts(layers, volumes.mask, 3 * PIXELS)[0] if cut.name == "Axial")
    pictures = [Picture(axial.panels[title], title, method if title == "Output" else "") for title in layers]
    return Sight(participant, pictures, axial.size, axial.position, axial.marks, median)


def bar(sight: Sight) -> dict[str, Any] | None:
    """Where a bar of `BAR` mm goes in a picture, from its left edge, mm; None where it is too narrow."""
    width = sight.size[0]
    return {"from": width - BAR - 6, "to": width - 6} if width > 2 * BAR else None
