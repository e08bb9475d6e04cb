"""The phantom's scanners: spoiled gradient echo of the same head at two of 64 mT, 3 T and 7 T."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from upfield.errors import UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.phantom import anatomy


@dataclass(frozen=True)
class Phantom:
    """Settings: number of subjects, seed, `spacing` and `fields`.

    `spacing` is the isotropic voxel size at the higher field in mm; `fields` names the two sessions, the lower first.
    Raises UpfieldError on values that make no sense.
    """

    subjects: int = 10
    seed: int = 42
    spacing: float = 2.0
    fields: Sequence[str] = ("64mT", "3T")

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.seed < 0:
            raise UpfieldError(f"phantom: found subjects={self.subjects}, seed={self.seed}; expected at least 1 and 0")
        if not 1 <= self.spacing <= 5:
            raise UpfieldError(f"phantom: found spacing={self.spacing} mm; expected 1 to 5 (simulated at 1 mm)")
        order = list(SCANNERS)
        if (
            len(self.fields) != 2
            or not set(self.fields) <= set(order)
            or order.index(self.fields[0]) >= order.index(self.fields[1])
        ):
            raise UpfieldError(
                f"phantom: found fields={list(self.fields)}; expected two of {', '.join(order)}, the lower first"
            )


@dataclass(frozen=True)
class Subject:
    """One simulated subject.

    `low`, `high`: the images at the lower and the higher field, float32, whole numbers from 0 (white
    matter at about 500).
    `brain`: the true brain mask, uint8 0 or 1, on the grid of `high`. `labels`: the tissue of each voxel of
    `high`, uint8, 0 in air, else 1 + its index in `anatomy.TISSUES`.
    `displacement`: (4, 4) rigid, RAS+ mm, from a point in the world of `high` to the same anatomy in that of `low`.
    """

    low: Volume
    high: Volume
    brain: Volume
    labels: Volume
    displacement: Array


@dataclass(frozen=True)
class Scanner:
    """One protocol: field in tesla, times in seconds, angle in degrees, SNR of white matter, log bias.

    `voxel` is the size of its voxels in mm when it is the lower field, given the voxel size at the higher one.
    """

    model: str
    field: float
    repetition_time: float
    echo_time: float
    flip_angle: float
    snr: float
    bias: float
    voxel: Callable[[float], tuple[float, float, float]]


def _isotropic(factor: float) -> Callable[[float], tuple[float, float, float]]:
    return lambda spacing: (factor * spacing,) * 3


# By session, the lowest field first.
SCANNERS = {
    "64mT": Scanner("Phantom 64 mT", 0.064, 0.040, 0.005, 60, snr=18, bias=0.30, voxel=lambda spacing: (2.0, 2.0, 5.0)),
    "3T": Scanner("Phantom 3 T", 3.0, 0.020, 0.003, 25, snr=60, bias=0.10, voxel=_isotropic(1.5)),
    "7T": Scanner("Phantom 7 T", 7.0, 0.020, 0.003, 25, snr=110, bias=0.25, voxel=_isotropic(1.0)),
}
WHITE_MATTER = 500.0  # scanner units

# In the order of anatomy.TISSUES. Rounded values: a phantom has to be plausible, not a reference.
# Proton density: water content after Tofts, Quantitative MRI of the Brain (2003), chapter 4; bone after Du et
# al., J Magn Reson 2010, 207:304-311.
DENSITY = np.array([0.82, 0.70, 1.00, 0.90, 0.79, 0.20])
# T1 in seconds. Grey and white matter at 64 mT: the field law of Rooney et al., MRM 2007, 57:308-318, as used by
# Marques et al., JMRI 2019, 49:1528-1542: 0.00116 (42.577e6 B0)^0.376 and 0.00071 (42.577e6 B0)^0.382; at 3 T
# and 7 T: Wright et al., MAGMA 2008, 21:121-130. CSF, fat and muscle at 64 mT: O'Reilly and Webb, MRM 2022, 87:884-895
# (50 mT); at 3 T: Rooney et al. and Gold et al., AJR 2004, 183:343-351; at 7 T: a little longer. Bone: Du et al.; no
# signal of it is left at the echo times used here.
T1 = {
    0.064: np.array([0.305, 0.204, 3.70, 0.130, 0.171, 0.15]),
    3.0: np.array([1.61, 0.84, 4.3, 0.37, 1.42, 0.22]),
    7.0: np.array([1.94, 1.13, 4.4, 0.45, 1.70, 0.25]),
}
# T2* in seconds. Brain at 3 T and 7 T: Peters et al., Magn Reson Imaging 2007, 25:748-753. 64 mT: a little below the T2
# of O'Reilly and Webb, since susceptibility hardly counts there. The others are plausible values.
T2_STAR = {
    0.064: np.array([0.090, 0.080, 1.0, 0.080, 0.035, 0.0005]),
    3.0: np.array([0.066, 0.053, 0.20, 0.030, 0.025, 0.0004]),
    7.0: np.array([0.033, 0.027, 0.10, 0.015, 0.013, 0.0003]),
}


def simulate(index: int, settings: Phantom) -> Subject:
    """Simulate subject number `index` (from 0): a function of `index` and the settings without `subjects` alone.

    Both images are sampled from one head at 1 mm. The low field image is moved before it is sampled, so that
    `displacement` is exact.
    """
    shape_rng, tissue_rng, pose_rng, low_rng, high_rng = (
        np.random.default_rng([settings.seed, index, stream]) for stream in range(5)
    )
    head = anatomy.build(shape_rng)
    tissue = (
        tissue_rng.uniform(0.94, 1.06, len(anatomy.TISSUES)),
        tissue_rng.uniform(0.97, 1.03, len(DENSITY)),
    )
    displacement = rigid(_signed(pose_rng, 1, 4), _signed(pose_rng, 1, 5))
    tilt = rigid(_signed(pose_rng, 1, 6), pose_rng.uniform(-3, 3, 3))
    lower, higher = (SCANNERS[field] for field in settings.fields)
    high_grid = _grid((settings.spacing,) * 3, tilt)
    low_grid = _grid(lower.voxel(settings.spacing), np.eye(4))
    low = nifti.resample(_signal(head, lower, *tissue), low_grid, np.linalg.inv(displacement))
    high = nifti.resample(_signal(head, higher, *tissue), high_grid)
    brain = nifti.resample(head.volume(head.brain), high_grid)
    labels = nifti.resample(head.volume(1 + head.fractions.argmax(axis=0)), high_grid, order=0)
    return Subject(
        acquire(low, lower, low_rng),
        acquire(high, higher, high_rng),
        brain.with_data((brain.data > 0.5).astype(np.uint8)),
        labels.with_data(labels.data.astype(np.uint8)),
        displacement,
    )


def flash(scanner: Scanner, density: Array, t1: Array, t2_star: Array) -> Array:
    """Steady-state signal of a spoiled gradient echo, per unit of magnetisation (Ernst and Anderson 1966).

    S = PD sin(a) (1 - E1) / (1 - E1 cos(a)) exp(-TE / T2*), with E1 = exp(-TR / T1); times in seconds.
    """
    e1, angle = np.exp(-scanner.repetition_time / t1), np.deg2rad(scanner.flip_angle)
    recovery = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    return density * recovery * np.exp(-scanner.echo_time / t2_star)


def acquire(clean: Volume, scanner: Scanner, rng: np.random.Generator) -> Volume:
    """A scan of a clean image (white matter at 1): gain, smooth receive bias, Rician noise, rounded, >= 0."""
    bias = np.exp(scanner.bias * anatomy.smooth_field(rng.uniform(-1, 1, (5, 5, 5)), clean.grid.shape))
    noise = rng.standard_normal((2, *clean.data.shape), np.float32) / scanner.snr
    magnitude = np.hypot(clean.data * bias + noise[0], noise[1])
    return clean.with_data(np.rint(WHITE_MATTER * rng.uniform(0.9, 1.1) * magnitude).astype(np.float32))


def rigid(degrees: Array, translation: Array) -> Array:
    """(4, 4): rotate by `degrees` (x, y, z) about the middle of the brain, then translate by mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = anatomy.rotation(degrees)
    matrix[:3, 3] = anatomy.CENTRE + translation - matrix[:3, :3] @ anatomy.CENTRE
    return matrix


def _signal(head: anatomy.Head, scanner: Scanner, t1_factor: Array, density_factor: Array) -> Volume:
    """The head's clean image at 1 mm, the mean white matter of all subjects at 1."""
    t1, t2_star = T1[scanner.field], T2_STAR[scanner.field]
    unit = flash(scanner, DENSITY, t1, t2_star)[1]
    density = DENSITY * density_factor
    signal = flash(scanner, density, t1 * t1_factor, t2_star) / unit
    # Texture is a local shortening of T1, so that its contrast, too, depends on the field (to first order).
    step = 0.01
    slope = (flash(scanner, density, t1 * t1_factor * (1 - step), t2_star) / unit - signal) / step
    weights = np.stack([signal, slope]).astype(np.float32)
    mean, change = weights @ head.fractions
    return head.volume(mean + change * head.texture)


def _signed(rng: np.random.Generator, low: float, high: float) -> Array:
    """Three numbers of random sign, each between `low` and `high` in size: never near 0."""
    return rng.uniform(low, high, 3) * rng.choice([-1, 1], 3)


def _grid(spacing: tuple[float, ...], pose: Array) -> Grid:
    """Voxels of `spacing` mm over a field of view of 192 x 240 x 210 mm, which `pose` tilts and shifts."""
    shape = np.rint(np.array([192, 240, 210]) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array([0.0, -12.0, -2.0]) - (shape - 1) / 2 * np.array(spacing)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), pose @ affine)
