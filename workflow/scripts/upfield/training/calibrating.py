"""By how much the samples of a sampler lie too near to their mean, found on validation participants."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from upfield.methods import Method
from upfield.patches import Patches, Sampling, Store
from upfield.training.data import Options, load, to_device
from upfield.training.device import autocast

# Patches that are looked at, at most, and samples of each.
PATCHES, SAMPLES = 16, 8


@torch.no_grad()
def std_scale(
    method: Method, stores: Sequence[Store], options: Options, device: torch.device, dtype: torch.dtype
) -> float:
    """Root mean square of the error of the mean, divided by that of samples around it, in the brains of `stores`.

    1 where samples do not vary at all.
    """
    sampling = Sampling(options.patch_val, options.per_volume_val, 1.0, options.seed, method.scale)
    patches = Patches(list(stores), sampling, 0)
    step = -(-len(patches) // PATCHES)
    random = torch.Generator().manual_seed(options.seed)
    errors = spread = 0.0
    method.eval()
    for batch in load(method, patches, range(0, len(patches), step), device, options.workers):
        batch = to_device(method, batch, device)
        source, inside = batch["source"], batch["mask"] > 0
        with autocast(device, dtype):
            mean = method(source).float()
            errors += float(((mean - batch["target"]) ** 2)[inside].sum())
            for _ in range(SAMPLES):
                noise = torch.randn(mean.shape, generator=random).to(source)
                sample = method(torch.cat([source, noise], dim=1)).float()
                spread += float(((sample - mean) ** 2)[inside].sum()) / SAMPLES
    found = float(np.sqrt(errors / spread)) if spread > 0 else 1.0
    logging.info("samples: their standard deviation, times %.3f, is the error in validation", found)
    return found
