"""One scan and a segmenter, without a study."""

from pathlib import Path

import numpy as np
import pandas as pd

from upfield.files import read_json, write_json, write_tsv
from upfield.image import nifti
from upfield.image.formats import split
from upfield.predict import segment as segmenting
from upfield.preprocess.bias import n4
from upfield.preprocess.brain.extraction import extract
from upfield.study import config


def segment(scan: Path, output: Path, folder: Path, stripped: bool, device: str) -> pd.DataFrame:
    """Segment one scan; write labels, sidecar, table of labels and volumes, and return these.

    `folder` is that of the segmenter; of a `stripped` scan the brain is what is above 0. Raises ScanError, one line,
    for a scan that cannot be used, UpfieldError for a model that cannot.
    """
    segmenter = segmenting.read(folder)
    volume = nifti.load_scan(scan)
    brain = config.defaults()["preprocess"]["brain"] | ({"method": "none"} if stripped else {})
    mask = extract(volume, brain, [])
    labels = segmenting.segment(n4(volume, mask), mask, segmenter, device)
    output.parent.mkdir(parents=True, exist_ok=True)
    nifti.save(labels, output, np.int16)
    stem = output.with_name(split(output)[0])
    said = {"Sources": [scan.name], "Method": "anatomy", "BrainExtraction": brain["method"], "Model": _said(folder)}
    write_json(stem.with_name(f"{stem.name}.json"), said)
    write_tsv(stem.with_name(f"{stem.name}.tsv"), segmenting.labels_table())
    table = segmenting.volumes(labels)
    write_tsv(stem.with_name(f"{stem.name.removesuffix('_dseg')}_morph.tsv"), table)
    return table


def _said(folder: Path) -> dict[str, str]:
    """What a sidecar says of the segmenter."""
    card = read_json(folder / "model.json")
    return {key: card[key] for key in ("upfield", "weights_sha") if key in card}
