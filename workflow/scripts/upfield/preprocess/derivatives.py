"""Derivatives as files: one writer, which hands on why a scan is excluded, and one reader that raises.

Each step of preprocessing always writes valid images. Where a scan turns out to be unusable (no brain found,
registration failed), its sidecar carries `Excluded` with the reason; whatever is made from it inherits the mark, and
nothing uses it: one bad scan never stops the others.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upfield.bids import sidecar, uri
from upfield.bids.sidecars import beside
from upfield.errors import ScanError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import Volume

MARK = "Excluded"


def excluded(image: str | Path) -> str | None:
    """Why a scan, its derivative or a pair (a QC decision) is excluded; None if it is not, or has no sidecar.

    The sidecar of a scan as it was acquired is foreign text: damaged, it is named in the log and excludes nobody.
    """
    reason = beside(sidecar(image)).get(MARK)
    return reason if isinstance(reason, str) else None


def why_excluded(files: Iterable[str | Path | None]) -> str | None:
    """The first reason that any of some files carries; None stands for a file that a study does not have."""
    return next((reason for path in files if path is not None and (reason := excluded(path)) is not None), None)


def require_usable(*files: str | Path | None) -> None:
    """Raise ScanError, with the reason, if any of some files is excluded."""
    reason = why_excluded(files)
    if reason is not None:
        raise ScanError(reason)


def save_image(
    volume: Volume,
    path: str | Path,
    metadata: Mapping[str, Any],
    dtype: type = np.float32,
    judged_by: Iterable[str | Path | None] = (),
) -> None:
    """Write an image and its sidecar; see `save_sidecar`."""
    nifti.save(volume, path, dtype)
    save_sidecar(path, metadata, judged_by)


def save_sidecar(path: str | Path, metadata: Mapping[str, Any], judged_by: Iterable[str | Path | None] = ()) -> None:
    """Write the sidecar of a derivative, in which `Sources` and `SpatialReference` become BIDS URIs.

    If one of its `Sources`, or of the files that it is `judged_by` (a QC decision, another scan of the pair), is
    excluded, so is the derivative, with the reason that stands there.
    """
    named = dict(metadata)
    if MARK not in named:
        reason = why_excluded([*named.get("Sources", []), *judged_by])
        if reason is not None:
            named[MARK] = reason
    if "Sources" in named:
        named["Sources"] = [uri(source, path) for source in named["Sources"]]
    if "SpatialReference" in named:
        named["SpatialReference"] = uri(named["SpatialReference"], path)
    write_json(sidecar(path), named)


def scaling_of(preprocessed: str | Path) -> Scaling:
    """The normalization of a preprocessed image, from its sidecar. Raises ScanError if the scan is excluded."""
    require_usable(preprocessed)
    metadata = read_json(sidecar(preprocessed))
    return Scaling(metadata["IntensityOffset"], metadata["IntensityScale"])


def robust_width(preprocessed: str | Path) -> float:
    """The robust width of the intensities of a preprocessed image, in normalized units, from its sidecar."""
    metadata = read_json(sidecar(preprocessed))
    low, high = metadata["RobustRange"]
    return float((high - low) / metadata["IntensityScale"])


def landmarks_of(preprocessed: str | Path) -> list[float] | None:
    """The landmarks of a preprocessed image, for Nyúl's method; None if it has none (an excluded one)."""
    found: list[float] | None = read_json(sidecar(preprocessed)).get("Landmarks")
    return found
