"""Intensity curves of methods without a network, fitted on training participants and chosen on validation ones."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from scipy import optimize, stats

from upfield.errors import UpfieldError
from upfield.image import denoising
from upfield.image.nifti import Array
from upfield.methods import model
from upfield.training.log import write_history

# Participants of each part that are looked at, evenly spaced: a curve of few numbers needs no more.
MOST = 10
# Voxels of each brain that a curve is fitted on, evenly spaced.
VOXELS = 50_000
# Knots of the monotone curve.
KNOTS = 129
CURVES = ("linear", "monotone")
# Voxels of a brain in an image and in the target, both normalized, and the target's robust width.
Sample = tuple[Array, Array, float]


class Usable(Protocol):
    """A pair that a curve may be fitted on."""

    @property
    def participant(self) -> str:
        """Whose it is."""

    @property
    def usable(self) -> bool:
        """Whether it is to be used."""


P = TypeVar("P", bound=Usable)
T = TypeVar("T")


def fit(
    folder: Path,
    *,
    method: str,
    parts: Mapping[str, Sequence[P]],
    candidates: Sequence[tuple[Any, ...]],
    names: Sequence[str],
    samples: Callable[[P], Mapping[tuple[Any, ...], Sample]],
    card: Mapping[str, Any],
) -> None:
    """Choose one of some candidates and its curve by mean PSNR, and write them as a model folder.

    A curve leads from an image to the target, over the brain. It is fitted on the pairs of the part `train` alone.
    Every candidate with every curve is tried, and that with the highest mean PSNR of `val` is taken, or of `train`
    where `val` has nobody. `samples` gives the voxels of a pair for each of the `candidates`, whose values are called
    `names` in the model card. The card lists all that was tried. Raises UpfieldError if no training pair is usable.
    """
    started = time.monotonic()
    learned, judged = ([pair for pair in parts[part] if pair.usable] for part in ("train", "val"))
    if not learned:
        raise UpfieldError(
            f"{method}: no usable pair among the training participants; see excluded.tsv for the reasons"
        )
    learned, judged = spaced(learned), spaced(judged)
    tuned_on = "val" if judged else "train"
    voxels: dict[tuple[Any, ...], list[tuple[Array, Array]]] = {key: [] for key in candidates}
    for pair in learned:
        for key, (shown, wanted, _) in samples(pair).items():
            few = slice(None, None, max(len(shown) // VOXELS, 1))
            voxels[key].append((shown[few], wanted[few]))
    curves = {key: {kind: fitted(found, kind) for kind in CURVES} for key, found in voxels.items()}
    scores: dict[tuple[Any, ...], list[float]] = {}
    for pair in judged or learned:
        for key, (shown, wanted, width) in samples(pair).items():
            for kind, (before, after) in curves[key].items():
                error = np.square(denoising.curved(shown, before, after) - wanted, dtype=np.float64).mean()
                scores.setdefault((*key, kind), []).append(float(10 * np.log10(width**2 / max(error, 1e-12))))
    means = {candidate: float(np.mean(found)) for candidate, found in scores.items()}
    best = max(means, key=lambda candidate: means[candidate])
    for candidate, value in means.items():
        logging.info("%s curve: %.2f dB (%s)", ", ".join(map(str, candidate)), value, tuned_on)
    before, after = curves[best[:-1]][best[-1]]
    write_history(folder / "history.tsv", [])
    description = {
        "method": method,
        "preset": "default",
        "parameters": {"knots": len(before)},
        "settings": dict(zip((*names, "curve"), best, strict=True)),
        "tuned_on": tuned_on,
        "psnr": means[best],
        "candidates": [
            dict(zip((*names, "curve"), candidate, strict=True)) | {"psnr": value}
            for candidate, value in means.items()
        ],
        "train_seconds": round(time.monotonic() - started, 2),
        "participants": {part: [pair.participant for pair in found]
                         for part, found in (("train", learned), ("val", judged))},
    }  # fmt: skip
    knots = {"before": torch.from_numpy(before).float(), "after": torch.from_numpy(after).float()}
    model.save(folder, knots, description | dict(card))


def fitted(samples: Sequence[tuple[Array, Array]], kind: str) -> tuple[Array, Array]:
    """Knots (K,) of the curve of least squares from the first of each two arrays of voxels to the second.

    `linear`: two knots. `monotone`: isotonic regression, rising or falling, as a curve between quantiles.
    """
    shown, wanted = (np.concatenate([pair[side] for pair in samples]).astype(np.float64) for side in (0, 1))
    ends = np.array([shown.min(), max(shown.max(), shown.min() + 1e-6)])
    if kind == "linear":
        centred = shown - shown.mean()
        slope = float(centred @ wanted / max(centred @ centred, 1e-12))
        return ends, wanted.mean() + slope * (ends - shown.mean())
    places = np.unique(np.quantile(shown, np.linspace(0, 1, KNOTS)))
    values, which, counts = np.unique(shown, return_inverse=True, return_counts=True)
    # A curve has one value where voxels have one.
    means = np.bincount(which, wanted) / counts
    rises = len(values) == 1 or stats.spearmanr(shown, wanted).statistic >= 0
    found = optimize.isotonic_regression(means, weights=counts, increasing=rises).x
    return places, np.interp(places, values, found)


def spaced(pairs: Sequence[T]) -> list[T]:
    """At most `MOST` of them, evenly spaced."""
    step = -(-len(pairs) // MOST) or 1
    return list(pairs[::step])
