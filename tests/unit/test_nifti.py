import errno
import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield.errors import PassingError, ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Grid, Volume
from upfield.phantom import anatomy

from tests.images import nifti_bytes


def rigid(degrees, translation, centre=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = anatomy.rotation(np.array(degrees))
    matrix[:3, 3] = np.array(centre) + translation - matrix[:3, :3] @ np.array(centre)
    return matrix


def world(affine, index):
    return (affine @ np.append(index, 1.0))[:3]


# Loading and saving


def test_round_trip_keeps_affine_and_values(awkward, tmp_path):
    nifti.save(awkward, tmp_path / "a.nii.gz")
    back = nifti.load(tmp_path / "a.nii.gz")
    assert back.data.dtype == np.float32
    assert np.array_equal(back.data, awkward.data)
    np.testing.assert_allclose(back.affine, awkward.affine, atol=1e-4)
    header = nib.load(tmp_path / "a.nii.gz").header
    # Tools differ in which of the two they read.
    np.testing.assert_allclose(header.get_qform(), awkward.affine, atol=1e-3)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"


def test_bytes_depend_on_content_alone(awkward, tmp_path):
    for name in ("one.nii.gz", "two.nii.gz"):
        nifti.save(awkward, tmp_path / name)
    one = (tmp_path / "one.nii.gz").read_bytes()
    assert one == (tmp_path / "two.nii.gz").read_bytes()
    nifti.save(awkward.with_data(awkward.data + 1), tmp_path / "two.nii.gz")
    assert one != (tmp_path / "two.nii.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.nii.gz", "two.nii.gz"]


def test_integer_types_are_rounded_and_clipped(tmp_path):
    data = np.array([-3.0, 0.4, 0.6, 254.5, 255.6, 1e6, 7, 8], np.float32).reshape(2, 2, 2)
    nifti.save(Volume(data, np.eye(4)), tmp_path / "a.nii", dtype=np.uint8)
    assert nifti.load(tmp_path / "a.nii").data.ravel().tolist() == [0, 0, 1, 254, 255, 255, 7, 8]


def test_intensity_slope_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    # nibabel scales on saving unless the raw array is written as it is.
    with (tmp_path / "a.nii").open("wb") as file:
        image.header["vox_offset"] = 352
        image.header["scl_slope"], image.header["scl_inter"] = 0.5, 10
        file.write(image.header.binaryblock + b"\0" * 4 + np.arange(8, dtype=np.int16).tobytes())
    assert nifti.load(tmp_path / "a.nii").data.ravel(order="F").tolist() == [10 + 0.5 * i for i in range(8)]


def test_single_volume_with_four_axes_is_3d(blob, tmp_path):
    volume = blob()
    nib.save(nib.Nifti1Image(volume.data[..., None], volume.affine), tmp_path / "a.nii.gz")
    assert np.array_equal(nifti.load(tmp_path / "a.nii.gz").data, volume.data)


def test_not_finite_voxels_become_zero(tmp_path):
    data = np.full((4, 4, 4), 5, np.float32)
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    loaded = nifti.load(tmp_path / "a.nii.gz").data
    assert loaded[0, 0].tolist() == [0, 0, 0, 5]


def test_missing_file(tmp_path, refused):
    """It may come back: nobody is excluded for it, and the line says which file it is."""
    with refused("nowhere.nii.gz", "not there", kind=PassingError):
        nifti.load(tmp_path / "nowhere.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", np.random.default_rng(0).bytes(2000)])
def test_random_bytes(tmp_path, refused, name, content):
    (tmp_path / name).write_bytes(content)
    with refused("cannot be read", kind=ScanError):
        nifti.load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_truncated(tmp_path, refused, name, kept):
    path = tmp_path / name
    data = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    nifti.save(Volume(data, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with refused("cannot be read", kind=ScanError):
        nifti.load(path)


def _header(**fields):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_data_dtype(np.float32)
    for name, value in fields.items():
        header[name] = value
    values = np.arange(120, dtype=np.float32)
    return header.binaryblock + b"\0" * 4 + values.tobytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"datatype": 4096},
        {"datatype": 128, "bitpix": 24},  # RGB
        {"vox_offset": 100},
        {"dim": [3, -4, 5, 6, 1, 1, 1, 1]},
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        {"dim": [2, 4, 5, 1, 1, 1, 1, 1]},
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_of_other_things(tmp_path, refused, fields, packed):
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    content = _header(**{"vox_offset": 352, **fields})
    path.write_bytes(gzip.compress(content) if packed else content)
    with refused(kind=ScanError):
        nifti.load(path)


@given(st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_headers_never_crash(tmp_path_factory, damage):
    path = tmp_path_factory.getbasetemp() / "damaged.nii"
    content = bytearray(_header(vox_offset=352, sform_code=1, srow_x=[1, 0, 0, 0], srow_y=[0, 1, 0, 0]))
    for where, byte in damage:
        content[where] = byte
    path.write_bytes(bytes(content))
    with np.errstate(all="ignore"):
        try:
            volume = nifti.load(path)
        except ScanError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(volume.data).all() and volume.data.ndim == 3


def test_four_dimensional(tmp_path, refused):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).uniform(size=(4, 5, 6, 3)), np.eye(4)), tmp_path / "a.nii.gz")
    with refused("4D", "(4, 5, 6, 3)", "expected one 3D volume", kind=ScanError):
        nifti.load(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_constant(tmp_path, refused, value):
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), value, np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with refused("constant", kind=ScanError):
        nifti.load(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("entry", [0.0, np.nan, np.inf])
def test_singular_affine(tmp_path, refused, entry):
    content = _header(vox_offset=352, sform_code=1, srow_x=[entry, 0, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])
    (tmp_path / "a.nii").write_bytes(content)
    with refused("affine", "sform", kind=ScanError):
        nifti.load(tmp_path / "a.nii")


# Scans that are not what they seem


def _image(data=None, affine=None, **fields):
    """A plausible small scan, with changes of its header."""
    data = np.random.default_rng(0).uniform(1, 100, (12, 11, 10)).astype(np.float32) if data is None else data
    return nifti_bytes(data, affine, **fields)


def test_a_scan_is_what_it_seems(tmp_path):
    (tmp_path / "a.nii").write_bytes(_image())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_image()))
    scans = [nifti.load_scan(tmp_path / name) for name in ("a.nii", "a.nii.gz")]
    assert np.array_equal(scans[0].data, scans[1].data) and scans[0].data.shape == (12, 11, 10)


def _sheared():
    affine = np.diag([4.0, 4, 4, 1])
    affine[:2, 2] = 20
    return affine


def _far():
    affine = np.diag([4.0, 4, 4, 1])
    affine[0, 3] = 1e7
    return affine


# Half a gigabyte, of a size that a head may have.
BIG = {
    "dim": [3, 500, 500, 500, 1, 1, 1, 1],
    "srow_x": [1, 0, 0, 0],
    "srow_y": [0, 1, 0, 0],
    "srow_z": [0, 0, 1, 0],
}
NOISE = np.random.default_rng(0).uniform(1, 100, (12, 11, 10))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_image((NOISE + 1j * NOISE).astype(np.complex64)), ["complex", "magnitude"]),
        (_image((NOISE - 2j).astype(np.complex128)), ["complex", "magnitude"]),
        (_image(NOISE * 1e40), ["beyond single precision"]),
        (_image(np.where(NOISE > 99, 1e300, NOISE)), ["beyond single precision"]),
        (_image((NOISE * 1e30).astype(np.float32)), ["intensities up to"]),
        (_image((NOISE * 1e-30).astype(np.float32)), ["intensities up to"]),
        (_image(NOISE, sform_code=0, qform_code=0), ["which way", "sform_code and qform_code"]),
        (_image(affine=np.diag([8000.0, 8000, 8000, 1])), ["voxels of 8000 x", "mm"]),
        (_image(affine=np.diag([1e-6, 1e-6, 1e-6, 1])), ["affine"]),
        (_image(affine=np.diag([0.004, 0.004, 0.004, 1]), xyzt_units=1), ["voxels of 0.004", "meter"]),
        (_image(affine=np.diag([4000.0, 4000, 4000, 1]), xyzt_units=3), ["voxels of 4000", "micron"]),
        (_image(affine=np.diag([0.3, 0.3, 0.3, 1])), ["field of view of 3.6 x"]),
        (_image(np.tile(NOISE, (3, 1, 1)), np.diag([40.0, 4, 4, 1])), ["field of view of 1440"]),
        (_image(affine=_sheared()), ["right angles"]),
        (_image(affine=_far()), ["from its origin"]),
        (_image(dim=[3, 30000, 30000, 2, 1, 1, 1, 1])[:360], ["voxels", "million"]),
        (_image(**BIG)[:360], ["claims", "cut or damaged"]),
        (_image()[:-1], ["cut or damaged"]),
    ],
)  # fmt: skip
def test_what_no_scan_of_a_head_can_be_is_excluded_with_the_reason(content, words, packed, tmp_path, refused):
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    if packed and words == ["cut or damaged"]:
        words = ["cannot be read"]
    with refused(*words, kind=ScanError):
        nifti.load_scan(path)


def test_a_small_file_that_claims_much_takes_no_memory(tmp_path, refused):
    """Packed zeros, as many as make the claim possible by the size of the file, but fewer than claimed."""
    header = _image(dim=[3, 500, 500, 500, 1, 1, 1, 1], srow_x=[1, 0, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])[
        :352
    ]
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header + bytes(2**20), 9) + np.random.default_rng(0).bytes(600_000))
    tracemalloc.start()
    with refused("cannot be read", kind=ScanError):
        nifti.load_scan(path)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_intensities_whose_checksum_does_not_hold_are_not_taken(tmp_path, refused, where):
    """A flipped bit of stored bytes unpacks well: only the checksum, which comes last, tells."""
    packed = bytearray(gzip.compress(_image(), 0))
    packed[int(where * len(packed))] ^= 16
    (tmp_path / "a.nii.gz").write_bytes(packed)
    with refused("cannot be read", "CRC", kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("rest", [bytes(100), b"rest", gzip.compress(b"another")], ids=["zeros", "text", "stream"])
def test_what_follows_a_whole_stream_is_passed_over(tmp_path, rest):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_image()) + rest)
    assert nifti.load_scan(tmp_path / "a.nii.gz").data.shape == (12, 11, 10)


def test_a_packed_file_is_not_unpacked_without_end(tmp_path, refused):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_image() + bytes(nifti.UNCHECKED + 2**20), 1))
    with refused("far more", kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("begin", [0, 100, 348, -352, 1e9, np.nan, np.inf])
def test_an_image_does_not_begin_within_its_header(tmp_path, refused, begin, packed):
    """nibabel takes 0 for a place, and the header's own bytes for intensities."""
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(_image(vox_offset=begin)) if packed else _image(vox_offset=begin))
    with refused("cannot be read", "vox_offset", kind=ScanError):
        nifti.load_scan(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("claim", [2**30, 2**31 - 1, 7, 0, -8, 80])
def test_what_an_extension_claims_is_not_believed(tmp_path, refused, claim, packed):
    image = nib.Nifti1Image(NOISE.astype(np.float32), np.diag([4.0, 4, 4, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanned on a Monday"))
    content = bytearray(image.to_bytes())
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert nifti.load_scan(path).data.shape == NOISE.shape
    content[352:356] = claim.to_bytes(4, "little", signed=True)
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with refused("cannot be read", "extension", kind=ScanError):
        nifti.load_scan(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_voxels_that_are_no_numbers_are_counted(tmp_path, caplog):
    data = NOISE.astype(np.float32)
    data[0, 0, :3] = np.nan
    (tmp_path / "a.nii").write_bytes(_image(data))
    assert nifti.load_scan(tmp_path / "a.nii").data[0, 0, :3].tolist() == [0, 0, 0]
    assert "3 voxels are not finite" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_nothing_that_is_not_finite_is_written(value, tmp_path, refused):
    data = NOISE.copy()
    data[1, 2, 3] = value
    with refused("a.nii.gz", "not written"):
        nifti.save(Volume(data, np.diag([4.0, 4, 4, 1])), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_what_says_nothing_of_the_file_excludes_nobody(tmp_path, monkeypatch):
    """A scan without permission today may be read tomorrow: the run stops, and nothing is remembered."""
    (tmp_path / "a.nii").write_bytes(_image())

    def denied(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a.nii"))

    monkeypatch.setattr(nifti.nib, "load", denied)
    with pytest.raises(UpfieldError, match="cannot be read now") as caught:
        nifti.load_scan(tmp_path / "a.nii")
    assert not isinstance(caught.value, ScanError)


# Orientation


@given(
    permutation=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    degrees=st.tuples(*[st.floats(-25, 25)] * 3),
    marked=st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6)),
)
def test_reorient_keeps_world_coordinates(permutation, signs, degrees, marked):
    affine = rigid(degrees, (10, -20, 30)) @ np.diag([1.0, 1.5, 3.0, 1.0])
    affine[:3, :3] = affine[:3, list(permutation)] * signs
    data = np.zeros((5, 6, 7), np.float32)
    data[marked] = 1
    result = nifti.reorient(Volume(data, affine))
    assert nib.aff2axcodes(result.affine) == ("R", "A", "S")
    found = np.argwhere(result.data)
    assert len(found) == 1
    np.testing.assert_allclose(world(result.affine, found[0]), world(affine, marked), atol=1e-9)
    again = nifti.reorient(result)
    assert np.array_equal(again.data, result.data) and np.array_equal(again.affine, result.affine)


# Resampling


@pytest.mark.parametrize("order", [0, 1, 3])
def test_identity_is_exact(awkward, order):
    result = nifti.resample(awkward, awkward.grid, order=order)
    assert np.array_equal(result.data, awkward.data)
    assert result.data is not awkward.data
    assert np.array_equal(result.affine, awkward.affine)


@pytest.mark.parametrize("order", [1, 3])
def test_translation_moves_the_world(awkward, centroid, order):
    shift = np.array([3.0, -5.0, 2.0])
    moved = nifti.resample(awkward, awkward.grid, rigid((0, 0, 0), shift), order=order)
    # The transform takes a point of the result to a point of the input: the blob goes the other way.
    np.testing.assert_allclose(centroid(moved), centroid(awkward) - shift, atol=0.2)


def test_rigid_transform_takes_the_result_to_the_input(awkward, blob, centroid):
    middle = world(awkward.affine, (np.array(awkward.data.shape) - 1) / 2)
    transform = rigid((12, -8, 20), (2, 1, -3), middle)
    # Onto another lattice, so that no axis or flip can cancel out.
    target = nifti.regrid(nifti.reorient(awkward), (2.0, 1.7, 2.3))
    moved = nifti.resample(awkward, target, transform)
    expected = (np.linalg.inv(transform) @ np.append(centroid(awkward), 1.0))[:3]
    np.testing.assert_allclose(centroid(moved), expected, atol=0.2)
    assert np.linalg.norm(expected - (transform @ np.append(centroid(awkward), 1.0))[:3]) > 3


@pytest.mark.parametrize("order", [1, 3])
def test_native_to_working_grid_and_back(awkward, order):
    there = nifti.resample(awkward, nifti.regrid(nifti.reorient(awkward), 1.0), order=order)
    back = nifti.resample(there, awkward.grid, order=order)
    error = np.sqrt(np.mean((back.data - awkward.data) ** 2))
    assert error < 0.01 * np.ptp(awkward.data)


def test_antialias_keeps_the_mean_and_does_not_alias():
    data = np.random.default_rng(0).uniform(0, 100, (48, 48, 48)).astype(np.float32)
    volume = Volume(data, np.diag([1.0, 1, 1, 1]))
    grid = nifti.regrid(volume, 4.0)
    smooth, plain = (nifti.resample(volume, grid, antialias=on) for on in (True, False))
    assert smooth.data.mean() == pytest.approx(50, rel=0.01)
    assert smooth.data.std() < 0.5 * plain.data.std()
    # Only the axis that gets coarser is smoothed.
    stripes = volume.with_data(np.broadcast_to(np.arange(48)[:, None, None] % 2 * 100.0, (48, 48, 48)).copy())
    thick = nifti.resample(stripes, nifti.regrid(volume, (1.0, 1.0, 4.0)))
    assert thick.data[:, 24, 6].tolist() == pytest.approx([0, 100] * 24)


def test_nearest_keeps_labels(blob):
    labels = blob("oblique").with_data(np.random.default_rng(0).integers(0, 5, (46, 62, 31)).astype(np.uint8) * 7)
    moved = nifti.resample(labels, nifti.regrid(nifti.reorient(labels), 4.0), rigid((5, 5, 5), (1, 2, 3)), order=0)
    assert moved.data.dtype == np.uint8
    assert set(np.unique(moved.data)) == {0, 7, 14, 21, 28}


def test_outside_is_background_or_nearest():
    volume = Volume(np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3), np.eye(4))
    grid = nifti.crop(volume.grid, np.array([-2, 0, 0]), np.array([3, 3, 3]))
    assert nifti.resample(volume, grid).data[:2].tolist() == np.zeros((2, 3, 3)).tolist()
    assert (nifti.resample(volume, grid, background=-4.0).data[:2] == -4).all()
    edge = nifti.resample(volume, grid, background=None).data
    assert np.array_equal(edge[0], volume.data[0]) and np.array_equal(edge[2:], volume.data)


# Grids


@pytest.mark.parametrize("spacing", [1.0, 4.0, (1.5, 3.0, 5.0)])
def test_regrid_keeps_field_of_view_and_centre_of_mass(awkward, centroid, spacing):
    grid = nifti.regrid(awkward, spacing)
    np.testing.assert_allclose(grid.spacing, np.broadcast_to(spacing, 3), rtol=1e-12)
    corner = np.full(3, -0.5)
    np.testing.assert_allclose(world(grid.affine, corner), world(awkward.affine, corner), atol=1e-9)
    extent = [np.array(g.shape) * g.spacing for g in (grid, awkward.grid)]
    assert (np.abs(extent[0] - extent[1]) <= grid.spacing / 2 + 1e-9).all()
    np.testing.assert_allclose(centroid(nifti.resample(awkward, grid)), centroid(awkward), atol=0.3)


def test_crop_takes_the_voxels_it_names(awkward):
    low, high = np.array([3, 5, 2]), np.array([20, 24, 17])
    part = nifti.resample(awkward, nifti.crop(awkward.grid, low, high))
    assert np.allclose(part.data, awkward.data[3:20, 5:24, 2:17], atol=1e-3)
    assert part.data.shape == (17, 19, 15)
    np.testing.assert_allclose(world(part.affine, (0, 0, 0)), world(awkward.affine, low))


def test_bounding_box(refused):
    mask = np.zeros((10, 12, 14), bool)
    mask[2, 5, 7] = mask[6, 8, 12] = True
    low, high = nifti.bounding_box(mask)
    assert (low.tolist(), high.tolist()) == ([2, 5, 7], [7, 9, 13])
    low, high = nifti.bounding_box(mask, np.array([1, 2, 3]))
    assert (low.tolist(), high.tolist()) == ([1, 3, 4], [8, 11, 14])
    low, high = nifti.bounding_box(mask, 100)
    assert (low.tolist(), high.tolist()) == ([0, 0, 0], [10, 12, 14])
    with refused("empty", kind=ScanError):
        nifti.bounding_box(np.zeros((3, 3, 3), bool))


def test_grids_match_by_shape_and_affine(awkward):
    grid = awkward.grid
    moved = grid.affine.copy()
    moved[0, 3] += 0.01
    assert grid.matches(Grid(grid.shape, grid.affine + 1e-5))
    assert not grid.matches(Grid(grid.shape, moved))
    assert not grid.matches(Grid((*grid.shape[:2], grid.shape[2] + 1), grid.affine))


def test_data_must_fit_the_grid(awkward):
    with pytest.raises(ValueError, match="do not fit"):
        awkward.with_data(np.zeros((2, 2, 2), np.float32))


@pytest.mark.real
def test_every_real_scan_loads(real_data):
    paths = sorted(real_data.glob("*/sub-*/**/*_T1w.nii.gz"))
    assert len(paths) >= 20
    for path in paths:
        volume = nifti.reorient(nifti.load(path))
        assert nib.aff2axcodes(volume.affine) == ("R", "A", "S"), path
        assert 0.4 < volume.grid.spacing.min() < 1.5, path


# -- coarser grids -------------------------------------------------------------------------------------------------


def test_coarse_voxels_are_the_means_of_their_blocks_in_the_world(awkward):
    grid, scale = awkward.grid, (4, 2, 1)
    coarse = nifti.coarsen(grid, scale)
    assert coarse.shape == tuple(-(-n // s) for n, s in zip(grid.shape, scale, strict=True))
    for corner in ([0, 0, 0], [3, 5, 7]):
        block = [c * s + part for c, s, part in zip(corner, scale, np.indices(scale).reshape(3, -1), strict=True)]
        centres = grid.affine @ np.stack([*block, np.ones(len(block[0]))])
        np.testing.assert_allclose(coarse.affine @ [*corner, 1], centres.mean(axis=1), atol=1e-9)


def test_scale_of_one_changes_no_grid(awkward):
    assert nifti.coarsen(awkward.grid, nifti.SAME).matches(awkward.grid, tolerance=0)


def test_crop_of_blocks_is_a_crop_of_coarse_voxels(awkward):
    scale = np.array([2, 4, 2])
    low, high = 3 * scale, 7 * scale
    first = nifti.coarsen(nifti.crop(awkward.grid, low, high), tuple(scale))
    then = nifti.crop(nifti.coarsen(awkward.grid, tuple(scale)), low // scale, high // scale)
    assert first.matches(then, tolerance=1e-9)


@pytest.mark.parametrize("corner", [(0, 0, 0), (5, 3, 4), (-2, 7, -3)])
def test_voxels_on_the_same_lattice_are_copied(awkward, corner):
    low = np.array(corner)
    grid = nifti.crop(awkward.grid, low, low + 20)
    copied = nifti.cut_out(awkward, grid)
    padded = np.pad(awkward.data, 30)
    box = tuple(slice(30 + c, 50 + c) for c in corner)
    np.testing.assert_array_equal(copied.data, padded[box])
    assert copied.grid.matches(grid)


def test_voxels_between_are_not_copied(awkward):
    shift = np.eye(4)
    shift[:3, 3] = awkward.grid.spacing * [0.5, 0, 0]
    assert nifti.cut_out(awkward, awkward.grid, shift) is None
    assert nifti.cut_out(awkward, nifti.coarsen(awkward.grid, (2, 1, 1))) is None
    assert nifti.cut_out(awkward, nifti.reorient(awkward).grid, np.diag([1, 1, -1, 1.0])) is None


def test_transform_to_the_same_lattice_is_followed(awkward):
    step = np.eye(4)
    step[:3, 3] = awkward.affine[:3, :3] @ [2, 0, 1]
    copied = nifti.cut_out(awkward, awkward.grid, step)
    np.testing.assert_array_equal(copied.data[:-2, :, :-1], awkward.data[2:, :, 1:])
    assert not copied.data[-2:].any()


# -- the edge of the field of view, and deformations -----------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 3])
def test_field_of_view_ends_at_the_faces_of_its_voxels(order):
    """A slice of 10 mm is 10 mm thick, the outermost too: nothing fades over its outer half, nothing is beyond."""
    slices = Volume(np.full((5, 5, 4), 7.0, np.float32), np.diag([1.0, 1, 10, 1]))
    fine = nifti.regrid(slices, (1.0, 1.0, 1.0))
    wider = nifti.crop(fine, np.array([0, 0, -3]), np.array([5, 5, 43]))
    values = nifti.resample(slices, wider, order=order).data[2, 2]
    np.testing.assert_allclose(values, [0, 0, 0, *[7] * 40, 0, 0, 0], atol=1e-4)


def test_a_field_of_one_shift_does_what_the_matrix_does(awkward):
    shift = np.eye(4)
    shift[:3, 3] = 3.0, -2.0, 4.0
    field = nifti.Field(np.broadcast_to(shift[:3, 3].astype(np.float32), (4, 4, 4, 3)), np.diag([30.0, 30, 30, 1]))
    grid = nifti.regrid(nifti.reorient(awkward), 2.0)
    for order in (1, 3):
        one, other = (nifti.resample(awkward, grid, how, order=order).data for how in (shift, field))
        assert np.abs(one - other).max() < 0.05
    # One after the other: to the left and back again.
    back = nifti.resample(awkward, grid, [field, np.linalg.inv(shift)]).data
    assert np.abs(back - nifti.resample(awkward, grid).data).max() < 0.05


def test_field_survives_its_file(tmp_path, refused, blob):
    random = np.random.default_rng(0)
    field = nifti.Field(random.normal(size=(5, 6, 7, 3)).astype(np.float32), blob("oblique").affine)
    nifti.write_transform(tmp_path / "xfm.nii.gz", field)
    again = nifti.read_transform(tmp_path / "xfm.nii.gz")
    np.testing.assert_allclose(again.data, field.data, atol=1e-6)
    np.testing.assert_allclose(again.affine, field.affine, atol=1e-4)
    assert nib.load(tmp_path / "xfm.nii.gz").header.get_intent()[0] == "vector"
    nifti.save(Volume(field.data[..., 0], field.affine), tmp_path / "image.nii.gz")
    with refused("displacement field", kind=ScanError):
        nifti.read_transform(tmp_path / "image.nii.gz")
    (tmp_path / "xfm.txt").write_text("nothing")
    with refused("ITK text transform", kind=ScanError):
        nifti.read_transform(tmp_path / "xfm.txt")


def test_sheared_affine_has_no_qform(tmp_path):
    """A qform cannot hold a shear: a wrong one would be worse than none."""
    sheared = np.diag([2.0, 2, 2, 1])
    sheared[0, 1] = 0.5
    nifti.save(Volume(np.ones((3, 4, 5), np.float32), sheared), tmp_path / "image.nii.gz")
    header = nib.load(tmp_path / "image.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(nib.load(tmp_path / "image.nii.gz").affine, sheared)


def two_affines(path, sform, qform, codes=(1, 1)):
    data = np.random.default_rng(0).uniform(1, 100, (20, 22, 24)).astype(np.float32)
    image = nib.Nifti1Image(data, sform)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nib.save(image, path)


@pytest.mark.parametrize("codes", [(1, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affines_that_mirror_each_other(tmp_path, refused, codes, axis):
    mirror = np.eye(4)
    mirror[axis, axis] = -1
    two_affines(tmp_path / "a.nii", np.diag([6.0, 6, 6, 1]), mirror @ np.diag([6.0, 6, 6, 1]), codes)
    with refused("sform", "qform", "left and right", kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("qform", "codes", "said"),
    [
        (np.diag([1.0, 1, 1, 1]), (1, 1), True),
        # Turned twice is no mirror image.
        (np.diag([-6.0, -6, 6, 1]), (1, 1), True),
        (np.diag([6.0, 6, 6.01, 1]), (1, 1), False),
        # Of the scanner, and of a template.
        (np.diag([5.0, 5, 5, 1]), (4, 1), False),
    ],
)
def test_affines_that_differ_are_said(tmp_path, caplog, qform, codes, said):
    sform = np.diag([6.0, 6, 6, 1])
    two_affines(tmp_path / "a.nii", sform, qform, codes)
    np.testing.assert_array_equal(nifti.load_scan(tmp_path / "a.nii").affine, sform)
    assert ("a.nii: sform and qform claim the same" in caplog.text) == said


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n",
        b"/annex/objects/MD5E-s123--0a.nii.gz\n",
        b"../../.git/annex/objects/x/y/MD5E-s123--0a.nii.gz",
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_pointer_in_the_place_of_a_file(tmp_path, refused, name, content):
    (tmp_path / name).write_bytes(content)
    with refused("fetch", "annex get", kind=ScanError):
        nifti.load_scan(tmp_path / name)


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colour(tmp_path, refused, channels):
    data = np.zeros((20, 22, 24), dtype=[(channel, "u1") for channel in channels])
    data["R"][2:] = 5
    nib.save(nib.Nifti1Image(data, np.diag([6.0, 6, 6, 1])), tmp_path / "a.nii")
    with refused("colour", kind=ScanError):
        nifti.load_scan(tmp_path / "a.nii")
