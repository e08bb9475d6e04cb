"""Names of NIfTI files, and files that are no NIfTI in one piece, told by their first bytes: what to do with them."""

from pathlib import Path

# What the name of an image ends with.
EXTENSIONS = (".nii.gz", ".nii")

GZIP = b"\x1f\x8b"
# What a file begins with, or has at a place.
PACKED = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}
FORMATS = {
    (128, b"DICM"): "DICOM",
    (0, b"NRRD"): "NRRD",
    (0, b"\x89HDF\r\n"): "HDF5 or MINC",
    (0, b"CDF\x01"): "MINC",
    (0, b"mrtrix image"): "MRtrix's format",
    (0, b"\x89PNG"): "PNG",
}
PAGES = (b"<!doctype", b"<html", b"<?xml")
# Bytes that are enough to tell.
ENOUGH = 352


def split(path: Path) -> tuple[str, str]:
    """The name of an image without its extension, and that; empty if it has none."""
    extension = next((extension for extension in EXTENSIONS if path.name.endswith(extension)), "")
    return path.name.removesuffix(extension), extension


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(EXTENSIONS)) if folder.is_dir() else []


def other(start: bytes, name: str) -> str:
    """What a file is by its first bytes, if that is not what its name says, with what to do; empty if it may be."""
    packed = name.lower().endswith(".gz")
    kind = next((kind for mark, kind in PACKED.items() if start.startswith(mark)), None)
    if kind is not None:
        return f"it is packed with {kind}; expected .nii or .nii.gz: unpack it"
    kind = next((kind for (at, mark), kind in FORMATS.items() if start[at:].startswith(mark)), None)
    if kind is not None:
        return f"it is {kind}; expected NIfTI: convert it"
    if start.lstrip().lower().startswith(PAGES):
        return "it is a page of the web; download the file again"
    if start.startswith(GZIP):
        return "" if packed or not name.lower().endswith(".nii") else "it is packed with gzip; name it .nii.gz"
    return "it is not packed; name it .nii" if packed and start[344:347] == b"n+1" else ""
