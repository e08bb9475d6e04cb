import shutil

import numpy as np
import pytest
from upfield import program
from upfield.bids import dicom, sidecar
from upfield.bids.dicom import convert
from upfield.errors import PassingError
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess import derivatives, masks
from upfield.preprocess.registration import LPS

PERSON = {"PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19700101", "InstitutionName": "Clinic"}


def write_series(folder, volume, number=1):
    """An axial MR series of a volume with whole intensities: one file per slice, with a person's data in its header."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(exist_ok=True)
    affine = LPS @ volume.affine
    spacing = volume.grid.spacing
    columns, rows = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    study, series, frame = (generate_uid(entropy_srcs=[name, str(number)]) for name in ("study", "series", "frame"))
    for index in range(volume.data.shape[2]):
        header = Dataset()
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        header.SOPInstanceUID = generate_uid(entropy_srcs=[f"{number}-{index}"])
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.Modality, header.SeriesNumber, header.InstanceNumber = "MR", number, index + 1
        header.SeriesDescription, header.StudyDate, header.ImageType = "t1", "20240501", ["ORIGINAL", "PRIMARY", "M"]
        header.MagneticFieldStrength, header.Manufacturer, header.MRAcquisitionType = "3", "SIEMENS", "3D"
        header.RepetitionTime, header.EchoTime, header.FlipAngle = "2000", "3", "9"
        for name, value in PERSON.items():
            setattr(header, name, value)
        header.ImageOrientationPatient = [f"{value:.9g}" for value in [*columns, *rows]]
        header.ImagePositionPatient = [f"{value:.9g}" for value in (affine @ [0, 0, index, 1])[:3]]
        header.PixelSpacing = [f"{spacing[1]:g}", f"{spacing[0]:g}"]
        header.SliceThickness = f"{spacing[2]:g}"
        header.Rows, header.Columns = volume.data.shape[1], volume.data.shape[0]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        header.PixelData = np.ascontiguousarray(volume.data[:, :, index].T.astype(np.uint16)).tobytes()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        pydicom.dcmwrite(folder / f"{number}-{index:03d}.dcm", header, enforce_file_format=True)


@pytest.fixture
def volume():
    """Voxels of 1.5 x 2 x 3 mm in an oblique position; no two alike."""
    data = np.random.default_rng(3).permutation(12 * 10 * 8).reshape(12, 10, 8).astype(np.float32)
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.5, 2.0, 3.0])
    affine[:3, 3] = -8, -11, 5
    return Volume(data, affine)


def test_a_series_becomes_the_same_image_in_the_same_place(volume, tmp_path):
    write_series(tmp_path / "series", volume)
    dicom.convert(tmp_path / "series", tmp_path / "out.nii.gz")
    back = nifti.reorient(nifti.load(tmp_path / "out.nii.gz"))
    np.testing.assert_array_equal(back.data, volume.data)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-3)


def test_nothing_of_the_person_stays_in_the_sidecar(volume, tmp_path):
    write_series(tmp_path / "series", volume)
    dicom.convert(tmp_path / "series", tmp_path / "out.nii.gz")
    fields = read_json(tmp_path / "out.json")
    assert fields["MagneticFieldStrength"] == 3 and fields["RepetitionTime"] == 2
    assert set(fields) <= set(dicom.KEPT)
    for path in (tmp_path / "out.json", tmp_path / "out.nii.gz"):
        content = nifti.nib.load(path).header.binaryblock if path.suffix == ".gz" else path.read_bytes()
        assert not [value for value in (*PERSON.values(), "20240501", "2024-05-01") if value.encode() in content]


@pytest.mark.parametrize("number", [0, 2])
def test_a_series_that_is_not_one_image_is_excluded(volume, tmp_path, number):
    series = tmp_path / "series"
    series.mkdir()
    (series / "readme.txt").write_text("nothing")
    for which in range(number):
        write_series(series, volume, which + 1)
    output = tmp_path / "out.nii.gz"
    dicom.convert(series, output)
    assert f"made {number} images" in read_json(sidecar(output))["Excluded"]
    # The mark travels on, and nothing stops.
    masks.extract_brain(output, tmp_path / "mask.nii.gz", {"method": "none"})
    assert f"made {number} images" in derivatives.excluded(tmp_path / "mask.nii.gz")


@pytest.mark.parametrize(("without", "moved"), [([3], 0.0), ([2, 5], 0.0), ([], 0.8)])
def test_slices_that_are_missing_or_uneven_exclude_with_the_reason(volume, tmp_path, without, moved):
    pydicom = pytest.importorskip("pydicom")
    write_series(tmp_path / "series", volume)
    for index in without:
        (tmp_path / "series" / f"1-{index:03d}.dcm").unlink()
    if moved:
        path = tmp_path / "series" / "1-004.dcm"
        header = pydicom.dcmread(path)
        header.ImagePositionPatient[2] = float(header.ImagePositionPatient[2]) + moved
        pydicom.dcmwrite(path, header)
    dicom.convert(tmp_path / "series", tmp_path / "out.nii.gz")
    reason = read_json(tmp_path / "out.json")["Excluded"]
    assert "slice" in reason and "missing" in reason and "\n" not in reason and "Doe" not in reason


def gone(series, monkeypatch):
    shutil.rmtree(series)


def one_file_gone(series, monkeypatch):
    file = sorted(series.iterdir())[0]
    file.unlink()
    file.symlink_to(series / "nowhere")


def killed(series, monkeypatch):
    monkeypatch.setattr(program, "run", lambda *words, **more: program.Done(-9, "", ""))


@pytest.mark.parametrize(("fault", "words"), [(gone, "not there"), (one_file_gone, "not there"), (killed, "SIGKILL")])
def test_what_says_nothing_of_a_series_is_not_remembered(volume, tmp_path, monkeypatch, refused, fault, words):
    write_series(tmp_path / "series", volume)
    converted = tmp_path / "sub-01_T1w.nii.gz"
    with monkeypatch.context() as during:
        fault(tmp_path / "series", during)
        with refused(words, kind=PassingError):
            convert(tmp_path / "series", converted)
    assert not converted.exists()
    shutil.rmtree(tmp_path / "series", ignore_errors=True)
    write_series(tmp_path / "series", volume)
    convert(tmp_path / "series", converted)
    assert "Excluded" not in read_json(sidecar(converted))
