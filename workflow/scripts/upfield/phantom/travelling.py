"""Travelling heads: label maps seen by several simulated scanners, as a BIDS dataset whose truth is known.

For tests of harmonization, and to try it out on what looks like heads. No person was scanned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from upfield import files
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.simulation import contrast, labels, protocol
from upfield.simulation.acquisition import scanned

# What is around the brain, mm: maps show the outline of a face.
AROUND = 30.0
# White matter in the truth, and of what is written: whole numbers.
WHITE = 1000.0
# Distinguish the random numbers of heads, scanners and scans.
HEAD, SCANNER, SCAN = 0x4EAD, 0x5CA7, 0x5CA8

README = """# Travelling heads

These images are SIMULATED from label maps. No person was scanned; no value here may be read as a measurement.

Each head was drawn once from its map (`derivatives/truth`), T1-weighted, and acquired by each of these scanners, whose
voxels, slices, noise, bias and curve of intensities are their own: {scanners}. Scans of one head lie in one world.
Everything farther than {around:g} mm from the brain is left out. Made with seed {seed}.
"""


@dataclass(frozen=True)
class Scanner:
    """A simulated scanner: ranges of what is drawn for each scan, field in tesla, and units by those of the truth."""

    field: float
    ranges: protocol.Kind
    gain: float


# 3-D imaging of two makers at 3 T and 1.5 T, slices at 1.5 T, and slices at low field.
SCANNERS: Mapping[str, Scanner] = {
    "A": Scanner(3.0, {"volume": 1, "readout": 1.0, "phase": 1.0, "thickness": 1.0, "gap": 0, "noise": [0.01, 0.02],
                       "bias": [0.05, 0.15], "axis": 0}, 1.0),
    "B": Scanner(1.5, {"volume": 1, "readout": 1.0, "phase": 1.2, "thickness": 1.4, "gap": 0, "noise": [0.03, 0.05],
                       "bias": [0.05, 0.15], "phase_filter": 0.4, "axis": 1}, 0.4),
    "C": Scanner(1.5, {"readout": 0.9, "phase": 1.0, "thickness": 4.0, "gap": 0.4, "noise": [0.02, 0.04],
                       "bias": [0.1, 0.2], "axis": 2}, 2.5),
    "D": Scanner(0.055, protocol.ULTRA_LOW_FIELD, 0.1),
}  # fmt: skip


def write(maps: Sequence[Path], root: Path, scanners: Sequence[str], seed: int) -> list[Path]:
    """Write the dataset of some label maps under `root`; returns the scans. `scanners` are names in `SCANNERS`.

    Raises ScanError for a map that cannot be read.
    """
    written = []
    for number, path in enumerate(maps):
        participant = f"sub-{number + 1:02d}"
        truth, tissues, mask = head(path, np.random.default_rng([HEAD, seed, number]))
        for kind, image in (("truth_T1w", truth), ("brain_mask", truth.with_data(mask)), ("tissues_dseg", tissues)):
            into = root / "derivatives" / "truth" / participant / "anat" / f"{participant}_desc-{kind}.nii.gz"
            nifti.save(image, into, np.float32 if kind == "truth_T1w" else np.uint8)
        for name in scanners:
            scan = root / participant / f"ses-{name}" / "anat" / f"{participant}_ses-{name}_T1w.nii.gz"
            nifti.save(acquired(truth, name, seed, number), scan, np.int16)
            files.write_json(str(scan).replace(".nii.gz", ".json"), _sidecar(name))
            written.append(scan)
    description = {"Name": "Upfield: simulated travelling heads", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    files.write_json(root / "dataset_description.json", description)
    derived = {"Name": "What the heads are like", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
               "GeneratedBy": [{"Name": "Upfield"}]}  # fmt: skip
    files.write_json(root / "derivatives" / "truth" / "dataset_description.json", derived)
    files.write_text(root / "README", README.format(scanners=", ".join(scanners), around=AROUND, seed=seed))
    return written


def head(path: Path, generator: np.random.Generator) -> tuple[Volume, Volume, Array]:
    """A T1-weighted image drawn from a label map, its tissues (indices of `labels.NAMES`), and its brain."""
    cut, mask = labels.cut(nifti.reorient(nifti.load_labels(path)), AROUND)
    indices = np.where(nifti.dilated(cut.with_data(mask), AROUND), cut.data, 0).astype(np.uint8)
    image = labels.drawn(torch.from_numpy(indices), float(cut.grid.spacing.min()), generator, like="T1w").numpy()
    return cut.with_data(WHITE * image), cut.with_data(indices), mask


def acquired(truth: Volume, name: str, seed: int, number: int) -> Volume:
    """Head `number` as scanner `name` sees it: its curve of intensities is the scanner's, the rest of each scan."""
    scanner = SCANNERS[name]
    own = [seed, list(SCANNERS).index(name)]
    curve = np.random.default_rng([SCANNER, *own])
    image = contrast.risen(torch.from_numpy(truth.data / WHITE), curve).numpy()
    generator = np.random.default_rng([SCAN, *own, number])
    (kind,) = protocol.protocols(scanner.ranges)
    scan = scanned(truth.with_data(WHITE * scanner.gain * image), protocol.drawn(kind, generator), generator)
    return scan.with_data(np.rint(scan.data))


def _sidecar(name: str) -> dict[str, object]:
    return {
        "Manufacturer": "Upfield, simulated",
        "ManufacturersModelName": f"Scanner {name}",
        "MagneticFieldStrength": SCANNERS[name].field,
        "ImageComments": "Simulated from a label map; not a scan of a person",
    }
