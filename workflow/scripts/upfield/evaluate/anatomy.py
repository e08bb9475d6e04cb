"""Structures of the brain as regions, and as a test of anatomy: what a trained segmenter finds in outputs and target.

It was trained to find them whatever the contrast, so that outputs of every kind of study can be asked; how far it can
be trusted stands in its card.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upfield.catalogue.structures import MEASURED
from upfield.errors import ScanError
from upfield.evaluate.case import Case, Said
from upfield.evaluate.metrics.regions import labelled
from upfield.evaluate.tissues import compared
from upfield.files import digest, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.predict.segment import Segmenter, read, segment
from upfield.preprocess.derivatives import save_image
from upfield.step import step


@step(version=1, memory=(900, 250), minutes=(0.2, 0.2), threads=2)
def segment_reference(
    reference: str, mask: str, segmenter: str, tissues: str, device: str, judged_by: Sequence[str] = ()
) -> None:
    """Structures of a target as a label image; without a label, and with the reason, where none can be found.

    `segmenter` is the file of its weights.
    """
    volume = nifti.load(reference)
    metadata: dict[str, Any] = {
        "Sources": [reference, mask],
        "Segmentation": f"anatomy, structures by a trained network ({digest(Path(segmenter))[:12]})",
    }
    labels = np.zeros(volume.data.shape, np.uint8)
    try:
        regions = structures(volume, nifti.load_mask(mask).data, read(Path(segmenter).parent), device)
        labels = labelled(regions)
        metadata["Labels"] = {str(label): name for label, name in enumerate(regions, start=1)}
    except ScanError as error:
        logging.warning("only the whole brain is measured: %s", error)
        metadata["NoLabels"] = str(error)
    save_image(volume.with_data(labels), tissues, metadata, np.uint8, judged_by)


@step(version=1, memory=(900, 250), minutes=(0.2, 1.2), threads=2)
def segment_outputs(case: Said, tissues: str, segmenter: str, segmentation: str, device: str) -> None:
    """Write Dice and volumes of the structures of every output, see `tissues.compared`."""
    network = read(Path(segmenter).parent)

    def found(image: Volume, brain: Array) -> dict[str, Array]:
        return structures(image, brain, network, device)

    write_tsv(segmentation, compared(Case.of(case), tissues, found))


def structures(image: Volume, brain: Array, segmenter: Segmenter, device: str) -> dict[str, Array]:
    """The structures that are measured, both sides together, as boolean masks (X, Y, Z); all are in the result.

    Nothing but the brain is shown to the network: outputs have more or less around it, targets too. Raises ScanError
    for an empty mask or a constant image.
    """
    numbers = segment(image.with_data(np.where(brain, image.data, 0)), brain, segmenter, device).data
    return {name: np.isin(numbers, those) for name, those in MEASURED.items()}
