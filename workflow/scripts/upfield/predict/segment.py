"""A brain cut into its structures by a trained segmenter."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from upfield.catalogue import structures
from upfield.errors import ScanError, UpfieldError
from upfield.foreign import read_object
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.methods import Method, model
from upfield.methods.anatomy import MODULE, SETTINGS
from upfield.patches.positions import positions
from upfield.predict.inference import channels
from upfield.preprocess.grid import SOURCE_MARGIN, normalized, working_grid
from upfield.training.device import choose, precision

# mm: the voxels that structures are found on.
SPACING = 1.0
# Voxels: the edge of a window, and the share of it that its neighbour covers too. Whatever the memory of a machine is,
# so that a scan has the same labels everywhere.
WINDOW, OVERLAP = 96, 0.25
# Voxels of a scan that get their labels at once.
SLAB = 2_000_000
LABELS = ("index", "name")
VOLUMES = (*LABELS, "volume_ml")


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter and its card; see `read`."""

    network: Method
    card: Mapping[str, Any]


def read(folder: str | Path) -> Segmenter:
    """The segmenter in a model folder. Raises UpfieldError, one line, if it holds none, or one of another version."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise UpfieldError(f"{folder}: no model.json is there; expected a folder that `snakemake anatomy` has written")
    card = read_object(path)
    # A card is a file from somebody else and must not choose code.
    if card.get("method") != "anatomy" or card.get("module") != MODULE:
        raise UpfieldError(f"{path}: its method is {card.get('method')!r:.60}; expected anatomy")
    settings, named = card.get("settings"), card.get("structures")
    other = not isinstance(settings, dict) or set(settings) != set(SETTINGS) or named != structures.numbered()
    if other:
        raise UpfieldError(f"{path}: it has other settings or structures than this version; train the model again")
    network, card = model.load(folder)
    return Segmenter(network, card)


def segment(volume: Volume, mask: Array, segmenter: Segmenter, device: str = "auto") -> Volume:
    """The structures of a scan as numbers on its own grid, int16; 0 is none of them.

    Parameters
    ----------
    volume
        (X, Y, Z) in any orientation, with voxels of any size; bias-corrected.
    mask
        (X, Y, Z) boolean, its brain; nothing outside of it is named.
    device
        `auto`, `cpu`, `cuda` and so on.

    Every structure is found on cubes of 1 mm in RAS order, in windows that are blended, and the most likely one of
    those interpolated to a voxel is its. Raises ScanError for an empty mask or a constant image.

    """
    brain = volume.with_data(mask.astype(np.uint8))
    grid = working_grid(brain, (SPACING, SPACING, SPACING))
    image, _ = normalized(volume, mask, grid, None, "percentile", SOURCE_MARGIN)
    inside = nifti.mask_on(brain, grid)
    if not inside.any():
        raise ScanError("the brain mask is thinner than a voxel of 1 mm")
    where = positions(grid.shape, *nifti.bounding_box(inside))
    used = choose(device)
    found = channels(
        segmenter.network,
        np.concatenate([image.data[None], where]),
        device=used,
        dtype=precision("fp32", used),
        overlap=OVERLAP,
        window=WINDOW,
    )
    return volume.with_data(_likeliest(found, grid, brain))


def _likeliest(logits: Array, grid: Grid, brain: Volume) -> Array:
    """The numbers of the structures with the largest logits (K, X, Y, Z), on the grid of a brain and inside of it."""
    result = np.zeros(brain.data.shape, dtype=np.int16)
    low, high = nifti.bounding_box(brain.data > 0)
    thickness = max(int(SLAB // np.prod((high - low)[:2])), 1)
    for first in range(int(low[2]), int(high[2]), thickness):
        ends = (*high[:2], min(first + thickness, high[2]))
        start = np.array([*low[:2], first])
        slab = nifti.crop(brain.grid, start, np.array(ends))
        most, which = np.full(slab.shape, -np.inf, dtype=np.float32), np.zeros(slab.shape, dtype=np.uint8)
        for index, one in enumerate(logits):
            moved = nifti.resample(Volume(one, grid.affine), slab, background=None, antialias=False).data
            more = moved > most
            most[more], which[more] = moved[more], index
        part = tuple(map(slice, start, ends))
        result[part] = np.where(brain.data[part] > 0, structures.NUMBERS[which], 0)
    return result


def labels_table() -> pd.DataFrame:
    """The label table of BIDS: columns `LABELS`."""
    return pd.DataFrame(list(zip(structures.NUMBERS[1:], structures.NAMES, strict=True)), columns=list(LABELS))


def volumes(labels: Volume) -> pd.DataFrame:
    """Volume of every structure of a label image in ml, 0 where it does not occur: columns `VOLUMES`."""
    ml = float(abs(np.linalg.det(labels.affine[:3, :3]))) / 1000
    numbers, counts = np.unique(labels.data, return_counts=True)
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    table = labels_table()
    return table.assign(volume_ml=[found.get(int(number), 0) * ml for number in table["index"]])
