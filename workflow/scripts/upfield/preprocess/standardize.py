"""The steps that bring a scan to the grid and the intensities that networks see."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from upfield.errors import ScanError
from upfield.image import intensity, nifti
from upfield.image.nifti import SAME, Scale
from upfield.preprocess.derivatives import require_usable, save_image
from upfield.preprocess.grid import SOURCE_MARGIN, THICK, normalized, working_grid
from upfield.step import step


@step(version=4, memory=(290, 30), minutes=(0.2, 0.03))
def standardize(
    image: str,
    mask: str,
    target_mask: str,
    preprocessed: str,
    settings: Mapping[str, Any],
    transform: str | None = None,
    multiple: Scale = SAME,
    scale: Scale = SAME,
    decision: str | None = None,
    alone: bool = False,
    region: str | None = None,
    to_template: str | None = None,
) -> None:
    """One scan on the pair's working grid, normalized; for a `scale` other than 1 on that grid coarsened by it.

    `mask` is the scan's brain, by which intensities are normalized, and `region` what is kept of the scan: its head, or
    None for its brain. `target_mask` is that of the target, around which the grid lies.
    `transform` is None for the target itself, and for a source that is `alone`: `target_mask` is then its own.
    In a template's space `target_mask` is the template's, and `to_template` moves the target (or who is alone) there.
    `decision` is the file in which quality control says whether the pair may be used. `settings` is the `preprocess`
    block of a study, `multiple` as for `working_grid`. The sidecar tells what a model card says about the scans that
    the model has seen.
    """
    multiple, scale = _three(multiple), _three(scale)
    volume, inside = nifti.load(image), nifti.load_mask(mask).data
    kept = inside if region is None else nifti.load_mask(region).data
    path = [file for file in (to_template, transform) if file is not None]
    moves = [nifti.read_transform(file) for file in path]
    method = settings["normalize"]["method"]
    suffix = Path(preprocessed).name.split(".")[0].rsplit("_", 1)[-1]
    metadata: dict[str, Any] = {
        "Sources": [image, mask, *path[::-1]],
        "SkullStripped": region is None,
        "SpatialReference": target_mask,
        "Resolution": _resolution(settings["spacing"]),
        "Normalization": method,
    }
    downsampled = scale != SAME
    if downsampled:
        metadata["Resolution"] = f"one voxel for {' x '.join(map(str, scale))} voxels of the working grid"
    reference = nifti.load_mask(target_mask)
    try:
        require_usable(mask, target_mask, *path, decision)
        grid = nifti.coarsen(working_grid(reference, settings["spacing"], multiple), scale)
        margin = SOURCE_MARGIN if alone or transform is not None else 0.0
        result, scaling = normalized(
            volume, inside, grid, moves, method, margin, exact=downsampled, suffix=suffix, kept=kept
        )
        metadata |= {
            "IntensityOffset": scaling.offset,
            "IntensityScale": scaling.scale,
            "IntensityInverse": "intensity = value * IntensityScale + IntensityOffset",
            "RobustRange": list(intensity.robust_range(volume.data, inside)),
            "IntensityProfile": intensity.profile(volume.data, inside),
            "NativeVoxelSize": nifti.reorient(volume).grid.spacing.round(4).tolist(),
            "BrainVolume": round(float(inside.sum() * np.prod(volume.grid.spacing) / 1000), 1),
        }
        if method == "nyul":
            metadata["Landmarks"] = intensity.landmarks(volume.data, inside, scaling)
    except ScanError as error:
        result = nifti.resample(volume, nifti.coarsen(nifti.reorient(reference).grid, scale), moves)
        metadata |= {"Excluded": str(error), "SkullStripped": False}
    save_image(result, preprocessed, metadata)


@step(version=4, memory=(290, 30), minutes=(0.2, 0.03))
def prepare(
    image: str,
    mask: str,
    preprocessed: str,
    settings: Mapping[str, Any],
    typical: Sequence[float],
    scale: Scale,
    template_mask: str | None = None,
    to_template: str | None = None,
    region: str | None = None,
    first: str | None = None,
    transform: str | None = None,
) -> None:
    """A scan that has no target, as a trained model wants it: on a working grid of its own, normalized.

    Where the study's `settings["spacing"]` was `native`, the target's, the voxels are `typical` of the targets (mm
    along right, anterior, superior), or the scan's own if those are alike. A model that enlarges by `scale` takes the
    scan's own voxels as they are. In a template's space the grid is that of the study. A further contrast lies on the
    grid of the first, whose brain (or head) is the mask `first` and to which `transform` moves it; `to_template` is
    that of the first. Written like what `standardize` writes.
    """
    scale = _three(scale)
    on_grid = partial(standardize, transform=transform, multiple=scale, scale=scale, alone=True)
    if template_mask is not None:
        on_grid(image, mask, template_mask, preprocessed, settings, to_template=to_template)
        return
    spacing = settings["spacing"]
    own = nifti.reorient(nifti.load_mask(first or mask)).grid.spacing
    if spacing == "native":
        alike = np.allclose(own, typical, rtol=0.05)
        spacing = (own / scale).tolist() if scale != SAME else ("native" if alike else list(typical))
    elif scale != SAME:
        # Slices that are thick for the network's input are kept there.
        spacing = np.where(own > THICK * spacing * np.array(scale), own / scale, spacing).tolist()
    settings = {**settings, "spacing": spacing}
    on_grid(image, mask, first or region or mask, preprocessed, settings, region=region)


def _resolution(spacing: float | str | Sequence[float]) -> str:
    """Voxels of a working grid, as a sidecar says it."""
    if spacing == "native":
        return "that of the target"
    return f"{spacing} mm" if isinstance(spacing, float | int) else f"{' x '.join(map(str, spacing))} mm"


def _three(scale: Sequence[int]) -> Scale:
    """A scale from a rule's params, which are lists."""
    x, y, z = scale
    return x, y, z
