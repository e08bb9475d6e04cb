"""Brain extraction behind one function, and bias-field correction inside the brain."""

import ants
import numpy as np

from upfield import nifti
from upfield.errors import ScanError
from upfield.nifti import Array, Volume
from upfield.registration import to_ants

# Cubic centimetres: a newborn's brain and twice a large adult's.
PLAUSIBLE_CM3 = (200.0, 2600.0)
# Bias fields are smooth: N4 sees the image at this voxel size (mm) or coarser.
N4_SPACING = 4.0


def extract(volume: Volume, method: str) -> Array:
    """Brain mask of a scan: boolean (X, Y, Z) on the scan's own grid.

    `method` is `deepbet` (Fisch et al. 2024, https://doi.org/10.1016/j.compbiomed.2024.108845; its weights come
    with the package) or `none` (the scan is skull-stripped: every voxel above 0, largest component, filled).
    Raises ScanError if nothing like a brain is found.
    """
    mask = _deepbet(volume) if method == "deepbet" else _above_zero(volume)
    cm3 = float(mask.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000)
    # A slab of a few slices cannot hold a brain's volume.
    slab = min(np.asarray(volume.data.shape) * volume.grid.spacing) < 80
    low, high = (1.0, PLAUSIBLE_CM3[1]) if slab else PLAUSIBLE_CM3
    if not low <= cm3 <= high:
        raise ScanError(f"brain extraction ({method}) found {cm3:.0f} cm3; expected {low:.0f} to {high:.0f}")
    return mask


def _deepbet(volume: Volume) -> Array:
    # Imported here: it pulls in torch, which the other stages that use this module do not need.
    from deepbet import BrainExtraction

    canonical = nifti.reorient(volume)
    network = BrainExtraction(no_gpu=True)
    try:
        probability = network.run_model(np.ascontiguousarray(canonical.data, dtype=np.float32))
        mask = network.postprocess(probability > 0.5)
    except (AssertionError, ValueError, IndexError) as error:
        raise ScanError(f"brain extraction (deepbet) found no brain ({' '.join(str(error).split())})") from None
    back = nifti.resample(Volume(mask.astype(np.uint8), canonical.affine), volume.grid, order=0)
    return np.asarray(back.data > 0)


def _above_zero(volume: Volume) -> Array:
    import cc3d
    import fill_voids

    mask = cc3d.largest_k(volume.data > 0, k=1, connectivity=6) > 0
    return np.asarray(fill_voids.fill(mask)).astype(bool)


def correct_bias(volume: Volume, mask: Array) -> Volume:
    """N4 (Tustison et al. 2010) inside `mask`, fitted on a reduced image and applied at full resolution.

    The field is divided by its mean in the mask, so intensities keep their level. Three levels of 20 iterations.
    """
    spacing = np.maximum(volume.grid.spacing, N4_SPACING)
    whole = nifti.regrid(volume, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    weight = nifti.resample(Volume(mask.astype(np.float32), volume.affine), whole, order=1).data
    if (weight > 0.5).sum() < 100:
        return volume
    # Only the brain's box: the rest would cost time and say nothing.
    box = nifti.bounding_box(weight > 0.5, margin=1)
    coarse = nifti.crop(whole, *box)
    small = nifti.resample(volume, coarse, order=1, background=None)
    inside = (weight[tuple(map(slice, *box))] > 0.5).astype(np.float32)
    field = ants.n4_bias_field_correction(
        to_ants(small.with_data(np.clip(small.data, 0, None))),
        mask=to_ants(small.with_data(inside)),
        shrink_factor=1,
        convergence={"iters": [20, 20, 20], "tol": 1e-6},
        return_bias_field=True,
    ).numpy()
    field = np.nan_to_num(np.clip(field, 0.05, 20.0), nan=1.0)
    full = nifti.resample(Volume(field.astype(np.float32), coarse.affine), volume.grid, order=1, background=None)
    gain = full.data / full.data[mask].mean()
    return volume.with_data((volume.data / gain).astype(np.float32))
