"""Tissues as a test of anatomy: what a segmentation finds in an output against what it finds in the truth.

An error of intensity that a metric hardly sees can move a boundary; one that it punishes may move none.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.evaluate.metrics.regions import labelled, regions_of, tissue_regions
from upfield.evaluate.subject import load_prediction, seed_label
from upfield.files import read_json
from upfield.image import nifti
from upfield.preprocess.derivatives import excluded, save_image
from upfield.quality.pair import dice

SEGMENTATION = ["participant_id", "method", "fold", "seed", "tissue", "dice", "output_ml", "truth_ml"]


def segment_truth(truth: str, mask: str, output: str, suffix: str) -> None:
    """Tissue classes of a target as a label image; without a label, and with the reason, where none are found."""
    volume = nifti.load(truth)
    metadata: dict[str, Any] = {"Sources": [truth, mask], "Segmentation": "Atropos, three classes from dark to bright"}
    labels = np.zeros(volume.data.shape, np.uint8)
    try:
        regions = tissue_regions(volume, nifti.load_mask(mask).data, suffix)
        labels = labelled(regions)
        metadata["Labels"] = {str(label): name for label, name in enumerate(regions, start=1)}
    except ScanError as error:
        logging.warning("only the whole brain is measured: %s", error)
        metadata["NoLabels"] = str(error)
    save_image(volume.with_data(labels), output, metadata, np.uint8)


def label_names(path: str) -> dict[int, str]:
    """Names of the labels of an image, from its sidecar; empty if it has none."""
    return {int(label): name for label, name in read_json(sidecar(path)).get("Labels", {}).items()}


def segment_outputs(
    predictions: Mapping[str, str],
    truth: str,
    mask: str,
    tissues: str,
    *,
    sidecars: Sequence[str],
    participant: str,
    fold: str,
    seeds: Mapping[str, Sequence[int]],
    suffix: str,
) -> pd.DataFrame:
    """Dice and volumes of the tissues of every output; no rows if the pair was excluded or the truth has no tissues.

    Arguments as for `measure`; `tissues` is what `segment_truth` wrote. Each output is segmented by itself, in the
    same way as the truth. Columns `SEGMENTATION`: `dice` 0 to 1, volumes in ml; NaN where no tissues were found.
    """
    names = label_names(tissues)
    if not names or any(excluded(path) is not None for path in sidecars):
        return pd.DataFrame(columns=SEGMENTATION)
    target, brain = nifti.load(truth), nifti.load_mask(mask).data
    ml = float(abs(np.linalg.det(target.affine[:3, :3]))) / 1000
    expected = regions_of(nifti.load_labels(tissues).data, names)
    rows: list[list[Any]] = []
    for method, path in predictions.items():
        try:
            output = target.with_data(load_prediction(path, target, truth))
            found = tissue_regions(output, brain, suffix)
        except ScanError as error:
            logging.warning("%s: %s", method, error)
            found = {}
        seed = seed_label(seeds.get(method, []))
        for name, region in expected.items():
            own = found.get(name)
            values = [np.nan, np.nan] if own is None else [dice(own, region), own.sum() * ml]
            rows.append([participant, method, fold, seed, name, *values, region.sum() * ml])
    return pd.DataFrame(rows, columns=SEGMENTATION)


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `per_subject.tsv` from a segmentation table: `dice_<tissue>`, `volume_error_<tissue>` in % (absolute)."""
    keys = table[["participant_id", "method", "fold", "seed"]].assign(split="test", region="brain")
    error = 100 * (table["output_ml"] - table["truth_ml"]).abs() / table["truth_ml"]
    parts = [
        keys.assign(metric="dice_" + table["tissue"], value=table["dice"]),
        keys.assign(metric="volume_error_" + table["tissue"], value=error),
    ]
    return pd.concat(parts, ignore_index=True)


def volumes(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `quantities.tsv` from a segmentation table: the volume of each tissue, in ml."""
    return pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "method": table["method"],
            "region": table["tissue"],
            "quantity": "volume_ml",
            "output": table["output_ml"],
            "truth": table["truth_ml"],
        }
    )
