"""Tissues as a test of anatomy: what a segmentation finds in an output against what it finds in the target.

An error of intensity that a metric hardly sees can move a boundary; one that it punishes may move none.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.evaluate.case import Case, Said
from upfield.evaluate.metrics.regions import labelled, regions_of, tissue_regions
from upfield.files import read_json, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.preprocess.derivatives import save_image
from upfield.quality.pair import dice
from upfield.step import step

SEGMENTATION = ["participant_id", "method", "fold", "seed", "tissue", "dice", "output_ml", "truth_ml"]


@step(version=2, memory=(350, 60), minutes=(0.1, 0.1))
def segment_reference(reference: str, mask: str, tissues: str, suffix: str, judged_by: Sequence[str] = ()) -> None:
    """Tissue classes of a target as a label image; without a label, and with the reason, where none are found."""
    volume = nifti.load(reference)
    metadata: dict[str, Any] = {
        "Sources": [reference, mask],
        "Segmentation": "Atropos, three classes from dark to bright",
    }
    labels = np.zeros(volume.data.shape, np.uint8)
    try:
        regions = tissue_regions(volume, nifti.load_mask(mask).data, suffix)
        labels = labelled(regions)
        metadata["Labels"] = {str(label): name for label, name in enumerate(regions, start=1)}
    except ScanError as error:
        logging.warning("only the whole brain is measured: %s", error)
        metadata["NoLabels"] = str(error)
    save_image(volume.with_data(labels), tissues, metadata, np.uint8, judged_by)


def label_names(path: str) -> dict[int, str]:
    """Names of the labels of an image, from its sidecar; empty if it has none."""
    return {int(label): name for label, name in read_json(sidecar(path)).get("Labels", {}).items()}


@step(version=2, memory=(350, 60), minutes=(0.1, 0.6))
def segment_outputs(case: Said, tissues: str, segmentation: str) -> None:
    """Write Dice and volumes of the tissues of every output, see `compared`."""
    case = Case.of(case)

    def found(image: Volume, brain: Array) -> dict[str, Array]:
        return tissue_regions(image, brain, case.suffix)

    write_tsv(segmentation, compared(case, tissues, found))


def compared(case: Case, tissues: str, found_in: Callable[[Volume, Array], dict[str, Array]]) -> pd.DataFrame:
    """Dice and volumes of the regions of every output; no rows if the pair was excluded or none are known.

    `tissues` is a label image of the target with its names. Each output is segmented by itself, in the same way as the
    target: `found_in` gives the regions of an image in a brain, or raises ScanError.
    Columns `SEGMENTATION`: `dice` 0 to 1, volumes in ml; NaN where nothing was found. Errors as for `Case.output`.
    """
    names = label_names(tissues)
    if not names or case.excluded is not None:
        return pd.DataFrame(columns=SEGMENTATION)
    target = case.reference_image
    ml = float(abs(np.linalg.det(target.affine[:3, :3]))) / 1000
    expected = regions_of(nifti.load_labels(tissues).data, names)
    rows: list[list[Any]] = []
    for method in case.outputs:
        try:
            found = found_in(target.with_data(case.output(method)), case.brain)
        except ScanError as error:
            logging.warning("%s: %s", method, error)
            found = {}
        for name, region in expected.items():
            own = found.get(name)
            values = [np.nan, np.nan] if own is None else [dice(own, region), own.sum() * ml]
            rows.append([*case.row(method), name, *values, region.sum() * ml])
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
