"""The head of a scan, where a study enhances more than the brain (`preprocess.region: head`)."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_li

from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.preprocess.derivatives import require_usable, save_image
from upfield.step import step

# mm, sigma of the Gaussian before the threshold: a voxel of noise in the air is no head.
SMOOTH = 1.2
# mm of skull or air in sinuses between bright tissue, at most, that are of the head: closed from both sides.
CLOSED = 10.0


@step(version=0, memory=(200, 60), minutes=(0.2, 0.03))
def find_head(image: str, mask: str, head: str) -> None:
    """Write the head mask of a scan on its own grid; `image` is bias-corrected, `mask` its brain.

    Empty, with the reason, where no brain was found.
    """
    volume, brain = nifti.load(image), nifti.load_mask(mask)
    metadata = {"Sources": [image, mask], "Type": "Head"}
    try:
        require_usable(image, mask)
        found = head_mask(volume, brain.data)
    except ScanError:
        found = np.zeros(volume.data.shape, dtype=bool)
    save_image(volume.with_data(found), head, metadata, np.uint8)


def head_mask(volume: Volume, brain: Array) -> Array:
    """What is not air: boolean, of the volume's shape, without holes.

    The largest piece above the threshold with the least cross-entropy (Li and Lee 1993,
    https://doi.org/10.1016/0031-3203(93)90115-D) of the image after a Gaussian, together with the brain, closed.
    """
    smooth = ndimage.gaussian_filter(volume.data.astype(np.float32), SMOOTH / volume.grid.spacing)
    pieces, count = ndimage.label(smooth > threshold_li(smooth[..., None]))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    head = volume.with_data((pieces == sizes.argmax()) | brain)
    outside = volume.with_data(~nifti.dilated(head, CLOSED))
    closed = ~nifti.dilated(outside, CLOSED) | head.data
    return np.asarray(ndimage.binary_fill_holes(closed))
