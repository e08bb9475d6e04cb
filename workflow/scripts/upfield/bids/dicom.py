"""A DICOM series as NIfTI with a sidecar, by dcm2niix, without what could identify a person."""

import errno
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from upfield import program
from upfield.bids import sidecar
from upfield.errors import REFUSED, PassingError, ScanError, of_machine
from upfield.files import write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.step import step

# Seconds that one series may take.
LIMIT = 900
# What dcm2niix says of a series whose slices do not lie where an image would have them.
NOT_A_GRID = re.compile(
    r"(missing images|interslice distance varies|not equidistant|slices are missing)", re.IGNORECASE
)
# What a sidecar keeps. Everything else goes: names, dates, numbers of studies, devices and institutions among it.
KEPT = (
    "Modality", "MagneticFieldStrength", "ImagingFrequency", "Manufacturer", "ManufacturersModelName", "BodyPart",
    "SoftwareVersions", "MRAcquisitionType", "ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName",
    "PulseSequenceName", "ImageType", "NonlinearGradientCorrection", "SliceThickness", "SpacingBetweenSlices",
    "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "PartialFourier", "PercentPhaseFOV", "PercentSampling",
    "EchoTrainLength", "PhaseEncodingSteps", "AcquisitionMatrixPE", "ReconMatrixPE", "NumberOfAverages",
    "ParallelReductionFactorInPlane", "ParallelReductionTechnique", "PixelBandwidth", "DwellTime",
    "InPlanePhaseEncodingDirectionDICOM", "ReceiveCoilName", "ConversionSoftware", "ConversionSoftwareVersion",
)  # fmt: skip


@step(version=0, memory=(300, 0.2), minutes=(0.5, 0.001))
def convert(series: str | Path, converted: str | Path) -> None:
    """Write the 3-D image of a DICOM series (a folder) to `converted` with its sidecar.

    A series that gives no image, or more than one, or whose slices are missing or unevenly spaced, becomes a tiny
    placeholder whose sidecar says `Excluded` and why, so that one bad scan does not stop the others. Raises
    PassingError for one that is not there or cannot be read now, and where dcm2niix was killed: that says nothing of
    the series, and must not be remembered.
    """
    _require_readable(Path(series))
    try:
        volume, fields = _image(Path(series))
    except ScanError as error:
        volume = Volume(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.eye(4))
        fields = {"Excluded": str(error)}
    nifti.save(volume, converted)
    write_json(sidecar(converted), fields)


def _require_readable(series: Path) -> None:
    try:
        if not series.is_dir():
            raise PassingError(f"{series}: {REFUSED[errno.ENOENT]}")
        for path in sorted(series.rglob("*")):
            # A link to nothing, which dcm2niix would leave out, is a file that is not there.
            if not path.is_dir():
                with path.open("rb") as file:
                    file.read(1)
    except OSError as error:
        raise PassingError(of_machine(error) or f"{error.filename} cannot be read now ({error.strerror})") from None


def _image(series: Path) -> tuple[Volume, dict[str, Any]]:
    # Imported here: only studies with DICOM series need it.
    import dcm2niix

    with tempfile.TemporaryDirectory() as folder:
        command = [dcm2niix.bin, "-b", "y", "-ba", "y", "-z", "n", "-f", "%s_%d", "-o", folder, series.resolve()]
        try:
            done = program.run(command, seconds=LIMIT)
        except program.ProgramError as error:
            raise ScanError(str(error)) from None
        done.require_own_end("dcm2niix")
        # Of a series that lacks a slice it makes a second image, with slices at equal distances; so this comes first.
        said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if NOT_A_GRID.search(line)]
        if said:
            words = "; ".join(dict.fromkeys(line.removeprefix("Warning: ").rstrip(".") for line in said))
            raise ScanError(
                f"a slice of the DICOM series is missing, or its slices are not equally far apart: {words[:200]}"
            )
        images = sorted(Path(folder).glob("*.nii"))
        if len(images) != 1:
            raise ScanError(
                f"dcm2niix made {len(images)} images of the DICOM folder; expected 1, of one series"
                f" ({done.last_line[:100]})"
            )
        found = json.loads(sidecar(images[0]).read_text(encoding="utf-8"))
        return nifti.load_scan(images[0]), {key: found[key] for key in KEPT if key in found}
