"""The start of a network (`methods.start`), fitted on training pairs."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from upfield.image.denoising import curved
from upfield.image.nifti import Array
from upfield.methods import Method
from upfield.methods.start import Start
from upfield.patches import SOURCE, TARGET, Store
from upfield.training import curves

# Standard deviations of the blur that are tried, voxels.
SIGMAS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0)


def fit_starts(method: Method, stores: Sequence[Store]) -> None:
    """Give every start in the networks of a method the blur and curve that are nearest to the targets in the brains.

    By squared error, with a monotone curve; `stores` are those of training pairs, of which a few are looked at. Outside
    the brain the curve goes on to the background.
    """
    for start in (part for part in method.modules() if isinstance(part, Start)):
        candidates: list[tuple[float, ...]] = [(sigma,) * 3 for sigma in SIGMAS]
        if any(start.flat):
            candidates += [tuple(0.0 if flat else sigma for flat in start.flat) for sigma in SIGMAS[1:]]
        seen: list[list[tuple[Array, Array]]] = [[] for _ in candidates]
        around = []
        for store in curves.spaced(stores):
            pair = store.whole()
            inside = pair["mask"][0] > 0
            few = slice(None, None, max(int(inside.sum()) // curves.VOXELS, 1))
            wanted = pair[TARGET][0][inside][few].numpy()
            for found, sigmas in zip(seen, candidates, strict=True):
                blurred = start.blurred(pair[SOURCE][None, :1], torch.tensor(sigmas))[0, 0]
                found.append((blurred[inside][few].numpy(), wanted))
            if not bool(inside.all()):
                around.append([float(pair[side][0][~inside].median()) for side in (SOURCE, TARGET)])
        fitted = [curves.fitted(found, "monotone") for found in seen]
        errors = [_error(found, *knots) for found, knots in zip(seen, fitted, strict=True)]
        best = int(np.argmin(errors))
        before, after = (knots.tolist() for knots in fitted[best])
        if around:
            low, low_target = np.mean(around, axis=0)
            if low < before[0]:
                before, after = [float(low), *before], [float(low_target), *after]
        start.put(candidates[best], before, after)
        logging.info("start: blur of %s voxels, error %.4f of squares", candidates[best], errors[best])


def _error(samples: Sequence[tuple[Array, Array]], before: Array, after: Array) -> float:
    shown, wanted = (np.concatenate([pair[side] for pair in samples]) for side in (0, 1))
    return float(np.square(curved(shown, before, after) - wanted, dtype=np.float64).mean())
