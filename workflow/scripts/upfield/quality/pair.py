"""How well a source lies on its target: similarity of the two brains on one grid, before and after registration.

Two people's brains can be registered too, and look alike to any one number. What tells them apart is a comparison
with a stranger that is the same scan: the source mirrored left to right and registered anew has the same contrast,
noise, resolution and size, but not this person's folds and asymmetries. The right source fits better than its mirror
image, a wrong one does not.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.metrics import normalized_mutual_information

from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume, mask_on
from upfield.image.transforms import Transform

# mm: voxels are compared at this size.
SPACING = 2.0
# mm around the target's brain.
MARGIN = 8.0
# Voxels at the border of the mask in which edges are not counted.
RIM = 2
# Share of the brain's voxels, by gradient, that counts as edge.
EDGES = 0.15
BINS = 32
# Of the registration of the mirrored source.
SEED = 42
# Reflection through the world's sagittal plane.
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Brain:
    """A scan in RAS+ order, 0 outside the brain, and its mask on the same grid."""

    image: Volume
    mask: Volume

    @property
    def mirrored(self) -> "Brain":
        """The same brain, left and right exchanged in the world."""
        return Brain(*(Volume(volume.data, MIRROR @ volume.affine) for volume in (self.image, self.mask)))


@dataclass(frozen=True)
class Meeting:
    """A source and a target on one grid: values and masks, (X, Y, Z); the masks hold only what both scans cover."""

    source: Array
    target: Array
    source_mask: Array
    target_mask: Array

    @property
    def both(self) -> Array:
        """Inside both brains."""
        return self.source_mask & self.target_mask


def brain(image: Volume, mask: Volume) -> Brain:
    """A scan with its mask as the functions below want it; image and mask share a grid."""
    stripped = image.with_data(np.where(mask.data > 0, image.data, 0).astype(np.float32))
    return Brain(nifti.reorient(stripped), nifti.reorient(mask))


def grid(target: Brain) -> Grid:
    """Where brains meet: voxels of 2 mm along the target's axes, its brain with 8 mm around."""
    whole = nifti.regrid(target.mask, SPACING)
    return nifti.crop(whole, *nifti.bounding_box(mask_on(target.mask, whole), int(MARGIN / SPACING)))


def meet(source: Brain, target: Brain, where: Grid, transform: Transform) -> Meeting:
    """Both brains on `where`; `transform` leads from the target's world to the source's, RAS+ mm."""
    covered = np.ones(where.shape, dtype=bool)
    ways: tuple[tuple[Brain, Transform], ...] = ((source, transform), (target, np.eye(4)))
    for part, way in ways:
        whole = part.mask.with_data(np.ones(part.mask.data.shape, dtype=np.float32))
        covered &= nifti.resample(whole, where, way, antialias=False).data > 0.5
    return Meeting(
        nifti.resample(source.image, where, transform).data,
        nifti.resample(target.image, where).data,
        mask_on(source.mask, where, transform) & covered,
        mask_on(target.mask, where) & covered,
    )


def mask_dice(pair: Meeting) -> float:
    """Dice's overlap of the brain masks in the field of view of both: 0 to 1. NaN without a brain."""
    return dice(pair.source_mask, pair.target_mask)


def dice(one: Array, other: Array) -> float:
    """Dice's overlap of two masks (X, Y, Z), 0 to 1: 2 |A and B| / (|A| + |B|); NaN if both are empty.

    Dice, Ecology 1945, 26:297-302, https://doi.org/10.2307/1932409.
    """
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else np.nan


def template_dice(target: Volume, template: Volume, to_template: Transform) -> float:
    """Dice's overlap of a brain mask with that of a template, in the field of view of both: 0 to 1, or NaN.

    `to_template` leads from the template's world to the target's, RAS+ mm.
    """
    where = nifti.regrid(template, SPACING)
    covered = mask_on(target.with_data(np.ones(target.data.shape, dtype=bool)), where, to_template)
    return dice(mask_on(target, where, to_template), mask_on(template, where) & covered)


def mutual_information(pair: Meeting) -> float:
    """Normalized mutual information inside both brains, (H(A) + H(B)) / H(A, B), 32 bins: 1 (none) to 2 (equal).

    Studholme et al., Pattern Recognition 1999, 32:71-86, https://doi.org/10.1016/S0031-3203(98)00091-0. NaN where
    the brains do not meet.
    """
    if not _varied(pair):
        return np.nan
    both = pair.both
    return float(normalized_mutual_information(pair.source[both], pair.target[both], bins=BINS))


def ncc(pair: Meeting) -> float:
    """Normalized cross-correlation (Pearson's r) inside both brains: -1 to 1. NaN where the brains do not meet."""
    if not _varied(pair):
        return np.nan
    both = pair.both
    return float(np.corrcoef(pair.source[both], pair.target[both])[0, 1])


def edge_overlap(pair: Meeting) -> float:
    """Dice's overlap of the edges inside both brains: 0 to 1; by chance 0.15.

    Edges are the 15 % of voxels with the steepest gradient (Gaussian, sigma one voxel), so contrast does not matter.
    NaN where the brains do not meet.
    """
    if not _varied(pair):
        return np.nan
    # The border of the mask is an edge of every brain.
    inside = ndimage.binary_erosion(pair.both, iterations=RIM)
    inside = inside if inside.any() else pair.both
    edges = []
    for image in (pair.source, pair.target):
        gradient = ndimage.gaussian_gradient_magnitude(image, 1.0)[inside]
        edges.append(gradient > np.quantile(gradient, 1 - EDGES))
    total = edges[0].sum() + edges[1].sum()
    return float(2 * (edges[0] & edges[1]).sum() / total) if total else np.nan


def mirror_gain(source: Brain, target: Brain, where: Grid, transform: Transform, kind: str = "rigid") -> float:
    """Mutual information of the pair less that of the mirrored source: about 0 for two people, above it for one.

    `transform` as for `meet`; the mirrored source gets a registration of its own, of the same `kind`. -1 to 1. NaN
    where the brains do not meet. Raises ScanError if the registration of the mirrored source fails.
    """
    # Imported here: ANTs takes a second to load, and pictures of a pair do without it.
    from upfield.preprocess import registration

    stranger = source.mirrored
    fitted, _ = registration.register(target.image, stranger.image, kind, SEED)
    own = mutual_information(meet(source, target, where, transform))
    return own - mutual_information(meet(stranger, target, where, fitted))


def metrics(source: Brain, target: Brain, transform: Transform, kind: str = "rigid") -> dict[str, float]:
    """Every metric of a pair by name: after registration, `<name>_before` with the world coordinates as acquired.

    `transform` leads from the target's world to the source's, RAS+ mm; `kind` of registration found it.
    """
    where = grid(target)
    after = meet(source, target, where, transform)
    before = meet(source, target, where, np.eye(4))
    measures = {
        "mutual_information": mutual_information,
        "ncc": ncc,
        "edge_overlap": edge_overlap,
        "mask_dice": mask_dice,
    }
    # A few slices are more symmetric than a brain: what is small there has a name, and a threshold, of its own.
    slab = any(part.image.grid.slab_axis is not None for part in (source, target))
    gain = mirror_gain(source, target, where, transform, kind)
    result = {"mirror_gain": np.nan if slab else gain, "slab_gain": gain if slab else np.nan}
    for name, measure in measures.items():
        result |= {name: measure(after), f"{name}_before": measure(before)}
    return result


def _varied(pair: Meeting) -> bool:
    both = pair.both
    return bool(both.sum() > 1 and np.ptp(pair.source[both]) > 0 and np.ptp(pair.target[both]) > 0)
