"""Evaluation of an unpaired study, from files to tables: no truth exists, so scans are compared with cohorts.

Everything is measured on the source's working grid in normalised values: outputs as they were written, read back
through the scaling of their sidecar.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.bids import sidecar
from upfield.errors import ScanError, UpfieldError
from upfield.evaluate import harmonization as harmonisation
from upfield.evaluate import metrics
from upfield.evaluate.subject import COLUMNS, seed_label
from upfield.files import read_json
from upfield.image import histograms, nifti
from upfield.image.nifti import Array, Volume, mask_on
from upfield.preprocess.stage import excluded, scaling_of
from upfield.quality.pair import dice

# A preprocessed image and the native brain mask of the same scan.
Images = tuple[str, str]


def measure(
    outputs: Mapping[str, str],
    source: Images,
    targets: Sequence[Images],
    *,
    participant: str,
    suffix: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
) -> pd.DataFrame:
    """Long table of one test participant of the source; no rows if the scan was excluded.

    `ssim_source`, `gradient_correlation`: structure shared with the source; `tissue_dice`: mean overlap of the tissue
    classes found in the output with those found in the source, where both have some; `cycle_error`: of methods that
    lead back; `wasserstein`: distance of the intensities to the mean distribution of `targets`, the test participants
    of the target in this fold, who taught nobody anything.
    """
    if excluded(source[0]) is not None:
        return pd.DataFrame(columns=COLUMNS)
    original = nifti.load(source[0])
    mask = nifti.load_mask(source[1])
    inside = mask_on(mask, original.grid)
    usable = [images for images in targets if excluded(images[0]) is None]
    reference = histograms.fit_histogram(map(_in_brain, usable)) if usable else None
    own = _tissues_if_any(original, inside, suffix)
    rows = []
    for method, path in outputs.items():
        seed = seed_label(seeds.get(method, []))
        output = read_back(path, mask, source[0])
        try:
            values = harmonisation.structure(original.data, output, inside)
        except ScanError as error:
            raise UpfieldError(f"{path}: {error}; rerun the prediction") from None
        cycle = read_json(sidecar(path)).get("CycleError")
        values |= {} if cycle is None else {"cycle_error": cycle}
        found = _tissues_if_any(original.with_data(output), inside, suffix) if own else {}
        values |= {"tissue_dice": float(np.mean([dice(found[name], own[name]) for name in own]))} if found else {}
        values |= {} if reference is None else {"wasserstein": harmonisation.wasserstein(output, inside, reference)}
        rows += [(participant, method, fold, seed, "test", "brain", name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def appearance(
    outputs: Mapping[str, str], scan: Images, *, participant: str, scanner: str, suffix: str
) -> pd.DataFrame:
    """`harmonisation.COLUMNS` of one scan as it is (method `identity`) and as each method made it.

    Tissues are those found in each image by itself. No rows, and a warning, for a scan that was excluded and for an
    image whose brain cannot be cut into tissues or slabs.
    """
    reason = excluded(scan[0])
    if reason is not None:
        logging.warning("%s has no features: %s", participant, reason)
        return pd.DataFrame(columns=harmonisation.COLUMNS)
    original, mask = nifti.load(scan[0]), nifti.load_mask(scan[1])
    inside = mask_on(mask, original.grid)
    images = {"identity": original.data}
    images |= {method: read_back(path, mask, scan[0]) for method, path in outputs.items() if method != "identity"}
    tables = []
    for method, data in images.items():
        try:
            tissues = metrics.tissue_regions(original.with_data(data), inside, suffix)
            features = harmonisation.appearance(data, inside, tissues, original.grid.spacing.tolist())
        except ScanError as error:
            logging.warning("%s has no features of %s: %s", participant, method, error)
            continue
        tables.append(features.assign(participant_id=participant, scanner=scanner, method=method))
    if not tables:
        return pd.DataFrame(columns=harmonisation.COLUMNS)
    return pd.concat(tables, ignore_index=True)[harmonisation.COLUMNS]


def scanners(
    values: pd.DataFrame, splits: pd.DataFrame, together: Mapping[str, str], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The features of all test participants, with those after ComBat, and the table of the two cohorts.

    ComBat is fitted on the training participants of each fold and applied to its test participants; a fold with too
    few to learn from has none. `together` names target participants who are a source participant too.
    """
    tested = values[values["participant_id"].isin(splits[splits["split"] == "test"]["participant_id"])]
    before = values[values["method"] == "identity"]
    adjusted = []
    for fold, rows in splits.groupby("fold"):
        learned, given = (
            before[before["participant_id"].isin(rows[rows["split"] == part]["participant_id"])]
            for part in ("train", "test")
        )
        if not len(given):
            continue
        try:
            adjusted.append(harmonisation.combat(learned, given))
        except UpfieldError as error:
            logging.warning("fold %s: %s", fold, error)
    table = pd.concat([tested, *adjusted], ignore_index=True)
    table["participant_id"] = table["participant_id"].replace(dict(together))
    return table, harmonisation.cohort_table(table, seed)


def read_back(path: str, mask: Volume, source: str) -> Array:
    """A native output on the working grid of its preprocessed `source`, (X, Y, Z) normalised.

    Stripped and interpolated as the source was, with the same value outside the brain: the scan itself comes back as
    it went, so what differs is the method's doing.
    """
    volume, grid = nifti.load(path), nifti.load(source).grid
    if not volume.grid.matches(mask.grid):
        raise UpfieldError(f"{path} is not on the grid of its source; rerun the prediction")
    outside = scaling_of(source).background
    stripped = np.where(mask.data, scaling_of(path).apply(volume.data), np.float32(outside))
    return nifti.resample(volume.with_data(stripped), grid, order=3, background=outside).data


def _tissues_if_any(image: Volume, inside: Array, suffix: str) -> dict[str, Array]:
    """Tissue classes of an image; none, and a warning, where they cannot be found."""
    try:
        return metrics.tissue_regions(image, inside, suffix)
    except ScanError as error:
        logging.warning("tissues are not compared: %s", error)
        return {}


def _in_brain(images: Images) -> tuple[Array, Array]:
    """Values and brain of a preprocessed scan."""
    volume = nifti.load(images[0])
    return volume.data, mask_on(nifti.load_mask(images[1]), volume.grid)


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How outputs without a target image were judged, as a clause with citations."""
    return (
        "there is no target image that an output could be compared with; harmonisation was judged by how well a"
        " classifier tells the scanners apart from the appearance of the brain, by MMD and Wasserstein distances, and"
        " by the structure that each scan kept; ComBat on features [fortin2018] is a baseline"
    )
