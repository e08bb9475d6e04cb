"""The phantom's files: a raw BIDS dataset of two sessions per subject."""

from pathlib import Path

import numpy as np
import pandas as pd

from upfield import files
from upfield.image import nifti
from upfield.phantom.scanner import SCANNERS, Phantom, Scanner, simulate

README = """# Upfield phantom

These images are SIMULATED. No person was scanned; no value here may be read as a measurement.

Each of the {subjects} subjects has two T1-weighted scans of one synthetic head: `ses-{low}` ({voxel} mm) and
`ses-{high}` ({spacing:g} mm isotropic).

## How they were made

1. The ICBM152 template (T1, grey and white matter) gets cerebrospinal fluid, skull, scalp, face and neck.
2. A random smooth invertible warp and a change of size turn it into one subject, at 1 mm.
3. The spoiled gradient echo (FLASH) equation, with T1 and T2* from the literature for each field, turns
   tissues into signal; T1 and proton density differ a little between subjects.
4. For `ses-{low}` the head is moved by some millimetres and degrees. Each scanner samples the head on its own
   grid and adds a smooth bias field, a gain and Rician noise.

Ages and sexes in `participants.tsv` are random numbers. Made with seed {seed}.

## Source of the template

ICBM 152 nonlinear symmetric 2009a, in the copy that the Python package nilearn ships.
Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011) 313-327.

> Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
> Institute, McGill University. Permission to use, copy, modify, and distribute this software and its
> documentation for any purpose and without fee is hereby granted, provided that the above copyright
> notice appear in all copies. The authors and McGill University make no representations about the
> suitability of this software for any purpose. It is provided "as is" without express or implied
> warranty. The authors are not responsible for any data loss, equipment damage, property loss, or
> injury to subjects or patients resulting from the use or misuse of this software package.
"""


def scans(settings: Phantom) -> list[Path]:
    """Every scan that `write_subject` writes, relative to the dataset's root, subject by subject."""
    return [_scan(index, session) for index in range(settings.subjects) for session in settings.fields]


def write_subject(root: Path, index: int, settings: Phantom) -> None:
    """Simulate subject number `index` (from 0); write both sessions (int16) and sidecars under `root`."""
    subject = simulate(index, settings)
    for session, volume in zip(settings.fields, (subject.low, subject.high), strict=True):
        path = root / _scan(index, session)
        files.write_json(path.with_name(path.name.replace(".nii.gz", ".json")), _sidecar(SCANNERS[session]))
        nifti.save(volume, path, dtype=np.int16)


def write_dataset(root: Path, settings: Phantom) -> None:
    """Write what belongs to the dataset as a whole: description, participants, README."""
    description = {
        "Name": f"Upfield PHANTOM: simulated {' and '.join(settings.fields)} T1-weighted heads",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "Apache-2.0; ICBM152 template (C) 1993-2009 Louis Collins, McGill University, see README",
        "Authors": ["Upfield developers"],
        "HowToAcknowledge": "Say that the data are simulated; cite the ICBM152 template (see README).",
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2010.07.033"],
    }
    files.write_json(root / "dataset_description.json", description)
    low, high = settings.fields
    voxel = " x ".join(f"{size:g}" for size in SCANNERS[low].voxel(settings.spacing))
    about = {"subjects": settings.subjects, "seed": settings.seed, "spacing": settings.spacing}
    files.write_text(root / "README", README.format(low=low, high=high, voxel=voxel, **about))
    files.write_tsv(root / "participants.tsv", _participants(settings))
    columns = {
        "age": {"Description": "Synthetic: a random number, of nobody", "Units": "year"},
        "sex": {"Description": "Synthetic: drawn at random", "Levels": {"F": "female", "M": "male"}},
    }
    files.write_json(root / "participants.json", columns)


def _participants(settings: Phantom) -> pd.DataFrame:
    """One row a subject; a subject's row does not depend on how many others there are."""
    rows = []
    for index in range(settings.subjects):
        rng = np.random.default_rng([settings.seed, index, 9])
        rows.append((_name(index), int(rng.integers(20, 80)), "FM"[rng.integers(2)]))
    return pd.DataFrame(rows, columns=["participant_id", "age", "sex"])


def _name(index: int) -> str:
    return f"sub-{index + 1:02d}"


def _scan(index: int, session: str) -> Path:
    name = _name(index)
    return Path(name, f"ses-{session}", "anat", f"{name}_ses-{session}_T1w.nii.gz")


def _sidecar(scanner: Scanner) -> dict[str, object]:
    """BIDS metadata of one scan: tesla, seconds, degrees."""
    return {
        "Manufacturer": "Upfield phantom",
        "ManufacturersModelName": scanner.model,
        "MagneticFieldStrength": scanner.field,
        "PulseSequenceType": "Spoiled gradient echo (simulated)",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "MRAcquisitionType": "3D",
        "RepetitionTime": scanner.repetition_time,
        "EchoTime": scanner.echo_time,
        "FlipAngle": scanner.flip_angle,
        "NonlinearGradientCorrection": False,
        "BodyPart": "BRAIN",
        "ImageComments": "Simulated from the ICBM152 template; not a scan of a person",
    }
