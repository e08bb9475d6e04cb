"""The baseline `denoise`: a classical denoiser tuned on validation participants, a curve fitted on training ones."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression

from upfield.errors import UpfieldError
from upfield.image import denoising, nifti
from upfield.image.intensity import robust_range
from upfield.image.nifti import Array
from upfield.methods import model
from upfield.preprocess.derivatives import robust_width, scaling_of, why_excluded
from upfield.training.log import write_history

# Participants of each part that are looked at, evenly spaced: a curve of few numbers needs no more.
MOST = 10
# Voxels of each brain that a curve is fitted on, evenly spaced.
VOXELS = 50_000
# Knots of the monotone curve.
KNOTS = 129
# mm around a brain that filters see.
MARGIN = 10.0
CURVES = ("linear", "monotone")


@dataclass(frozen=True)
class Pair:
    """Files of a pair: native, bias-corrected images, the transform between them, the target's brain mask."""

    participant: str
    source: str
    source_preprocessed: str
    target: str
    target_preprocessed: str
    transform: str
    mask: str

    @property
    def usable(self) -> bool:
        """Whether neither scan is excluded."""
        return why_excluded([self.source_preprocessed, self.target_preprocessed]) is None


def fit_denoise(folder: Path, *, train: Sequence[Pair], val: Sequence[Pair], card: Mapping[str, Any]) -> None:
    """Choose denoiser and curve by mean PSNR and write them as a model folder.

    The curve leads from the denoised source to the target, both normalized, over the brain; it is fitted on `train`
    alone. Every denoiser with every curve is a candidate, and that with the highest mean PSNR of `val` is taken, or of
    `train` where `val` has nobody. The model card says which, and lists all `candidates`. Raises UpfieldError if no
    training pair is usable.
    """
    started = time.monotonic()
    learned, judged = ([pair for pair in part if pair.usable] for part in (train, val))
    if not learned:
        raise UpfieldError("denoise: no usable pair among the training participants; see excluded.tsv for the reasons")
    learned, judged = _spaced(learned), _spaced(judged)
    tuned_on = "val" if judged else "train"
    samples: dict[tuple[str, float], list[tuple[Array, Array]]] = {key: [] for key in denoising.CANDIDATES}
    for pair in learned:
        for key, (shown, wanted, _) in _denoised(pair).items():
            few = slice(None, None, max(len(shown) // VOXELS, 1))
            samples[key].append((shown[few], wanted[few]))
    curves = {key: {kind: fitted(found, kind) for kind in CURVES} for key, found in samples.items()}
    scores: dict[tuple[str, float, str], list[float]] = {}
    for pair in judged or learned:
        for key, (shown, wanted, width) in _denoised(pair).items():
            for kind, (before, after) in curves[key].items():
                error = np.square(denoising.curved(shown, before, after) - wanted, dtype=np.float64).mean()
                scores.setdefault((*key, kind), []).append(float(10 * np.log10(width**2 / max(error, 1e-12))))
    means = {candidate: float(np.mean(found)) for candidate, found in scores.items()}
    best = max(means, key=lambda candidate: means[candidate])
    for (kind, strength, curve), value in means.items():
        logging.info("%s %g, %s curve: %.2f dB (%s)", kind, strength, curve, value, tuned_on)
    before, after = curves[best[:2]][best[2]]
    write_history(folder / "history.tsv", [])
    description = {
        "method": "denoise",
        "preset": "default",
        "parameters": {"knots": len(before)},
        "settings": dict(zip(("kind", "strength", "curve"), best, strict=True)),
        "tuned_on": tuned_on,
        "psnr": means[best],
        "candidates": [
            {"kind": kind, "strength": strength, "curve": curve, "psnr": value}
            for (kind, strength, curve), value in means.items()
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
    regression = IsotonicRegression(increasing="auto", out_of_bounds="clip").fit(shown, wanted)
    return places, regression.predict(places)


def _spaced(pairs: Sequence[Pair]) -> list[Pair]:
    """At most `MOST` of them, evenly spaced."""
    step = -(-len(pairs) // MOST) or 1
    return list(pairs[::step])


def _denoised(pair: Pair) -> dict[tuple[str, float], tuple[Array, Array, float]]:
    """By candidate: the voxels of a brain in the denoised source and in the target, and the target's robust width."""
    target, mask = nifti.load(pair.target), nifti.load_mask(pair.mask)
    margin = np.ceil(MARGIN / target.grid.spacing).astype(int)
    low, high = nifti.bounding_box(mask.data, margin)
    part, grid = tuple(map(slice, low, high)), nifti.crop(target.grid, low, high)
    moved = nifti.resample(nifti.load(pair.source), grid, nifti.read_transform(pair.transform), order=3)
    shown = scaling_of(pair.source_preprocessed).apply(moved.data)
    wanted = scaling_of(pair.target_preprocessed).apply(target.data[part])
    inside, width = mask.data[part], robust_width(pair.source_preprocessed)
    least, most = robust_range(wanted, inside)
    return {
        (kind, strength): (
            denoising.denoise(shown, grid.spacing, width, kind, strength)[inside], wanted[inside], most - least,
        )
        for kind, strength in denoising.CANDIDATES
    }  # fmt: skip
