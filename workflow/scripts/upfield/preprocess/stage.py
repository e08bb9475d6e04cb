"""The preprocessing steps of one scan or pair, from files to files.

Each step always writes valid images. Where a scan turns out to be unusable (no brain found, registration failed),
its sidecar carries `Excluded` with the reason, later steps pass the mark on, and nothing downstream uses the pair:
one bad scan never stops the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upfield.bids import Exclusion, Pair, Scan, sidecar, uri
from upfield.errors import ScanError
from upfield.files import read_json, write_json
from upfield.image import intensity, nifti, transforms
from upfield.image.intensity import Scaling
from upfield.image.nifti import SAME, Grid, Scale, Volume
from upfield.image.transforms import Array, Field, Transform
from upfield.preprocess import simulation as degrade
from upfield.preprocess.brain.extraction import extract

# Role of the rows of excluded.tsv that leave the scans themselves in.
PAIR = "pair"
# An axis along which the target's voxels are larger than this many voxels of the working grid keeps its own: slices are
# not invented.
THICK = 2.0
# Room around the brain on the working grid, in mm.
MARGIN = 8.0
# The rim of a low-field mask is uncertain: this much (mm) around the source's brain is left for the network to judge.
SOURCE_RIM = 6.0


def save_image(volume: Volume, path: str | Path, metadata: Mapping[str, Any], dtype: type = np.float32) -> None:
    """Write an image and its sidecar, in which `Sources` and `SpatialReference` become BIDS URIs."""
    nifti.save(volume, path, dtype)
    write_json(sidecar(path), _with_uris(metadata, path))


def _with_uris(metadata: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    named = dict(metadata)
    if "Sources" in named:
        named["Sources"] = [uri(source, path) for source in named["Sources"]]
    if "SpatialReference" in named:
        named["SpatialReference"] = uri(named["SpatialReference"], path)
    return named


def excluded(image: str | Path) -> str | None:
    """Why a scan or its derivative is excluded; None if it is not, or if it has no sidecar (a template, a raw scan)."""
    path = sidecar(image)
    reason = read_json(path).get("Excluded") if path.is_file() else None
    return None if reason is None else str(reason)


def simulate(target: str | Path, output: str | Path, settings: Mapping[str, Any], participant: str) -> None:
    """Make the source scan of `pairing: simulated` from a target scan."""
    metadata: dict[str, Any] = {"Sources": [str(target)], "Simulated": True, "Simulation": dict(settings)}
    image, reason = nifti.load(target), excluded(target)
    if reason is None:
        image = degrade.degrade(image, settings, participant)
    else:
        metadata["Excluded"] = reason
    save_image(image, output, metadata)


def extract_brain(
    image: str | Path, output: str | Path, settings: Mapping[str, Any], given: Sequence[str] = ()
) -> None:
    """Brain mask on the scan's own grid; empty, with a reason, if no brain is found.

    `settings` and `given` as for `brain.extraction.extract`.
    """
    volume = nifti.load(image)
    sources = [str(image), *(given if settings["method"] == "mask" else [])]
    metadata: dict[str, Any] = {"Sources": sources, "Type": "Brain", "BrainExtraction": settings["method"]}
    try:
        reason = excluded(image)
        if reason is not None:
            raise ScanError(reason)
        mask = extract(volume, settings, given)
    except ScanError as error:
        mask = np.zeros(volume.data.shape, dtype=bool)
        metadata["Excluded"] = str(error)
    save_image(volume.with_data(mask), output, metadata, np.uint8)


def correct_bias(image: str | Path, mask: str | Path, output: str | Path, enabled: bool) -> None:
    """N4 inside the mask, on the scan's own grid; the image as it is if not `enabled`."""
    volume = nifti.load(image)
    inside = nifti.load_mask(mask).data
    if enabled:
        # Imported here, as in `register`: ANTs takes longer to load than most steps to run.
        from upfield.preprocess import bias

        volume = bias.correct_bias(volume, inside)
    stripped = read_json(sidecar(mask)).get("BrainExtraction") == "none"
    steps = ["N4"] if enabled else []
    save_image(volume, output, {"Sources": [str(image), str(mask)], "SkullStripped": stripped, "Steps": steps})


def register(
    source: tuple[str, str],
    target: tuple[str, str],
    outputs: tuple[str, str],
    settings: Mapping[str, Any],
    names: tuple[str, str] = ("source", "target"),
    accept: Callable[[Volume, Volume, Transform], None] | None = None,
) -> None:
    """Source onto target. `source` and `target` are (image, mask); `outputs` forward and inverse transform.

    `names` says in the sidecars who is moved onto whom. They hold the reason if registration failed (the transforms
    are then identities), or if `accept`, given both brains and the inverse, raises ScanError.
    """
    kind = settings["transform"]
    metadata: dict[str, Any] = {"Sources": [*source, *target], "Transform": kind, "Seed": settings["seed"]}
    forward: Array | Field = transforms.identity(kind)
    inverse: Array | Field = transforms.identity(kind)
    reason = excluded(source[1]) or excluded(target[1])
    try:
        if kind != "none" and reason is None:
            from upfield.preprocess import registration

            moving, fixed = (_stripped(*files) for files in (source, target))
            forward, inverse = registration.register(fixed, moving, kind, settings["seed"])
            if accept is not None:
                accept(fixed, moving, inverse)
    except ScanError as error:
        reason = str(error)
    if reason is not None:
        metadata["Excluded"] = reason
    for path, transform, (start, end) in ((outputs[0], forward, names), (outputs[1], inverse, names[::-1])):
        nifti.write_transform(path, transform)
        what: dict[str, Any] = {
            "Moves": f"images from {start} to {end} (it takes points of the world of {end} to that of {start})",
            "Format": transforms.FORMATS[isinstance(transform, Field)],
        }
        if kind == "rigid":
            what["RotationDegrees"] = round(transforms.rotation_degrees(np.asarray(transform)), 4)
        write_json(sidecar(path), _with_uris(metadata | what, path))


def _stripped(image: str, mask: str) -> Volume:
    volume = nifti.load(image)
    inside = nifti.mask_on(nifti.load_mask(mask), volume.grid)
    return volume.with_data(np.where(inside, volume.data, 0).astype(np.float32))


def working_grid(mask: Volume, spacing: float | str | Sequence[float], multiple: Scale = SAME) -> Grid:
    """The grid on which a pair meets: RAS+ axes of the target, `spacing` mm or `native`, cropped to its brain.

    `spacing` is one number, or one for each axis. Along an axis where the target's voxels are larger than twice one
    number (thick slices), its own slices are kept.

    Its corner and size are multiples of `multiple` voxels of the target's whole field of view, so that blocks of the
    working grid are blocks of the whole: what was reduced before is not interpolated again. It may reach beyond the
    image for that. Raises ScanError for an empty mask.
    """
    canonical = nifti.reorient(mask)
    if spacing == "native":
        grid, inside = canonical.grid, canonical
    else:
        own = canonical.grid.spacing
        wanted = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
        if np.ndim(spacing) == 0:
            wanted = np.where(own > THICK * wanted, own, wanted)
        x, y, z = wanted.tolist()
        grid = nifti.regrid(canonical, (x, y, z))
        inside = nifti.resample(canonical.with_data(canonical.data.astype(np.uint8)), grid, order=0)
    low, high = nifti.bounding_box(inside.data > 0, np.ceil(MARGIN / grid.spacing).astype(int))
    return nifti.crop(grid, low // multiple * multiple, -(-high // multiple) * multiple)


def normalised(
    image: Volume,
    mask: Array,
    grid: Grid,
    transform: Transform | None,
    method: str,
    rim: float = 0.0,
    exact: bool = False,
    suffix: str = "T1w",
) -> tuple[Volume, Scaling]:
    """Put a native scan on `grid` with one interpolation (cubic B-spline), or `exact` with none, and normalise it.

    `exact` copies voxels where `grid` lies on the lattice of the image, and interpolates elsewhere. The scaling is
    fitted on the native voxels in `mask`. Everything farther than `rim` mm from the mask becomes intensity 0 before
    the interpolation. Raises ScanError for an empty mask or a constant image.
    """
    scaling = intensity.fit(image.data, mask, method, suffix)
    stripped = image.with_data(np.where(nifti.widened(image.with_data(mask), rim), image.data, 0).astype(np.float32))
    copied = nifti.cut_out(stripped, grid, transform) if exact else None
    moved = copied or nifti.resample(stripped, grid, transform, order=3)
    return moved.with_data(scaling.apply(moved.data)), scaling


def standardise(
    image: str,
    mask: str,
    target_mask: str,
    transform: str | None,
    output: str,
    settings: Mapping[str, Any],
    multiple: Scale = SAME,
    scale: Scale = SAME,
    verdict: str | None = None,
    alone: bool = False,
    to_template: str | None = None,
) -> None:
    """One scan on the pair's working grid, normalised; for a `scale` other than 1 on that grid coarsened by it.

    `transform` is None for the target itself, and for a source that is `alone`: `target_mask` is then its own mask.
    In a template's space `target_mask` is the template's, and `to_template` moves the target (or who is alone) there.
    `verdict` is the file in which quality control says whether the pair may be used. `settings` is the `preprocess`
    block of a study, `multiple` as for `working_grid`. The sidecar tells what a model card says about the scans that
    the model has seen.
    """
    volume, inside = nifti.load(image), nifti.load_mask(mask).data
    path = [file for file in (to_template, transform) if file is not None]
    moves = [nifti.read_transform(file) for file in path]
    method = settings["normalize"]["method"]
    suffix = Path(output).name.split(".")[0].rsplit("_", 1)[-1]
    metadata: dict[str, Any] = {
        "Sources": [image, mask, *path[::-1]],
        "SkullStripped": True,
        "SpatialReference": target_mask,
        "Resolution": f"{settings['spacing']} mm" if settings["spacing"] != "native" else "that of the target",
        "Normalization": method,
    }
    reason = excluded(mask) or excluded(target_mask)
    for file in path:
        reason = reason or excluded(file)
    if verdict is not None:
        reason = reason or excluded(verdict)
    reduced = scale != SAME
    if reduced:
        metadata["Resolution"] = f"one voxel for {' x '.join(map(str, scale))} voxels of the working grid"
    reference = nifti.load_mask(target_mask)
    try:
        if reason is not None:
            raise ScanError(reason)
        grid = nifti.coarsen(working_grid(reference, settings["spacing"], multiple), scale)
        rim = SOURCE_RIM if alone or transform is not None else 0.0
        result, scaling = normalised(volume, inside, grid, moves, method, rim, exact=reduced, suffix=suffix)
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
    save_image(result, output, metadata)


def prepare(
    image: str,
    mask: str,
    output: str,
    settings: Mapping[str, Any],
    typical: Sequence[float],
    scale: Scale,
    template_mask: str | None = None,
    to_template: str | None = None,
) -> None:
    """A scan that has no target, as a trained model wants it: on a working grid of its own, normalised.

    Where the study's `settings["spacing"]` was `native`, the target's, the voxels are `typical` of the targets (mm
    along right, anterior, superior), or the scan's own if those are alike. A model that enlarges by `scale` takes the
    scan's own voxels as they are. In a template's space the grid is that of the study. Written like what `standardise`
    writes.
    """
    if template_mask is not None:
        standardise(
            image, mask, template_mask, None, output, settings, scale, scale, alone=True, to_template=to_template
        )
        return
    spacing = settings["spacing"]
    own = nifti.reorient(nifti.load_mask(mask)).grid.spacing
    if spacing == "native":
        alike = np.allclose(own, typical, rtol=0.05)
        spacing = (own / scale).tolist() if scale != SAME else ("native" if alike else list(typical))
    elif scale != SAME:
        # Slices that are thick for the network's input are kept there.
        spacing = np.where(own > THICK * spacing * np.array(scale), own / scale, spacing).tolist()
    standardise(image, mask, mask, None, output, {**settings, "spacing": spacing}, scale, scale, alone=True)


def scaling_of(preprocessed: str | Path) -> Scaling:
    """The normalisation of a preprocessed image, from its sidecar. Raises ScanError if the scan is excluded."""
    metadata = read_json(sidecar(preprocessed))
    if "Excluded" in metadata:
        raise ScanError(metadata["Excluded"])
    return Scaling(metadata["IntensityOffset"], metadata["IntensityScale"])


def landmarks_of(preprocessed: str | Path) -> list[float] | None:
    """The landmarks of a preprocessed image, for Nyúl's method; None if it has none (an excluded one)."""
    found: list[float] | None = read_json(sidecar(preprocessed)).get("Landmarks")
    return found


def cohort(
    pairs: Sequence[Pair], preprocessed: Callable[[Scan], str], verdict: Callable[[str], str]
) -> tuple[list[Pair], list[Exclusion]]:
    """The pairs that preprocessing and quality control left over, and one row, with the reason, for each other.

    `preprocessed` says where a scan's image is, `verdict` where the verdict on a participant's pair is.
    """
    rows = [
        _fault(pair.participant, (*pair.sources, pair.target), preprocessed, verdict(pair.participant))
        for pair in pairs
    ]
    used = [pair for pair, row in zip(pairs, rows, strict=True) if row is None]
    return used, [row for row in rows if row is not None]


def cohorts(
    scans: Sequence[Scan],
    pairs: Mapping[str, Pair],
    images: tuple[Callable[[Scan], str], Callable[[Scan], str]],
    verdict: Callable[[str], str],
) -> tuple[list[Pair], list[Exclusion]]:
    """As `cohort` for the `scans` of an unpaired study and its linked `pairs`, by the names of their verdicts.

    `images` say where a scan's image is, on its own grid and on its pair's. A row of the role `pair` says that two
    scans of one person cannot be used together, which leaves both in their cohorts.
    """
    alone, on_pair = images
    rows = [_fault(scan.participant, (scan,), alone, verdict(scan.participant)) for scan in scans]
    left_out = [row for row in rows if row is not None]
    lost = {row.participant for row in left_out}
    used = []
    for name, pair in pairs.items():
        row = _fault(pair.participant, (pair.source, pair.target), on_pair, verdict(name))
        if row is None:
            used.append(pair)
        elif not lost & {pair.source.participant, pair.target.participant}:
            left_out.append(replace(row, role=PAIR))
    return used, left_out


def _fault(participant: str, scans: Sequence[Scan], image: Callable[[Scan], str], verdict: str) -> Exclusion | None:
    """Why scans that are judged together cannot be used, if they cannot."""
    judged = read_json(verdict)
    if "Excluded" in judged:
        scan = next((scan for scan in scans if scan.role == judged["Role"]), scans[-1])
        return Exclusion(participant, judged["Role"], scan.path, "qc", judged["Excluded"])
    for scan in scans:
        reason = excluded(image(scan))
        if reason is not None:
            return Exclusion(participant, scan.role, scan.path, "preprocess", reason)
    return None


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """The working grid, as a clause; empty if it is not known."""
    spacing = config.get("preprocess", {}).get("spacing")
    if spacing is None:
        return ""
    grid = "the target's own grid" if spacing == "native" else f"an isotropic grid of {spacing} mm"
    return f"images were resampled once, to {grid}"
