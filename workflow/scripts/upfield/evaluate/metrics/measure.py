"""One reference and its regions, and every metric of any number of outputs against it."""

from collections.abc import Mapping, Sequence

import numpy as np

from upfield.errors import ScanError, UpfieldError
from upfield.evaluate.metrics.frame import BRAIN, WINDOW, Frame, Pair, Picture, Region, Sample, window_box
from upfield.evaluate.metrics.registry import ALONE, METRICS
from upfield.image import intensity
from upfield.image.nifti import Array

# The tissues that `cnr` asks for, by the names of regions that hold them.
TISSUES = {"grey": "grey", "white": "white", "cortex": "grey", "white_matter": "white"}
Row = tuple[str, str, float]


def reference_range(reference: Array, mask: Array) -> float:
    """The data range of PSNR and SSIM: 99.5 minus 0.5 percentile of the reference in the mask, never of an output.

    Raises ScanError for an empty mask or a reference that is constant in it.
    """
    low, high = intensity.robust_range(reference, mask)
    return high - low


class Reference:
    """A reference in its regions. What several outputs need of it is computed once; threads may share it."""

    def __init__(self, reference: Array, regions: Mapping[str, Array], data_range: float) -> None:
        """`reference` (X, Y, Z), `regions` boolean masks of its shape; otherwise as `compute_regions`."""
        shapes = {np.shape(array) for array in (reference, *regions.values())}
        if len(shapes) > 1:
            raise ValueError(f"output, reference and masks must have one shape; found {sorted(shapes)}")
        if not (np.isfinite(data_range) and data_range > 0):
            raise ValueError(f"data_range is {data_range}; expected a positive number")
        self.regions: list[Region] = []
        filled = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items() if np.any(mask)}
        if not filled:
            return
        self.shape = np.shape(reference)
        self.brain = np.logical_or.reduce(list(filled.values()))
        check_finite("reference", reference, self.brain)
        self.box = window_box(self.brain)
        mask = self.brain[self.box]
        low = float(np.percentile(reference[self.brain], 0.5))
        thin = [axis for axis in range(3) if mask.shape[axis] < WINDOW]
        self.frame = Frame(mask, float(data_range), low, thin)
        self.image = self._picture(reference)
        self.regions = [Region(name, mask[self.box]) for name, mask in filled.items()]
        # The first of a name: the regions of a user's label image come last.
        self.tissues = {TISSUES[one.name]: one for one in reversed(self.regions) if one.name in TISSUES}

    def measure(self, output: Array, names: Sequence[str]) -> list[Row]:
        """Rows of (region, metric, value) of an output (X, Y, Z). Errors as `compute_regions`."""
        _check_names(names)
        if not self.regions:
            return []
        if np.shape(output) != self.shape:
            raise ValueError(f"output, reference and masks must have one shape; found {[np.shape(output), self.shape]}")
        check_finite("output", output, self.brain)
        return self._rows(Pair(self._picture(output), self.image), names)

    def own(self, names: Sequence[str]) -> list[Row]:
        """The reference's own values of those metrics that look at one image."""
        return self._rows(Pair(self.image, self.image), [name for name in names if name in ALONE])

    def _picture(self, image: Array) -> Picture:
        inside = np.where(self.frame.mask, image[self.box], 0)
        return Picture(self.frame, inside.astype(np.float64))

    def _rows(self, pair: Pair, names: Sequence[str]) -> list[Row]:
        rows = []
        for region in self.regions:
            sample = Sample(pair, region, self.tissues)
            for name in names:
                function = METRICS[name].function
                if function is not None:
                    rows.append((region.name, name, function(sample)))
        return rows


def compute(output: Array, reference: Array, mask: Array, data_range: float, names: Sequence[str]) -> dict[str, float]:
    """Metrics of one image inside one mask, by name.

    Parameters
    ----------
    output, reference
        (X, Y, Z), same grid, same unit of intensity. Values outside the mask have no influence.
    mask
        (X, Y, Z) boolean.
    data_range
        Of the reference: see `reference_range`. Above 0.
    names
        Keys of `METRICS`.

    Raises ScanError for an empty mask, for values in the mask that are not finite, and, if SSIM is asked for, for an
    image of fewer than 11 voxels along two axes; UpfieldError for an unknown name; ValueError if the shapes differ or
    the range is not positive.
    """
    rows = compute_regions(output, reference, {BRAIN: mask}, data_range, names)
    if names and not rows:
        raise ScanError("the brain mask is empty: there is nothing to measure")
    return {name: value for _, name, value in rows}


def compute_regions(
    output: Array, reference: Array, regions: Mapping[str, Array], data_range: float, names: Sequence[str]
) -> list[Row]:
    """Metrics by region, as rows of (region, metric, value); an empty region has no rows.

    `regions` are boolean masks (X, Y, Z), which may overlap. Windows stop at the edge of their union: give the whole
    brain as one of them, so that a tissue's SSIM sees the tissues around it. `cnr` is a metric of the region called
    brain and needs regions called grey and white. Otherwise as `compute`, errors included.
    """
    return Reference(reference, regions, data_range).measure(output, names)


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UpfieldError(f"metrics: found {', '.join(unknown)}; expected names among {', '.join(METRICS)}")


def check_finite(name: str, image: Array, brain: Array) -> None:
    """Raise ScanError for an image with NaN or infinite values inside a boolean mask of its shape."""
    broken = int(np.count_nonzero(~np.isfinite(image[brain])))
    if broken:
        raise ScanError(f"the {name} has {broken} NaN or infinite values inside the brain mask")
