"""Evaluation of harmonized scans, from files to tables: no reference exists, so scans are compared with cohorts.

Everything is measured on the source's working grid in normalized values: outputs as they were written, read back
through the scaling of their sidecar.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.bids import sidecar
from upfield.errors import ScanError, UpfieldError
from upfield.evaluate import harmonization, metrics
from upfield.evaluate.case import Case, Said
from upfield.evaluate.subject import COLUMNS
from upfield.evaluate.tables import gathered
from upfield.files import read_json, read_tsv, write_tsv
from upfield.image import histograms, nifti
from upfield.image.nifti import Array, Volume, mask_on
from upfield.preprocess.derivatives import excluded, scaling_of
from upfield.quality.pair import dice
from upfield.step import step

# A preprocessed image and the native brain mask of the same scan.
Images = tuple[str, str]


@step(version=0, memory=(400, 250), minutes=(0.1, 0.1))
def measure(case: Said, targets: Sequence[str], target_masks: Sequence[str], harmonized: str) -> None:
    """Write what `measured` gives of a test participant; `targets` are preprocessed."""
    write_tsv(harmonized, measured(Case.of(case), list(zip(targets, target_masks, strict=True))))


def measured(case: Case, targets: Sequence[Images]) -> pd.DataFrame:
    """Long table of one test participant of the source; no rows if the scan was excluded.

    `ssim_source`, `gradient_correlation`: structure shared with the source; `tissue_dice`: mean overlap of the tissue
    classes found in the output with those found in the source, where both have some; `cycle_error`: of methods that
    lead back; `wasserstein`: distance of the intensities to the mean distribution of `targets`, the test participants
    of the target in this fold, who taught nobody anything.
    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS)
    original = nifti.load(case.source)
    inside = mask_on(case.brain_mask, original.grid)
    usable = [images for images in targets if excluded(images[0]) is None]
    reference = histograms.fit_histogram(map(_in_brain, usable)) if usable else None
    own = _tissues_if_any(original, inside, case.suffix)
    rows = []
    for method, path in case.outputs.items():
        output = read_back(case, method)
        try:
            values = harmonization.structure(original.data, output, inside)
        except ScanError as error:
            raise UpfieldError(f"{path}: {error}; rerun the prediction") from None
        cycle = read_json(sidecar(path)).get("CycleError")
        values |= {} if cycle is None else {"cycle_error": cycle}
        found = _tissues_if_any(original.with_data(output), inside, case.suffix) if own else {}
        values |= {"tissue_dice": float(np.mean([dice(found[name], own[name]) for name in own]))} if found else {}
        values |= {} if reference is None else {"wasserstein": harmonization.wasserstein(output, inside, reference)}
        rows += [(*case.row(method), "test", "brain", name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


@step(version=0, memory=(400, 250), minutes=(0.1, 0.1))
def appearance(case: Said, scanner: str, appearance: str) -> None:
    """Write what `seen` gives of a scan."""
    write_tsv(appearance, seen(Case.of(case), scanner))


def seen(case: Case, scanner: str) -> pd.DataFrame:
    """`harmonization.COLUMNS` of one scan as it is (method `identity`) and as each method made it.

    Tissues are those found in each image by itself. No rows, and a warning, for a scan that was excluded and for an
    image whose brain cannot be cut into tissues or slabs.
    """
    reason = case.excluded
    if reason is not None:
        logging.warning("%s has no features: %s", case.participant, reason)
        return pd.DataFrame(columns=harmonization.COLUMNS)
    original = nifti.load(case.source)
    inside = mask_on(case.brain_mask, original.grid)
    images = {"identity": original.data}
    images |= {method: read_back(case, method) for method in case.outputs if method != "identity"}
    tables = []
    for method, data in images.items():
        try:
            tissues = metrics.tissue_regions(original.with_data(data), inside, case.suffix)
            features = harmonization.appearance(data, inside, tissues, original.grid.spacing.tolist())
        except ScanError as error:
            logging.warning("%s has no features of %s: %s", case.participant, method, error)
            continue
        tables.append(features.assign(participant_id=case.participant, scanner=scanner, method=method))
    if not tables:
        return pd.DataFrame(columns=harmonization.COLUMNS)
    return pd.concat(tables, ignore_index=True)[harmonization.COLUMNS]


@step(version=3, memory=(300, 1), minutes=(0.2, 0.02))
def scanners(
    parts: Sequence[str],
    splits: str,
    appearance: str,
    harmonization: str,
    same_person: Mapping[str, str],
    seed: int,
) -> None:
    """Write what `compared` gives, from the features of every scan, a file in `parts` each."""
    tables = compared(gathered(parts), read_tsv(splits), same_person, seed)
    for path, table in zip((appearance, harmonization), tables, strict=True):
        write_tsv(path, table)


def compared(
    values: pd.DataFrame, splits: pd.DataFrame, same_person: Mapping[str, str], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The features of all test participants, with those after ComBat, and the table of the two cohorts.

    ComBat is fitted on the training participants of each fold and applied to its test participants; a fold with too
    few to learn from has none. `same_person` names target participants who are a source participant too.
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
            adjusted.append(harmonization.combat(learned, given))
        except UpfieldError as error:
            logging.warning("fold %s: %s", fold, error)
    table = pd.concat([tested, *adjusted], ignore_index=True)
    table["participant_id"] = table["participant_id"].replace(dict(same_person))
    return table, harmonization.cohort_table(table, seed)


def read_back(case: Case, method: str) -> Array:
    """A native output on the working grid of the case's preprocessed source, (X, Y, Z) normalized.

    Stripped and interpolated as the source was, with the same value outside the brain: the scan itself comes back as
    it went, so what differs is the method's doing. Errors as for `Case.output`.
    """
    data, grid = case.output(method), nifti.load(case.source).grid
    outside = scaling_of(case.source).background
    values = scaling_of(case.outputs[method]).apply(data)
    stripped = case.brain_mask.with_data(np.where(case.brain, values, np.float32(outside)))
    return nifti.resample(stripped, grid, order=3, background=outside).data


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
        "there is no target image that an output could be compared with; harmonization was judged by how well a"
        " classifier tells the scanners apart from the appearance of the brain, by MMD and Wasserstein distances, and"
        " by the structure that each scan kept; ComBat on features [fortin2018] is a baseline"
    )
