"""Images of other formats and types of number: read as they are, or excluded with the true reason."""

import bz2
import gzip
import lzma
import warnings

import nibabel as nib
import numpy as np
import pytest
from upfield.errors import ScanError
from upfield.image import nifti

from tests.images import nifti_bytes

AFFINE = np.diag([6.0, 6, 6, 1])
VALUES = np.random.default_rng(0).integers(1, 120, (20, 18, 16))
PLAIN = nifti_bytes(VALUES.astype(np.float32), AFFINE)
TYPES = (
    np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64,
)  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_number_is_read(tmp_path, dtype, kind, order):
    header = kind.header_class(endianness=order)
    nib.save(kind(VALUES.astype(dtype), AFFINE, header, dtype=dtype), tmp_path / "a.nii.gz")
    volume = nifti.load_scan(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.data, VALUES)
    assert volume.data.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint64])
def test_a_slope_holds_for_every_type(tmp_path, dtype):
    image = nib.Nifti1Image(VALUES.astype(dtype), AFFINE, dtype=dtype)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    header["scl_slope"], header["scl_inter"] = 0.5, -3
    content[:348] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(content)
    np.testing.assert_array_equal(nifti.load_scan(tmp_path / "a.nii").data, VALUES * 0.5 - 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (VALUES.astype(np.int64) + 2**62, ["4.61e+18", "subtract"]),
        (np.iinfo(np.uint64).max - VALUES.astype(np.uint64), ["1.84e+19", "differ by 118"]),
        (VALUES * 1e-320, ["all the same in single precision"]),
        (VALUES.astype(np.int32) + 2**27, ["fewer than 64"]),
        (VALUES.astype(np.float64) + 1e12, ["single precision"]),
        (np.full(VALUES.shape, 2**62, np.int64), ["every voxel has the same value"]),
    ],
)
def test_differences_that_single_precision_loses(tmp_path, refused, values, words):
    nib.save(nib.Nifti1Image(values, AFFINE, dtype=values.dtype), tmp_path / "a.nii")
    with refused(*words, kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii")


def test_large_intensities_that_are_told_apart(tmp_path):
    values = VALUES.astype(np.int32) * 1000 + 2**24
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "a.nii")
    assert np.abs(nifti.load_scan(tmp_path / "a.nii").data - values.astype(float)).max() <= 1


@pytest.mark.parametrize(
    ("code", "name"), [(1, "binary"), (1536, "float128"), (2048, "complex256"), (0, "none"), (3000, "unknown")]
)
def test_other_types_are_named(tmp_path, refused, code, name):
    (tmp_path / "a.nii").write_bytes(nifti_bytes(VALUES.astype(np.float32), AFFINE, datatype=code))
    with refused(f"{code}, {name}", "64 bits", kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii")


PAIRS = (nib.Nifti1Pair, nib.Nifti2Pair, nib.AnalyzeImage, nib.Spm99AnalyzeImage)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("ending", [".img", ".hdr"])
def test_pairs_of_files(tmp_path, refused, kind, ending):
    with warnings.catch_warnings(action="ignore"):
        nib.save(kind(VALUES.astype(np.float32), AFFINE), tmp_path / "a.img")
    said = "one of a pair" if "Pair" in kind.__name__ else "Analyze"
    with refused(said, "expected NIfTI in one file", "convert", kind=ScanError):
        nifti.load_scan(tmp_path / f"a{ending}")


@pytest.mark.parametrize("pair", PAIRS[:2])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_header_of_a_pair_in_a_file_of_its_own(tmp_path, refused, pair, ending):
    """nibabel takes the header itself for intensities then, without a word."""
    nib.save(pair(VALUES.astype(np.float32), AFFINE), tmp_path / "a.img")
    glued = (tmp_path / "a.hdr").read_bytes().ljust(544, b"\0") + (tmp_path / "a.img").read_bytes()
    for content in (glued, (tmp_path / "a.hdr").read_bytes().ljust(544, b"\0")):
        (tmp_path / f"b{ending}").write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
        with refused("that of a pair of files", kind=ScanError):
            nifti.load_scan(tmp_path / f"b{ending}")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.nii.bz2", bz2.compress(PLAIN), ["bzip2", "unpack"]),
        ("a.nii", bz2.compress(PLAIN), ["bzip2", "unpack"]),
        ("a.nii.gz", lzma.compress(PLAIN), ["xz", "unpack"]),
        ("a.nii.gz", b"PK\x03\x04" + PLAIN, ["zip"]),
        ("a.nii", gzip.compress(PLAIN), ["gzip", "name it .nii.gz"]),
        ("a.nii.gz", PLAIN, ["not packed", "name it .nii"]),
        ("a.nii.gz", gzip.compress(gzip.compress(PLAIN)), ["packed twice"]),
        ("a.nii.gz", bytes(128) + b"DICM", ["DICOM"]),
        ("a.nrrd", b"NRRD0004\n", ["NRRD"]),
        ("a.nii", b"\n<!DOCTYPE html><html>sign in</html>", ["page of the web"]),
        ("a.nii.gz", b"<html>404</html>", ["page of the web"]),
    ],
)
def test_what_the_first_bytes_say(tmp_path, refused, name, content, words):
    (tmp_path / name).write_bytes(content)
    with refused("cannot be read as NIfTI", *words, kind=ScanError):
        nifti.load_scan(tmp_path / name)


def test_freesurfer_s_format(tmp_path, refused):
    nib.save(nib.MGHImage(VALUES.astype(np.float32), AFFINE), tmp_path / "a.mgz")
    with refused("MGH", "expected NIfTI", "convert", kind=ScanError):
        nifti.load_scan(tmp_path / "a.mgz")
