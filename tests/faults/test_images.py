"""Damaged NIfTI files, as ingestion opens them: refused in one line, or read exactly as they say."""

import functools
import gzip
import random
import resource
import struct
import tracemalloc
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from upfield.bids import Scan
from upfield.bids.find import inspect
from upfield.image import nifti
from upfield.phantom.anatomy import rotation

from .conftest import outcome
from .mutate import damaged

SHAPE = (12, 11, 10)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation(np.array([5.0, -8, 12])) * (6, -6, 7)
OBLIQUE[:3, 3] = -30, 28, -31
# Fields that say nothing of geometry or intensities.
IDLE = {
    "data_type", "db_name", "extents", "session_error", "regular", "cal_max", "cal_min", "slice_duration", "toffset",
    "glmax",
    "glmin", "descrip", "aux_file", "intent_name", "intent_p1", "intent_p2", "intent_p3", "slice_start",
    "slice_end", "slice_code",
    "unused_str", "dim_info",
}  # fmt: skip
# Bytes that a try may hold: tiny images, and a part of a stream that is looked through.
MEMORY = 24 * 2**20
TYPES = ("<f4", ">f4", "<i2", ">i2", "<u1", "<f8")


@functools.cache
def intact(kind: type, dtype: str, extended: bool) -> bytes:
    """A plausible small scan as one file."""
    data = np.random.default_rng(0).uniform(1, 200, SHAPE).astype(dtype)
    header = kind.header_class(endianness=dtype[0])
    image = kind(data, OBLIQUE, header)
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(OBLIQUE, code=1)
    if extended:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanned on a Monday"))
    return image.to_bytes()


def honest(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and affine of an unpacked file, read by what the standard says and nothing else."""
    sizes = {order: struct.unpack(f"{order}i", content[:4])[0] for order in "<>"}
    order = next((order for order, size in sizes.items() if size in (348, 540)), "")
    if not order:
        # A damaged size: the number of axes tells.
        order = "<" if 0 < struct.unpack("<h", content[40:42])[0] < 8 else ">"
    size = 540 if sizes[order] == 540 else 348
    header = (nib.Nifti1Header if size == 348 else nib.Nifti2Header).template_dtype.newbyteorder(order)
    said = np.frombuffer(content[: header.itemsize], header)[0]
    codes = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
    shape = tuple(int(n) for n in said["dim"][1:4])
    start = int(said["vox_offset"]) or (352 if size == 348 else 544)
    raw = np.frombuffer(content, f"{order}{codes[int(said['datatype'])]}", int(np.prod(shape)), start)
    slope, inter = float(said["scl_slope"]), float(said["scl_inter"])
    values = raw.astype(np.float64)
    if np.isfinite(slope) and slope != 0:
        values = values * slope + inter
    values = np.where(np.isfinite(values), values, 0).reshape(shape, order="F")
    if 0 < said["sform_code"] < 6:
        return values, np.vstack([[said[row] for row in ("srow_x", "srow_y", "srow_z")], [0, 0, 0, 1]])
    b, c, d = (float(said[f"quatern_{letter}"]) for letter in "bcd")
    a = np.sqrt(max(1 - b * b - c * c - d * d, 0))
    turn = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    affine = np.eye(4)
    zooms = np.array([float(zoom) for zoom in said["pixdim"][1:4]])
    zooms[2] *= -1 if said["pixdim"][0] == -1 else 1
    affine[:3, :3] = np.array(turn) * zooms
    affine[:3, 3] = [float(said[f"qoffset_{letter}"]) for letter in "xyz"]
    return values, affine


def number(dice: random.Random, dtype: np.dtype) -> object:
    """A value for a header's field of this type."""
    if dtype.kind == "f":
        return dice.choice(
            (0, 1, -1, 0.5, 1e-30, 1e30, np.nan, np.inf, -np.inf, 3.4e38, dice.gauss(0, 10), 352, 400, 2.0**31)
        )
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        near = (0, 1, 2, 3, 4, 5, 7, 8, 10, 16, 64, 127, 255, 256, 348, 352, 1000, 32767, -1)
        choice = dice.choice((*near, int(limits.max), int(limits.min), dice.randint(int(limits.min), int(limits.max))))
        return min(max(choice, int(limits.min)), int(limits.max))
    return dice.randbytes(dtype.itemsize)


def field_changed(content: bytes, kind: type, order: str, dice: random.Random) -> tuple[bytes, str]:
    """A header with another value in one field, or in one element of it."""
    header = kind.header_class.template_dtype.newbyteorder(order)
    said = np.frombuffer(content[: header.itemsize], header).copy()
    name = dice.choice(header.names)
    field = said[name]
    if field.ndim > 1:
        field[0, dice.randrange(field.shape[1])] = number(dice, field.dtype)
    else:
        field[0] = number(dice, field.dtype)
    return said.tobytes() + content[header.itemsize :], name


def attempt(number_: int, folder: Path) -> tuple[Path, bytes | None, bool]:
    """A damaged file, the bytes that an honest reader sees (None if none), and whether it is as good as whole."""
    dice = random.Random(f"image {number_}")
    kind, dtype, packed = (
        dice.choice((nib.Nifti1Image, nib.Nifti1Image, nib.Nifti2Image)),
        dice.choice(TYPES),
        dice.random() < 0.5,
    )
    content, whole = intact(kind, dtype, dice.random() < 0.3), False
    way = dice.randrange(8)
    if way < 4:
        content, name = field_changed(content, kind, dtype[0], dice)
        whole = name in IDLE
        if dice.random() < 0.3:
            content, name = field_changed(content, kind, dtype[0], dice)
            whole = whole and name in IDLE
    elif way == 4:
        content = damaged(content[:560], dice) + content[560:]
    elif way == 5:
        content = content[: dice.randrange(len(content))]
    elif way == 6 and not packed:
        content = content + dice.randbytes(dice.choice((1, 100, 5000)))
    path = folder / f"{number_}.nii{'.gz' * packed}"
    seen: bytes | None = content
    written = content
    if packed:
        written = gzip.compress(content, dice.choice((1, 6, 9)), mtime=0)
        if way == 6:
            other = gzip.compress(intact(kind, dtype, False), mtime=0)
            cut = dice.randrange(1, len(content))
            halves = gzip.compress(content[:cut], mtime=0) + gzip.compress(content[cut:], mtime=0)
            written = dice.choice((written + other, written + bytes(50), written + b"rest", halves, other + written))
            seen = intact(kind, dtype, False) if written.startswith(other) else content
        elif way == 7:
            written = damaged(written, dice)
            seen = whole_stream(written)
    elif way == 7:
        written = seen = damaged(content, dice)
    path.write_bytes(written)
    return path, seen, whole


def whole_stream(packed: bytes) -> bytes | None:
    """What is in a gzip stream up to its first end; None if its checksum does not hold."""
    unpacker = zlib.decompressobj(31)
    try:
        content = unpacker.decompress(packed, 2**24)
    except zlib.error:
        return None
    if not unpacker.eof:
        return None
    return content


def wrong(path: Path, seen: bytes | None, whole: bool) -> str:
    """What is wrong with a scan that ingestion takes; empty for one that it refuses in a line."""
    scan = inspect(Scan("sub-01", "source", str(path), "", path.name, "T1w"))
    if scan.problem:
        said = scan.problem
        if whole:
            return f"refused, though nothing that matters is changed: {said}"
        return "" if said.isprintable() and len(said) <= 300 else f"not one short line: {said!r:.900}"
    volume = nifti.load_scan(path)
    if seen is None:
        return "read, though its checksum does not hold"
    values, affine = honest(seen)
    if scan.shape != volume.data.shape or volume.data.shape != values.shape:
        return f"shape {volume.data.shape}, not {values.shape}"
    if not np.isfinite(volume.data).all():
        return "values that are not finite"
    if not np.allclose(volume.data, values, rtol=1e-5, atol=1e-6 * np.abs(values).max()):
        return "other values than in the file"
    if not np.allclose(volume.affine, affine, rtol=1e-4, atol=1e-3):
        return f"affine {volume.affine.tolist()}, not {affine.tolist()}"
    extent = np.linalg.norm(affine[:3, :3], axis=0) * values.shape
    return "" if 4 < extent.max() < 1001 else f"a field of view of {extent}"


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", TYPES)
def test_intact_files_are_read_by_both(kind, dtype, tmp_path):
    """Else the others prove nothing."""
    content = intact(kind, dtype, True)
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    assert [wrong(tmp_path / name, content, True) for name in ("a.nii", "a.nii.gz")] == ["", ""]


def test_damaged_images(tries, tally, tmp_path, caplog):
    caplog.set_level("CRITICAL")
    rows = tally("NIfTI headers and streams")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for try_ in tries(2000):
        path, seen, whole = attempt(try_, tmp_path)
        traced = try_ % 8 == 0
        if traced:
            tracemalloc.start()
        problem = outcome(lambda file=path, content=seen, same=whole: wrong(file, content, same))
        if traced:
            taken = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            problem = problem or ("" if taken < MEMORY else f"{taken >> 20} MB of memory")
        rows.check(path.name, problem)
        if not problem:
            path.unlink()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * MEMORY / 1024
    rows.done()


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_pairs_of_header_and_image(tries, tally, tmp_path, packed):
    """The old form of two files is refused in one line, whichever is named and however damaged."""
    rows = tally("NIfTI in two files")
    image = nib.Nifti1Pair(np.random.default_rng(0).uniform(1, 200, SHAPE).astype(np.float32), OBLIQUE)
    nib.save(image, tmp_path / f"a.hdr{packed}")
    for try_ in tries(50):
        dice = random.Random(f"pair {try_}")
        for part in ("hdr", "img"):
            content = (tmp_path / f"a.{part}{packed}").read_bytes()
            (tmp_path / f"b.{part}{packed}").write_bytes(damaged(content, dice) if dice.random() < 0.5 else content)
        for part in ("hdr", "img"):
            rows.check(f"{try_} {part}", outcome(lambda name=part: refused(tmp_path / f"b.{name}{packed}")))
    rows.done()


def refused(path: Path) -> str:
    nifti.load_scan(path)
    return "read"
