"""Other contrasts of a scan, and lesions: what makes a training set of scans larger than the scans are many."""

import numpy as np
import torch
from torch import Tensor

from upfield.image.nifti import Array

# Knots of a curve of intensities, and up to where it goes: the signal's 99th percentile is 1.
KNOTS = 6
HIGHEST = 1.5
# Curves that rise as the scan does, and those that fall as T2-weighted scans do by T1-weighted ones; others do neither.
RISING, FALLING = 0.4, 0.2
# Exponents of such curves.
POWERS = (0.6, 1.6)
# mm, semi-axes of a lesion before they are stretched; how much darker or brighter it is.
RADII = (1.5, 8.0)
DARKER, BRIGHTER = (0.3, 0.9), (1.1, 1.8)


def recoloured(image: Tensor, generator: np.random.Generator) -> Tensor:
    """An image (X, Y, Z) of magnitudes, whose 99th percentile is about 1, under a random curve of its intensities.

    Air, which is 0, stays dark. The result is never negative.
    """
    before, after = (torch.from_numpy(knots).float().to(image.device) for knots in _curve(generator))
    seen = image.clamp(0, HIGHEST - 1e-3).contiguous()
    upper = torch.searchsorted(before, seen, right=True).clamp(1, len(before) - 1)
    x0, x1, y0, y1 = before[upper - 1], before[upper], after[upper - 1], after[upper]
    return (y0 + (y1 - y0) * (seen - x0) / (x1 - x0).clamp(min=1e-3)).clamp(min=0)


def risen(image: Tensor, generator: np.random.Generator) -> Tensor:
    """Magnitudes whose 99th percentile is about 1 under a curve that rises, as scanners of one contrast differ."""
    power = float(generator.uniform(*POWERS))
    return image.clamp(min=0) ** power


def _curve(generator: np.random.Generator) -> tuple[Array, Array]:
    """Knots of a random curve from 0 to `HIGHEST`, before and after."""
    before = np.array([0.0, *np.sort(generator.uniform(0.1, 1.0, KNOTS - 2)), 1.1])
    kind, power = generator.random(), generator.uniform(*POWERS)
    if kind < RISING:
        after = before**power
    elif kind < RISING + FALLING:
        after = 1.1 - before**power
    else:
        after = generator.uniform(0, 1, KNOTS)
    after[0] = 0
    last = max(after[-1] + generator.uniform(-0.1, 0.4), 0)
    return np.append(before, HIGHEST), np.append(after, last)


def with_lesions(image: Tensor, mask: Tensor, spacing: float, most: int, generator: np.random.Generator) -> Tensor:
    """An image (X, Y, Z) of isotropic `spacing` (mm) with 0 to `most` ellipsoids in the mask, darker or brighter.

    Their edges are as sharp as voxels are.
    """
    image, places = image.clone(), torch.nonzero(mask)
    for _ in range(int(generator.integers(0, most + 1)) if len(places) else 0):
        centre = places[int(generator.integers(len(places)))].tolist()
        radii = generator.uniform(*RADII) * generator.uniform(0.7, 1.3, 3) / spacing
        factor = float(generator.uniform(*(DARKER if generator.random() < 0.5 else BRIGHTER)))
        low, high = (np.floor(centre - radii - 2).astype(int), np.ceil(centre + radii + 3).astype(int))
        box = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
        squares = torch.zeros((), device=image.device)
        for axis, (part, size) in enumerate(zip(box, image.shape, strict=True)):
            steps = torch.arange(part.start, min(part.stop, size), device=image.device) - centre[axis]
            squares = squares + (steps / float(radii[axis])).square().reshape(
                [-1 if a == axis else 1 for a in range(3)]
            )
        inside = ((1 - squares.sqrt()) * float(radii.min()) + 0.5).clamp(0, 1)
        image[box] *= 1 + (factor - 1) * inside
    return image
