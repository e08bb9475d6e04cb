"""Bias-field correction inside the brain."""

import numpy as np

from upfield.bids import sidecar
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.image.transforms import Array
from upfield.preprocess.derivatives import save_image
from upfield.step import step

# Bias fields are smooth: N4 sees the image at this voxel size (mm) or coarser.
N4_SPACING = 6.0


@step(version=4, memory=(300, 25), minutes=(0.4, 0.05))
def correct_bias(image: str, mask: str, corrected: str, enabled: bool) -> None:
    """N4 inside the mask, on the scan's own grid; the image as it is if not `enabled`."""
    volume = nifti.load(image)
    if enabled:
        volume = n4(volume, nifti.load_mask(mask).data)
    stripped = read_json(sidecar(mask)).get("BrainExtraction") == "none"
    steps = ["N4"] if enabled else []
    save_image(volume, corrected, {"Sources": [image, mask], "SkullStripped": stripped, "Steps": steps})


def n4(volume: Volume, mask: Array) -> Volume:
    """N4 (Tustison et al. 2010) inside `mask`, fitted on a reduced image and applied at full resolution.

    The field is divided by its mean in the mask, so intensities keep their level. Three levels of 20 iterations.
    """
    # Imported here: ANTs takes longer to load than most steps to run.
    import ants

    from upfield.preprocess.registration import to_ants

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
