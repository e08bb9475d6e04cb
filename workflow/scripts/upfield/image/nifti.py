"""The only code that loads, saves or resamples an image.

Conventions everywhere in Upfield: arrays are (X, Y, Z) float32; an affine is a 4x4 matrix from voxel indices to
world millimetres, RAS+; a transform takes a point of the *output* grid's world to the *input* image's world (the
direction in which an image is pulled), both RAS+ millimetres: a 4x4 matrix, a `Field`, or several one after the other.
"""

import errno
import gzip
import logging
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike
from scipy import ndimage

from upfield.errors import REFUSED, PassingError, ScanError
from upfield.files import atomic
from upfield.image import formats, transforms
from upfield.image.transforms import Array, Field, Transform, steps

# Voxels of a fine grid along X, Y, Z that one voxel of a coarse grid covers.
Scale = tuple[int, int, int]
SAME: Scale = (1, 1, 1)
# A field of view thinner than this (mm) holds a few slices, and not a whole brain.
SLAB = 80.0
# NIfTI's codes of coordinates: of the scanner, or of another image such as a template.
SCANNER, ALIGNED = 1, 2

# What the scan of a head may be: voxels and field of view in mm, angles between axes by the volume that they span
# relative to a box of the same edges, distance from the origin in mm, and as many voxels as a cube of 512 has.
VOXEL = (0.05, 50.0)
SHORTEST, LONGEST = 5.0, 1000.0
RIGHT_ANGLES = 0.5
FARTHEST = 10_000.0
LARGEST = 512**3
# mm between a voxel's places by sform and by qform that rounding does not explain.
CONTRADICTION = 5.0
# Intensities whose squares single precision can hold, and of which differences are left.
INTENSITIES = (1e-18, 1e18)
# Values of an image that single precision must tell apart at least.
LEVELS = 64
# No byte of a gzip stream stands for more bytes than this.
DEFLATE = 1032
# Bytes that a packed file may hold beyond what its header claims.
UNCHECKED = 2**26
# What Git LFS and git-annex leave in the place of a file whose content has not been fetched.
POINTER = re.compile(rb"version https://git-lfs\.github\.com/|[./]*(\.git)?/annex/objects/")
# What an OSError says of the machine, and not of the file.
PASSING = {
    errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.ENOTCONN, errno.EHOSTDOWN, errno.EAGAIN,
}  # fmt: skip
# What nibabel and numpy raise for damaged files: headers with impossible types, offsets or sizes among them.
UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True)
class Grid:
    """A lattice of voxels in the world: `shape` (X, Y, Z) and `affine` (4, 4), voxel to RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Array

    @property
    def spacing(self) -> Array:
        """Voxel size along each array axis in mm, shape (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def slab_axis(self) -> int | None:
        """The array axis across the slices of a field of view thinner than 80 mm (a few slices); None if it is not."""
        extent = self.spacing * self.shape
        return int(np.argmin(extent)) if min(extent) < SLAB - 1e-3 else None

    def matches(self, other: "Grid", tolerance: float = 1e-3) -> bool:
        """Whether both grids have the same voxels (every affine entry within `tolerance`)."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=tolerance))


@dataclass(frozen=True)
class Volume:
    """An image: `data` (X, Y, Z) and `affine` (4, 4), voxel to RAS+ mm."""

    data: Array
    affine: Array

    @property
    def grid(self) -> Grid:
        """The lattice the data lie on."""
        return Grid(self.data.shape, self.affine)

    def with_data(self, data: Array) -> "Volume":
        """Other values on the same grid. Raises ValueError if the shape differs."""
        if data.shape != self.data.shape:
            raise ValueError(f"data of shape {data.shape} do not fit a grid of shape {self.data.shape}")
        return Volume(data, self.affine)


def load(path: str | Path, finite: bool = False) -> Volume:
    """Load a 3-D image in its stored orientation as float32, intensity slope applied, non-finite voxels as 0.

    A 4-D file whose last axis has length 1 is taken as 3-D. Raises ScanError, with the reason in one line, if the
    file is damaged, truncated, not 3-D, without a usable affine, or constant, and where all must be `finite` if a voxel
    is not; PassingError if it is not there or cannot be read now.
    """
    volume = _read(path, finite)
    if volume.data.size == 0 or volume.data.min() == volume.data.max():
        raise ScanError(_why_constant(path))
    return volume


def _why_constant(path: str | Path) -> str:
    """Why an image is constant in single precision: every voxel has the same value, or their differences are lost."""
    with _readable(path):
        values = np.asarray(_open(path).dataobj)
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return "the image is constant: every voxel has the same value"
    apart = float(values.max() - values.min())
    return (
        f"intensities around {float(values.max()):.3g} that differ by {apart:.3g} at most are all the same in single"
        " precision: subtract a constant, or scale the image"
    )


def load_scan(path: str | Path) -> Volume:
    """Load a scan as it was acquired, after a look at its header: what no scan of a head can be is not read at all.

    Raises ScanError like `load`; also if the file is shorter than its header claims, does not say which way the image
    lies, or is larger, smaller or more skewed than a head can be, and for intensities that cannot be computed with.
    Voxels that are not finite are 0, and the log says how many.
    """
    try:
        image = _open(path)
        _check_header(image)
        _check_length(image, Path(path))
        volume = load(path)
    except ScanError as error:
        if isinstance(error.__context__, MemoryError):
            # No more than a head may claim: the machine has too little.
            raise PassingError(f"{path} cannot be read now (no memory); try again") from None
        raise
    largest, span = float(np.abs(volume.data).max()), float(np.ptp(volume.data))
    extent = volume.grid.spacing * volume.data.shape
    if extent.max() < SHORTEST:
        raise ScanError(
            f"a field of view of {_by(extent)} mm; expected that of a head, at least {SHORTEST:g} mm at its longest:"
            " fix the header"
        )
    if largest > INTENSITIES[1] or span < INTENSITIES[0]:
        raise ScanError(
            f"intensities up to {largest:.3g} that differ by {span:.3g} at most; expected units in which they can be"
            f" computed with ({INTENSITIES[0]:g} to {INTENSITIES[1]:g}): scale the image"
        )
    if span < LEVELS * float(np.spacing(np.float32(largest))):
        raise ScanError(
            f"intensities up to {largest:.6g} that differ by {span:.3g} at most, of which single precision tells fewer"
            f" than {LEVELS} apart: subtract a constant"
        )
    return volume


def load_mask(path: str | Path) -> Volume:
    """Load a mask as boolean; unlike an image it may be empty. Raises ScanError like `load`."""
    volume = _read(path)
    return volume.with_data(volume.data > 0)


def load_labels(path: str | Path) -> Volume:
    """Load a label image as int32, which may be empty. Raises ScanError like `load`, and if a value is not whole."""
    volume = _read(path)
    labels = np.rint(volume.data)
    if np.abs(volume.data - labels).max(initial=0) > 1e-3:
        raise ScanError("the labels are not whole numbers; expected a label image")
    return volume.with_data(labels.astype(np.int32))


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """What is raised for damaged files is a ScanError with the reason in one line.

    What may pass (a file that is not there, no permission, a drive that does not answer) says nothing of what the file
    holds, and is a PassingError.
    """
    try:
        yield
    except FileNotFoundError:
        raise PassingError(f"{path}: {REFUSED[errno.ENOENT]}") from None
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            raise PassingError(f"{path} cannot be read now ({error.strerror}); try again") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScanError(f"the file cannot be read as NIfTI ({reason[:160]})") from None


def _open(path: str | Path) -> nib.Nifti1Image:
    """An image of which the header alone has been read: three axes, real numbers, a usable affine."""
    with _readable(path):
        _check_start(Path(path))
        image = cast(nib.Nifti1Image, nib.load(path))
        shape, dtype = image.shape, image.get_data_dtype()
    if getattr(image, "affine", None) is None:
        raise ScanError(f"the file holds {type(image).__name__}; expected one 3D volume")
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] == 1):
        raise ScanError(f"{len(shape)}D image of shape {shape}; expected one 3D volume")
    if dtype.kind == "V":
        raise ScanError("the image is in colour (RGB); expected one intensity for each voxel")
    if dtype.kind == "c":
        raise ScanError(
            "the image is complex (real and imaginary parts); expected magnitudes: export the magnitude image"
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ScanError("the header holds no usable affine (singular or not finite); fix its sform or qform")
    return image


def _check_start(path: Path) -> None:
    """Raise ScanError if a header says that the image begins within it, or claims extensions beyond the file.

    nibabel takes the bytes of the header for intensities then, and asks for as much memory as an extension claims, up
    to 2 GB. Files that are no NIfTI in one piece are nibabel's.
    """
    if path.exists() and not path.is_file():
        # Opened, a pipe would wait for ever.
        raise ScanError("the file cannot be read as NIfTI (it is a folder, a pipe or a device)")
    with path.open("rb") as file:
        begin = file.read(formats.ENOUGH)
    if POINTER.match(begin):
        raise ScanError("the file only says where its content is; fetch that (git lfs pull, git annex get)")
    other = formats.other(begin, path.name)
    if other:
        raise ScanError(f"the file cannot be read as NIfTI ({other})")
    packed = path.name.lower().endswith(".gz")
    most = path.stat().st_size * (DEFLATE if packed else 1)
    with gzip.open(path) if packed else path.open("rb") as file:
        block = file.read(nib.Nifti2Header.sizeof_hdr + 4)
        if packed and block.startswith(formats.GZIP):
            raise ScanError("the file cannot be read as NIfTI (it is packed twice: unpack it once)")
        magic = block[4:8] if block[4:7] in (b"n+2", b"ni2") else block[344:348]
        kinds = {b"n+1\0": nib.Nifti1Header, b"n+2\0": nib.Nifti2Header}
        if not path.name.lower().endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
            kinds |= {b"ni1\0": nib.Nifti1Header, b"ni2\0": nib.Nifti2Header}
        kind = kinds.get(magic)
        if kind is None or len(block) < kind.sizeof_hdr + 4:
            return
        header = kind(block[: kind.sizeof_hdr], check=False)
        _check_type(header)
        image, at = float(header["vox_offset"]), kind.sizeof_hdr + 4
        if magic.startswith(b"ni") and image < at:
            raise ScanError("the file cannot be read as NIfTI (its header is that of a pair of files, .hdr and .img)")
        if not at <= image <= most:
            raise ScanError(
                f"the file cannot be read as NIfTI (its image begins at byte {image:.10g}; expected {at} or more,"
                " within the file: fix vox_offset)"
            )
        extended = block[kind.sizeof_hdr] != 0
        while extended and at + 16 <= image:
            file.seek(at)
            size = int(np.frombuffer(file.read(4).ljust(4, b"\0"), f"{header.endianness}i4")[0])
            if not 8 <= size <= image - at:
                raise ScanError(f"the file cannot be read as NIfTI (an extension of its header claims {size} bytes)")
            at += size


def _check_type(header: nib.Nifti1Header) -> None:
    """Raise ScanError for voxels of a type that nibabel does not read."""
    code = int(header["datatype"])
    dtype: Any = nib.nifti1.data_type_codes.dtype.get(code)
    # Colours have names.
    if dtype is None or (dtype.kind == "V" and dtype.names is None):
        known = nib.nifti1.data_type_codes.label.get(code) or "unknown"
        raise ScanError(
            f"the file cannot be read as NIfTI (the type of its voxels is {code}, {known}; expected integers or floats"
            " of at most 64 bits: convert the image)"
        )


def _read(path: str | Path, finite: bool = False) -> Volume:
    """The image of a file. The log says how many voxels are not finite, or a ScanError where all must be."""
    image = _open(path)
    with _readable(path), np.errstate(over="ignore", invalid="ignore"):
        data = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
        bad = ~np.isfinite(data)
        if bad.any():
            # Only now, since it takes twice the memory: which of them are numbers that single precision cannot hold.
            wide = np.asarray(image.dataobj).reshape(data.shape)[bad]
            beyond = wide[np.isfinite(wide)]
            if beyond.size:
                raise ScanError(
                    f"{beyond.size} voxels are beyond single precision (such as {float(beyond[0]):.3g}); expected"
                    " intensities below 3.4e38: scale the image"
                )
            if finite:
                raise ScanError(f"{int(bad.sum())} voxels are not finite (NaN or infinity); expected numbers")
            logging.warning("%s: %d voxels are not finite; they are taken as 0", path, int(bad.sum()))
            data[bad] = 0
    return Volume(data, np.asarray(image.affine, dtype=np.float64))


def _check_header(image: nib.Nifti1Image) -> None:
    """Raise ScanError if a header describes what no scan of a head can be, or does not say which way it lies."""
    if not isinstance(image, nib.Nifti1Image):
        kind = type(image).__name__.removesuffix("Image")
        what = "is one of a pair, .hdr and .img" if isinstance(image, nib.Nifti1Pair) else f"holds {kind}"
        raise ScanError(f"the file {what}; expected NIfTI in one file, .nii or .nii.gz: convert the image")
    header = image.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        raise ScanError(
            "the header does not say which way the image lies (sform_code and qform_code are 0), so left and right"
            " are unknown; set one of them"
        )
    _check_two_affines(header, str(image.get_filename()))
    shape = image.shape[:3]
    count = math.prod(shape)
    if min(shape) < 1:
        raise ScanError(f"an image of {_by(shape)} voxels is empty")
    if count > LARGEST:
        raise ScanError(f"{_by(shape)} voxels; no scan of a head has more than {LARGEST / 1e6:.0f} million")
    x, y, z = shape
    grid = Grid((x, y, z), np.asarray(image.affine, dtype=np.float64))
    spacing = grid.spacing
    unit = {1: "meter", 3: "micron"}.get(int(header["xyzt_units"]) % 8)
    said = f" (the unit that the header names is the {unit})" if unit else ""
    if spacing.min() < VOXEL[0] or spacing.max() > VOXEL[1]:
        raise ScanError(f"voxels of {_by(spacing)} mm; expected {VOXEL[0]:g} to {VOXEL[1]:g} mm{said}: fix the header")
    extent = spacing * shape
    if extent.max() > LONGEST:
        raise ScanError(
            f"a field of view of {_by(extent)} mm; expected that of a head, at most {LONGEST:g} mm{said}: fix the"
            " header"
        )
    if abs(np.linalg.det(grid.affine[:3, :3])) < RIGHT_ANGLES * math.prod(spacing):
        raise ScanError("the axes of the image are far from right angles; fix its sform or qform")
    if np.abs(grid.affine[:3, 3]).max() > FARTHEST:
        raise ScanError(f"the image lies more than {FARTHEST / 1000:g} m from its origin; fix its sform or qform")


def _check_two_affines(header: nib.Nifti1Header, path: str) -> None:
    """Raise ScanError if sform and qform are mirror images of each other: one of them has left and right swapped.

    Where both claim to be of the same coordinates and are not, the log says so, and the sform is used.
    """
    sform, qform = header.get_sform(), _qform(header)
    codes = int(header["sform_code"]), int(header["qform_code"])
    if min(codes) < 1 or qform is None or not np.isfinite(sform).all() or not np.isfinite(qform).all():
        return
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise ScanError(
            "sform and qform contradict each other: one mirrors the other, so left and right are unknown; fix the one"
            " that is wrong"
        )
    x, y, z = header.get_data_shape()[:3]
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)]).T
    apart = float(np.linalg.norm((sform @ corners - qform @ corners)[:3], axis=0).max())
    if codes[0] == codes[1] and apart > CONTRADICTION:
        logging.warning(
            "%s: sform and qform claim the same coordinates and differ by %.0f mm; sform is used", path, apart
        )


def _qform(header: nib.Nifti1Header) -> Array | None:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):
        # No rotation; the sform is there.
        return None


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{float(value):.4g}" for value in values)


def _check_length(image: nib.Nifti1Image, path: Path) -> None:
    """Raise ScanError if a file is shorter than its header claims or damaged, in little memory whatever that is.

    A packed file is read to its end, where its checksum stands: whoever takes from it what the header claims, as
    nibabel does, never comes to it, and takes other intensities for true.
    """
    with _readable(path):
        claimed = int(cast(Any, image.dataobj).offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        size = path.stat().st_size
        most = size
        if packed:
            most = _unpacked(path, claimed + UNCHECKED) if claimed <= size * DEFLATE else size * DEFLATE
    if most < claimed:
        raise ScanError(
            f"the file cannot be read as NIfTI (its header claims {claimed} bytes of image, and it holds fewer: it is"
            " cut or damaged)"
        )
    if packed and most > claimed + UNCHECKED:
        raise ScanError(f"the file holds far more than the {claimed} bytes of image that its header claims; unpack it")


def _unpacked(path: Path, limit: int) -> int:
    """Bytes in a packed file whose checksums hold, in little memory; a little more than `limit` if there are more."""
    count = 0
    with gzip.open(path) as stream:
        try:
            while count <= limit and (part := stream.read1(2**20)):
                count += len(part)
        except gzip.BadGzipFile as error:
            # What follows a whole stream is no part of it; gzip itself passes over that too.
            if "Not a gzipped file" not in str(error):
                raise
    return count


def save(volume: Volume, path: str | Path, dtype: DTypeLike = np.float32, code: int = SCANNER) -> None:
    """Save as NIfTI-1, atomically, the affine as both sform and qform, units mm.

    `code` says whose coordinates they are (SCANNER or ALIGNED). A sheared affine stands in the sform alone: no qform
    can hold it. No intensity scaling is stored, so what is written is what is read. The bytes depend on the content
    alone. Raises ScanError for values that are not finite: nothing that Upfield writes has any.
    """
    data = volume.data
    if np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        raise ScanError(f"{Path(path).name} would hold {count} voxels that are not finite, and is not written")
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        data = np.clip(np.rint(data), limits.min, limits.max)
    with np.errstate(over="ignore"):
        written = np.asarray(data).astype(dtype)
    if np.issubdtype(written.dtype, np.floating) and np.isinf(written).any():
        raise ScanError(f"{Path(path).name} would hold values beyond {written.dtype}, and is not written")
    _write(nib.Nifti1Image(written, volume.affine), path, code)


def _write(image: nib.Nifti1Image, path: str | Path, code: int) -> None:
    affine = image.affine
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    if not np.allclose(image.get_qform(), affine, atol=1e-2):
        image.set_qform(None, code=0)
    with atomic(path) as temporary:
        nib.save(image, temporary)


def to_nibabel(volume: Volume) -> nib.Nifti1Image:
    """The same image for libraries that work on nibabel's."""
    return nib.Nifti1Image(np.ascontiguousarray(volume.data, dtype=np.float32), volume.affine)


def write_transform(path: str | Path, transform: Array | Field) -> None:
    """Write a transform as ITK does, for ANTs, 3D Slicer and ITK-SNAP: a matrix as text, a field as NIfTI."""
    if not isinstance(transform, Field):
        transforms.write_matrix(path, transform)
        return
    if not np.isfinite(transform.data).all():
        raise ScanError(f"{Path(path).name} would hold displacements that are not finite, and is not written")
    flip = np.diag(transforms.LPS)[:3]
    image = nib.Nifti1Image((transform.data * flip).astype(np.float32)[:, :, :, None, :], transform.affine)
    image.header.set_intent("vector")
    _write(image, path, SCANNER)


def read_transform(path: str | Path) -> Array | Field:
    """Read what `write_transform` wrote. Raises ScanError if it cannot be read."""
    if not str(path).endswith((".nii", ".nii.gz")):
        return transforms.read_matrix(path)
    try:
        image = cast(nib.Nifti1Image, nib.load(path))
        data = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise ScanError(f"{path} cannot be read as a displacement field ({error})") from None
    if data.ndim != 5 or data.shape[3:] != (1, 3):
        raise ScanError(f"{path} has shape {data.shape}; a displacement field has (X, Y, Z, 1, 3)")
    return Field(data[:, :, :, 0] * np.diag(transforms.LPS)[:3].astype(np.float32), np.asarray(image.affine, float))


def reorient(volume: Volume) -> Volume:
    """The same voxels with axes flipped and swapped to be closest to RAS+; world coordinates do not change."""
    orientation = nib.io_orientation(volume.affine)
    data = nib.apply_orientation(volume.data, orientation)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.data.shape)
    return Volume(np.ascontiguousarray(data), affine)


def resample(
    volume: Volume,
    grid: Grid,
    transform: Transform | None = None,
    order: int = 1,
    background: float | None = 0.0,
    antialias: bool = True,
) -> Volume:
    """Pull `volume` onto `grid` with one interpolation.

    The field of view ends at the faces of the outermost voxels, not at their centres: over the last half voxel (5 mm
    of a 10 mm slice) the outermost value holds.

    Parameters
    ----------
    transform
        From the world of `grid` to the world of `volume`, RAS+ mm; None is the identity.
    order
        0 nearest, 1 trilinear, 3 cubic B-spline.
    background
        The value beyond the field of view of `volume`; None repeats the nearest value (for smooth fields).
    antialias
        Smooth first, along each axis on which `grid` is coarser than `volume` (Gaussian, sigma (r - 1) / 2 voxels
        for a ratio r of voxel sizes), so that a reduced image does not alias. Never applied to order 0.

    """
    path = steps(grid.affine, transform, np.linalg.inv(volume.affine))
    matrix = path[0] if len(path) == 1 and isinstance(path[0], np.ndarray) else None
    data = volume.data
    if order > 0 and antialias:
        ratio = np.linalg.norm(transforms.linear_part(path, grid.shape) if matrix is None else matrix[:3, :3], axis=1)
        sigma = np.clip((ratio - 1) / 2, 0, None)
        if sigma.max() > 0.05:
            data = ndimage.gaussian_filter(data.astype(np.float32), sigma)
    if matrix is not None and volume.data.shape == grid.shape and np.allclose(matrix, np.eye(4), atol=1e-6):
        return Volume(np.array(data), grid.affine)
    floating = data if order == 0 else data.astype(np.float32)
    mode = "nearest"
    if matrix is not None:
        linear = matrix[:3, :3], matrix[:3, 3], grid.shape
        result = ndimage.affine_transform(floating, *linear, order=order, mode=mode)
        where = _indices(matrix, grid)
    else:
        points = np.indices(grid.shape, dtype=np.float32).reshape(3, -1)
        where = [at.reshape(grid.shape) for at in transforms.move(path, points).astype(np.float32)]
        result = ndimage.map_coordinates(floating, np.stack(where), order=order, mode=mode)
    if background is not None:
        for at, size in zip(where, data.shape, strict=True):
            # The slack absorbs the rounding of single precision.
            inside = (at >= -0.5 - 1e-4) & (at <= size - 0.5 + 1e-4)
            if not inside.all():
                result[~np.broadcast_to(inside, result.shape)] = background
    return Volume(result, grid.affine)


def _indices(matrix: Array, grid: Grid) -> list[Array]:
    """Where each voxel of a grid comes from, along each axis, in arrays that broadcast to the grid's shape."""
    axes = np.indices(grid.shape, dtype=np.float32, sparse=True)
    rows = [
        [np.float32(factor) * axis for factor, axis in zip(row, axes, strict=False) if factor] for row in matrix[:3]
    ]
    return [np.float32(row[3]) + sum(terms[1:], terms[0]) for terms, row in zip(rows, matrix[:3], strict=True)]


def mask_on(mask: Volume, grid: Grid, transform: Transform | None = None) -> Array:
    """A mask pulled onto another grid: true where more than half of the interpolated mask is inside."""
    moved = resample(mask.with_data(mask.data.astype(np.float32)), grid, transform, antialias=False)
    return np.asarray(moved.data > 0.5)


def dilated(mask: Volume, margin: float) -> Array:
    """A boolean mask and all that is within `margin` mm of it."""
    if margin <= 0:
        return np.asarray(mask.data)
    return np.asarray(ndimage.distance_transform_edt(~mask.data, sampling=mask.grid.spacing) <= margin)


def regrid(volume: Volume, spacing: float | tuple[float, float, float]) -> Grid:
    """The grid with voxels of `spacing` mm over the field of view of `volume`, same axes, same corner of the world."""
    new = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    old = volume.grid.spacing
    extent = old * volume.data.shape
    shape = np.maximum(np.rint(extent / new), 1).astype(int)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] / old * new
    # Voxel centres: the corner of the field of view stays, so the first centre moves by half the difference.
    shift = (new - old) / 2
    affine[:3, 3] = volume.affine[:3, 3] + (volume.affine[:3, :3] / old) @ shift
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def crop(grid: Grid, low: Array, high: Array) -> Grid:
    """The part of `grid` between voxel indices `low` (inclusive) and `high` (exclusive); indices may lie outside."""
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ np.append(low, 1.0))[:3]
    size = np.asarray(high) - np.asarray(low)
    return Grid((int(size[0]), int(size[1]), int(size[2])), affine)


def coarsen(grid: Grid, scale: Scale) -> Grid:
    """The grid whose voxels cover blocks of `scale` voxels of `grid`, from the same corner of the world.

    Where a size is no multiple of its factor the last blocks reach beyond `grid`.
    """
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * scale
    affine[:3, 3] = (grid.affine @ np.append((np.array(scale) - 1) / 2, 1.0))[:3]
    x, y, z = (-(-size // factor) for size, factor in zip(grid.shape, scale, strict=True))
    return Grid((x, y, z), affine)


def refine(grid: Grid, scale: Scale) -> Grid:
    """The grid that has `scale` voxels in the place of each voxel of `grid`: `coarsen` undone."""
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] / scale
    affine[:3, 3] = (grid.affine @ np.append((1 / np.array(scale) - 1) / 2, 1.0))[:3]
    x, y, z = (size * factor for size, factor in zip(grid.shape, scale, strict=True))
    return Grid((x, y, z), affine)


def world_axes(affine: Array) -> tuple[int, int, int]:
    """The world axis (0 right, 1 anterior, 2 superior) that each array axis is nearest to."""
    x, y, z = nib.io_orientation(affine)[:, 0].astype(int)
    return int(x), int(y), int(z)


def cut_out(volume: Volume, grid: Grid, transform: Transform | None = None) -> Volume | None:
    """The voxels of `volume` at the places of `grid`, copied and not interpolated; None if their lattices differ.

    Places beyond `volume` are 0. `transform` as for `resample`; tolerance a thousandth of a voxel.
    """
    path = steps(grid.affine, transform, np.linalg.inv(volume.affine))
    if len(path) > 1 or isinstance(path[0], Field):
        return None
    matrix = path[0]
    corner = np.rint(matrix[:3, 3]).astype(int)
    # A difference of the axes grows from voxel to voxel.
    parallel = np.allclose(matrix[:3, :3], np.eye(3), rtol=0, atol=1e-3 / max(grid.shape))
    if not parallel or np.abs(matrix[:3, 3] - corner).max() > 1e-3:
        return None
    low = np.clip(corner, 0, volume.data.shape)
    high = np.clip(corner + grid.shape, 0, volume.data.shape)
    result = np.zeros(grid.shape, dtype=volume.data.dtype)
    there = tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))
    result[there] = volume.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return Volume(result, grid.affine)


def bounding_box(mask: Array, margin: Array | int = 0) -> tuple[Array, Array]:
    """Lowest (inclusive) and highest (exclusive) index of the true voxels, widened by `margin` within the array."""
    if not mask.any():
        raise ScanError("the mask is empty")
    where = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    low = np.maximum(np.array([w[0] for w in where]) - margin, 0)
    high = np.minimum(np.array([w[-1] + 1 for w in where]) + margin, mask.shape)
    return low, high
