"""The regions in which metrics are computed: tissue classes of the reference, and label images in general."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from upfield.errors import ScanError
from upfield.image import intensity, nifti
from upfield.image.nifti import Array, Volume


def tissue_names(suffix: str) -> tuple[str, str, str]:
    """Names of the three tissue classes from dark to bright: their order is known for T1w only."""
    return ("csf", "grey", "white") if suffix == "T1w" else ("class1", "class2", "class3")


def tissue_regions(reference: Volume, mask: Array, suffix: str = "T1w") -> dict[str, Array]:
    """Three tissue classes of an image in the brain, from dark to bright: boolean masks (X, Y, Z) that share it out.

    They are named csf, grey and white if `suffix` is T1w, otherwise class1, class2 and class3, since the order
    of the tissues depends on the contrast. Atropos (Avants et al. 2011, https://doi.org/10.1007/s12021-011-9109-y)
    with k-means initialisation, a Markov random field of weight 0.1 and a fixed seed, on intensities cut off at their
    robust range: repeatable. The reference should be free of a bias field. Raises ScanError for an empty mask or if
    there are no three classes to find.
    """
    # Imported here: ANTs takes a second to load, and the rest of this module does without it.
    import ants

    from upfield.preprocess.registration import to_ants

    # A handful of bright vessels would otherwise become a class of their own, and grey and white matter one.
    clipped = np.clip(reference.data, *intensity.robust_range(reference.data, mask)).astype(np.float32)
    box = tuple(map(slice, *nifti.bounding_box(mask, margin=1)))
    crop = [to_ants(Volume(data[box], reference.affine)) for data in (clipped, mask)]
    try:
        with _scratch():
            result = ants.atropos(*crop, i="kmeans[3]", m="[0.1,1x1x1]", c="[5,0]", r=0)
    except Exception as error:  # ANTs raises nothing more specific
        raise ScanError(f"tissue classes cannot be found ({' '.join(str(error).split())[:160]})") from None
    labels = np.zeros(mask.shape, np.uint8)
    labels[box] = np.rint(result["segmentation"].numpy())
    found = [labels == label for label in np.unique(labels[mask])]
    if len(found) != 3:
        raise ScanError(f"the reference has {len(found)} tissue classes in the brain mask; expected 3")
    ordered = sorted(found, key=lambda region: float(reference.data[region].mean(dtype=np.float64)))
    return dict(zip(tissue_names(suffix), ordered, strict=True))


def labelled(regions: Mapping[str, Array]) -> Array:
    """Regions that do not overlap as one image (X, Y, Z) uint8: 1 for the first, 2 for the second, 0 elsewhere."""
    return np.asarray(sum(label * mask.astype(np.uint8) for label, mask in enumerate(regions.values(), start=1)))


def regions_of(labels: Array, names: Mapping[int, str]) -> dict[str, Array]:
    """Boolean masks by name of the labels that occur in a label image (X, Y, Z)."""
    return {name: mask for label, name in names.items() if (mask := labels == label).any()}


@contextmanager
def _scratch() -> Iterator[None]:
    """Send temporary files to a folder that is then removed: ANTs leaves its probability images behind."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
