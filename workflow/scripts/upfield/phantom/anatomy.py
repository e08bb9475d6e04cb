"""The phantom's head: the ICBM152 template with skull and scalp around it, warped into one subject.

Source of the maps: ICBM 152 nonlinear symmetric 2009a (Fonov et al., NeuroImage 2011, 54:313-327), in the
copy (1 mm, skull-stripped) that the package nilearn ships.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy import ndimage

from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume

TISSUES = ("grey matter", "white matter", "csf", "fat", "muscle", "bone")
BRAIN_FLOOR = -72.0  # mm, template z of its lowest slice: what the warp brings from below is spinal cord
SKULL, SKIN, SCALP_FAT, SCALP = 7.5, 1.5, 5.0, 13.0  # mm: depths under the surfaces of brain and head
COARSE = 3  # mm, of the distance maps, which are smooth
MARGIN = ((0, 0), (0, 24), (60, 12))  # mm added around the template for the neck and the face
FINE = Grid(
    (188, 240, 230),
    np.array([[1.0, 0, 0, -93.5], [0, 1.0, 0, -131.5], [0, 0, 1.0, -125.5], [0, 0, 0, 1.0]]),
)
CENTRE = np.array([0.0, -18.0, 8.0])  # mm, the middle of the brain: rotations and sizes are about this point


@dataclass(frozen=True)
class Template:
    """Maps (X, Y, Z) in MNI space; the first four have voxels of 1 mm and share `origin`, their first centre in mm.

    `grey`, `white`: fractions 0..1. `texture`: relative T1w deviation from the tissue's mean, -0.15..0.15.
    `brain`: 2 in the brain, 1 in the fluid around it, 0 elsewhere.
    `hull`, `head`: distance in mm to the closed brain surface and to the skin, negative inside, voxels of `COARSE`
    mm with the first centre at `shell_origin`.
    """

    grey: Array
    white: Array
    texture: Array
    brain: Array
    origin: Array
    hull: Array
    head: Array
    shell_origin: Array


@dataclass(frozen=True)
class Head:
    """One subject on the grid `FINE` (1 mm, the world of its 3 T session).

    `inside`: (X, Y, Z) bool, N voxels of the head. `fractions`: (6, N) in the order of `TISSUES`, 0..1.
    `texture`: (N,), see Template. `brain`: (N,) bool, the true brain mask (spinal cord left out).
    """

    inside: Array
    fractions: Array
    texture: Array
    brain: Array

    def volume(self, values: Array) -> Volume:
        """N values of the head's voxels as a float32 image on `FINE`, 0 in the air."""
        data = np.zeros(FINE.shape, np.float32)
        data[self.inside] = values
        return Volume(data, FINE.affine)


@lru_cache(maxsize=1)
def template() -> Template:
    """Read the maps from nilearn's package folder and build the layers around them.

    Raises UpfieldError if the installed nilearn does not ship the maps.
    """
    import fill_voids

    folder = Path(str(files("nilearn"))) / "datasets" / "data"
    try:
        t1, grey, white = (
            nifti.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") for kind in ("t1", "gm", "wm")
        )
    except ScanError as error:
        raise UpfieldError(
            f"the installed nilearn ships no ICBM152 maps in {folder} ({error}); install requirements.lock"
        ) from None
    mask = fill_voids.fill(t1.data > 0)
    fluid = ndimage.maximum_filter(mask, size=3) | ndimage.binary_dilation(mask, iterations=2)
    inside = np.stack([grey.data[mask], white.data[mask]]) / 255
    inside = np.concatenate([inside, np.clip(1 - inside.sum(axis=0), 0, 1)[None]])
    intensity = t1.data[mask]
    means = np.linalg.lstsq(inside.T[::50], intensity[::50], rcond=None)[0].astype(np.float32)
    texture = np.clip(intensity / (means @ inside) - 1, -0.15, 0.15)
    # An average of 152 brains is blurred; the third power gives it back borders as sharp as one person's.
    crisp = inside**3
    crisp /= crisp.sum(axis=0)
    maps = np.zeros((3, *mask.shape), np.float32)
    maps[:, mask] = crisp[0], crisp[1], texture
    brain = mask.astype(np.float32) + fluid
    origin = t1.affine[:3, 3]
    hull, head, shell_origin = _shells(mask, origin)
    return Template(maps[0], maps[1], maps[2], brain, origin, hull, head, shell_origin)


def build(rng: np.random.Generator) -> Head:
    """One subject's head: the template pulled through a random warp, tissue by tissue."""
    source = template()
    points = warp(rng)
    distance = _sample(source.head, points, source.shell_origin, COARSE)
    inside = distance < 0.5
    points, head = points[:, inside], distance[inside]
    # Below the template the outermost slice repeats: the brain stem goes on as a spinal cord.
    brain = _sample(source.brain, points, source.origin)
    hull = _sample(source.hull, points, source.shell_origin, COARSE)
    neural, membrane = np.clip(brain - 1, 0, 1), np.clip(brain, 0, 1)
    fractions = np.zeros((len(TISSUES), points.shape[1]), np.float32)
    texture = np.zeros_like(brain)
    near = neural > 0
    for values, volume in ((fractions[0], source.grey), (fractions[1], source.white), (texture, source.texture)):
        values[near] = _sample(volume, points[:, near], source.origin)
    fractions[0] *= neural
    fractions[1] *= neural
    fractions[2] = membrane - fractions[0] - fractions[1]
    cranium = np.maximum(_within(hull - SKULL), membrane)
    bone = cranium - membrane
    diploe = 0.4 * (_within(hull - SKULL + 1.5) - _within(hull - SKULL + 3.5)) * bone  # marrow inside the skull
    soft = np.maximum(_within(head) - cranium, 0)
    marbling = smooth_field(rng.uniform(-0.6, 0.9, (20, 26, 25)), FINE.shape)[inside]
    deep = _within(head + SKIN)
    fat = np.clip(deep - _within(head + SKIN + SCALP_FAT) + np.maximum(marbling, 0) * deep, 0, 1)
    fractions[3], fractions[4], fractions[5] = soft * fat + diploe, soft * (1 - fat), bone - diploe
    truth = (brain > 1.5) & (points[2] >= BRAIN_FLOOR - 0.5)
    return Head(inside, fractions, texture, truth)


def warp(rng: np.random.Generator) -> Array:
    """A random diffeomorphism: (3, X, Y, Z) float32, for each voxel of `FINE` its place in MNI space, mm.

    Sizes change by up to 5 % an axis, the head tilts by up to 4 degrees, and a cubic B-spline with knots 30 mm
    or more apart moves each point by up to 5 mm along each axis. Control points that move by less than 0.4 of
    their spacing keep such a field invertible (Choi and Lee, Graphical Models 2000, 62:411-427).
    """
    linear = rotation(rng.uniform(-4, 4, 3)) @ np.diag(rng.uniform(0.95, 1.05, 3))
    field = np.empty((3, *FINE.shape), np.float32)
    for axis in range(3):
        field[axis] = smooth_field(rng.uniform(-5, 5, (9, 11, 10)), FINE.shape) + CENTRE[axis]
        for other, size in enumerate(FINE.shape):
            # The grid's axes are the world's, so each coordinate is a ramp along one axis.
            ramp = (np.arange(size) + FINE.affine[other, 3] - CENTRE[other]) * linear[axis, other]
            field[axis] += ramp.astype(np.float32).reshape([-1 if a == other else 1 for a in range(3)])
    return field


def rotation(degrees: Array) -> Array:
    """(3, 3) rotation about x, then y, then z, by angles in degrees."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def smooth_field(coefficients: Array, shape: tuple[int, int, int]) -> Array:
    """Cubic B-spline with these control points (A, B, C), on a lattice of `shape`: float32, the same range."""
    field = coefficients.astype(np.float32)
    for size in shape:
        count = field.shape[0]
        distance = np.abs(np.linspace(1, count - 2, size)[:, None] - np.arange(count))
        near, far = 2 / 3 - distance**2 * (1 - distance / 2), np.clip(2 - distance, 0, None) ** 3 / 6
        weights = np.where(distance < 1, near, far).astype(np.float32)
        # Contracting the first axis and appending the new one brings the axes round to their order.
        field = np.tensordot(field, weights, axes=(0, 1))
    return np.ascontiguousarray(field)


def _shells(mask: Array, origin: Array) -> tuple[Array, Array, Array]:
    """Signed distances in mm to the closed brain surface and to the skin, and their first voxel's centre in mm."""
    before = np.array([low for low, _ in MARGIN])
    coarse = np.pad(mask, MARGIN)[::COARSE, ::COARSE, ::COARSE]
    start = origin - before
    steps = (np.arange(n) * COARSE + first for n, first in zip(coarse.shape, start, strict=True))
    x, y, z = np.meshgrid(*steps, indexing="ij", sparse=True)
    hull = _signed_distance(_signed_distance(_signed_distance(coarse) < 14) < -14)
    neck = ((x / 56) ** 2 + ((y + 32) / 62) ** 2 < 1) & (z < -35)
    face = (x / 60) ** 2 + ((y - 28) / 62) ** 2 + ((z + 62) / 72) ** 2 < 1
    # Closing by 12 mm rounds the creases where skull, face and neck meet.
    head = _signed_distance(_signed_distance((hull < SCALP) | neck | face) < 12) + 12
    return ndimage.gaussian_filter(hull, 0.7), ndimage.gaussian_filter(head, 0.7), start


def _signed_distance(mask: Array) -> Array:
    """Distance in mm to the border of `mask` on the coarse grid, negative inside, float32."""
    outside = ndimage.distance_transform_edt(~mask, COARSE)
    inside = ndimage.distance_transform_edt(mask, COARSE)
    half = COARSE / 2  # the border lies between voxel centres
    return np.where(mask, half - inside, outside - half).astype(np.float32)


def _within(distance: Array) -> Array:
    """Share of a 1 mm voxel that lies inside a surface at this signed distance, 0..1."""
    return np.clip(0.5 - distance, 0, 1)


def _sample(data: Array, points: Array, origin: Array, spacing: int = 1) -> Array:
    """Trilinear values at points (3, ...) in mm; the outermost value beyond the border."""
    voxels = (points - origin.astype(np.float32).reshape(3, *[1] * (points.ndim - 1))) / np.float32(spacing)
    return ndimage.map_coordinates(data, voxels, output=np.float32, order=1, mode="nearest")
