"""Registration with ANTs: rigid, affine or SyN, repeatable to the last bit."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError
from upfield.image import nifti, transforms
from upfield.image.nifti import Volume
from upfield.image.transforms import LPS, Array, Field

# Loaded where it is used: the report reads this module's sentence, and ANTs takes seconds to load.
if TYPE_CHECKING:
    import ants

# What ANTs finds (N4 too) depends on its number of threads; ITK reads this once, when it first works in a process.
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
# Voxel size at which images are registered, mm.
REGISTRATION_SPACING = 3.0
# The last stage of a rigid registration: voxels of this size (mm) or those of the coarser image, ...
FINEST = 1.0
# ... this far (mm) inside the fixed image's brain, where at least so many voxels must be.
CORE, MINIMUM = 3.0, 1000
FINE = {
    "aff_metric": "mattes",
    "aff_random_sampling_rate": 0.1,
    "aff_iterations": (10,),
    "aff_shrink_factors": (1,),
    "aff_smoothing_sigmas": (0,),
}
# What each transform is called in a methods text.
SAID = {"rigid": "rigid transform", "affine": "affine transform", "syn": "affine transform, then SyN [avants2008]"}
LINEAR = {
    "aff_metric": "mattes",
    "aff_random_sampling_rate": 0.25,
    "aff_iterations": (50, 30, 20),
    "aff_shrink_factors": (3, 2, 1),
    "aff_smoothing_sigmas": (2, 1, 0),
}


def to_ants(volume: Volume) -> "ants.ANTsImage":
    """The same image for ANTs: float32, origin, spacing and direction in LPS."""
    import ants

    affine = LPS @ volume.affine
    spacing = volume.grid.spacing
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=affine[:3, :3] / spacing,
    )


def register(fixed: Volume, moving: Volume, transform: str, seed: int) -> tuple[Array | Field, Array | Field]:
    """Register two brain images by Mattes mutual information (ANTs, Avants et al. 2011).

    Both should be zero outside the brain. They are reduced to 3 mm first: a quarter of the voxels is then sampled
    in the time that the full grid allows for a hundredth, which is both faster and nearer to the true transform. A
    rigid transform is then refined on the fine grid, 3 mm inside the brain.

    Parameters
    ----------
    transform
        `rigid`; `affine`, which starts from it; or `syn` (symmetric diffeomorphism, Avants et al. 2008), which starts
        from that. Where an image is a slab of a few slices, `rigid` moves within its slices alone.
    seed
        The same seed gives the same bytes, whatever the number of threads asked for: ANTs is repeatable on one thread
        only.

    Returns the transform from the world of `fixed` to the world of `moving`, with which `nifti.resample` pulls
    `moving` onto `fixed`, and its inverse: (4, 4) matrices, or displacement fields for `syn`. Raises ScanError if ANTs
    fails.

    """
    import ants

    ants.config.set_ants_deterministic(True, seed_value=seed)
    images = [nifti.reorient(volume) for volume in (fixed, moving)]
    # A few slices say little about a tilt or a shift across them.
    axis = next((image.grid.slab_axis for image in images if image.grid.slab_axis is not None), None)
    small = [nifti.resample(image, nifti.regrid(image, REGISTRATION_SPACING), order=1) for image in images]
    with tempfile.TemporaryDirectory() as folder:
        if axis is None:
            matrix = _linear(small, Path(folder), type_of_transform="Rigid")
            matrix = _refined(images, matrix, Path(folder))
        else:
            matrix = _in_plane(small, axis, Path(folder))
        if transform == "rigid":
            return matrix, np.linalg.inv(matrix)
        matrix = _linear(small, Path(folder), start=matrix, type_of_transform="Affine")
        if transform == "affine":
            return matrix, np.linalg.inv(matrix)
        return _deformable(small, Path(folder), matrix)


def _ants(images: list[Volume], folder: Path, start: Array | None, **settings: Any) -> dict[str, Any]:
    """ANTs' registration of [fixed, moving], its files in `folder`; from the centres of mass if there is no `start`."""
    import ants

    if start is not None:
        transforms.write_matrix(folder / "start.txt", start)
        settings["initial_transform"] = [str(folder / "start.txt")]
    try:
        result: dict[str, Any] = ants.registration(*map(to_ants, images), outprefix=f"{folder}/", **settings)
    except RuntimeError as error:
        raise ScanError(f"registration failed ({' '.join(str(error).split())[:160]})") from None
    return result


def _refined(images: list[Volume], start: Array, folder: Path) -> Array:
    """A rigid transform once more, on fine voxels, where the outlines of two masks that differ have no say."""
    spacing = max(FINEST, *(float(image.grid.spacing.min()) for image in images))
    if spacing >= REGISTRATION_SPACING:
        return start
    fine = [
        image if np.allclose(image.grid.spacing, spacing, rtol=0.1) else nifti.resample(image, grid, order=1)
        for image, grid in ((image, nifti.regrid(image, spacing)) for image in images)
    ]
    fixed = fine[0]
    inside = ndimage.distance_transform_edt(fixed.data > 0, sampling=fixed.grid.spacing) > CORE
    if inside.sum() < MINIMUM:
        return start
    mask = to_ants(fixed.with_data(inside.astype(np.float32)))
    result = _ants(fine, folder, start, type_of_transform="Rigid", mask=mask, mask_all_stages=True, **FINE)
    return from_ants(result["fwdtransforms"][0])


def _linear(images: list[Volume], folder: Path, start: Array | None = None, **settings: Any) -> Array:
    return from_ants(_ants(images, folder, start, **LINEAR, **settings)["fwdtransforms"][0])


def _in_plane(images: list[Volume], axis: int, folder: Path) -> Array:
    """A rotation about `axis` of the fixed image and a shift across it: what a few slices can tell."""
    fixed, moving = images
    # In a world whose axes are those of the fixed image, the parameters of a rotation can be held one by one, but
    # only from an identity: so the shift to start from is put into the moving image's affine.
    frame, start = np.eye(4), np.eye(4)
    frame[:3, :3] = np.linalg.inv(fixed.affine[:3, :3] / fixed.grid.spacing)
    frame[:3, 3] = -frame[:3, :3] @ _centre(fixed)
    start[:3, 3] = transforms.apply_matrix(frame, _centre(moving)[:, None])[:, 0]
    start[axis, 3] = 0
    turned = [
        Volume(fixed.data, frame @ fixed.affine),
        Volume(moving.data, np.linalg.inv(start) @ frame @ moving.affine),
    ]
    free = tuple(int(a == axis) for a in range(3)) + tuple(int(a != axis) for a in range(3))
    matrix = _linear(
        turned, folder, type_of_transform="Rigid", initial_transform=["Identity"], restrict_transformation=free
    )
    return np.asarray(np.linalg.inv(frame) @ start @ matrix @ frame)


def _centre(volume: Volume) -> Array:
    weights = np.clip(volume.data, 0, None).astype(np.float64)
    total = max(float(weights.sum()), 1e-6)
    middle = [(weights.sum(axis=tuple(b for b in range(3) if b != a)) * np.arange(n)).sum() / total
              for a, n in enumerate(weights.shape)]  # fmt: skip
    return np.asarray((volume.affine @ np.array([*middle, 1.0]))[:3])


def _deformable(images: list[Volume], folder: Path, start: Array) -> tuple[Field, Field]:
    """SyN from an affine start, each direction as one field: affine and deformation composed."""
    result = _ants(images, folder, start, type_of_transform="SyNOnly", syn_metric="mattes")
    warp, back = (
        nifti.read_transform(next(name for name in result[key] if name.endswith(".nii.gz")))
        for key in ("fwdtransforms", "invtransforms")
    )
    fixed, moving = images
    inverse = np.linalg.inv(start)
    return _composed([warp, start], fixed), _composed([inverse, back], moving)


def _composed(path: list[Array | Field], over: Volume) -> Field:
    """A path as one displacement field on the grid of `over`."""
    where = transforms.apply_matrix(over.affine, np.indices(over.data.shape).reshape(3, -1))
    shift = transforms.move(path, where) - where
    return Field(np.moveaxis(shift.reshape(3, *over.data.shape), 0, -1).astype(np.float32), over.affine)


def from_ants(path: str | Path) -> Array:
    """An ITK linear transform file as a (4, 4) matrix from fixed to moving world, RAS+ mm."""
    import ants

    transform = ants.read_transform(str(path))
    parameters = np.asarray(transform.parameters, dtype=float)
    centre = np.asarray(transform.fixed_parameters, dtype=float)[:3]
    linear = parameters[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = parameters[9:12] + centre - linear @ centre
    return LPS @ matrix @ LPS


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What was done, as a clause with citations; empty if the scans of a pair were left where they are."""
    transform = config.get("preprocess", {}).get("registration", {}).get("transform", "none")
    if transform not in SAID:
        return ""
    return f"each source was registered to its target with ANTs ({SAID[transform]}) [avants2011]"
