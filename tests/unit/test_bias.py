import numpy as np
import pytest
from scipy import ndimage
from upfield.image.nifti import Volume
from upfield.preprocess import bias


def ellipsoid(shape, radius=0.35):
    where = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    return sum(axis**2 for axis in where) < radius**2


def tissue_spread(data, tissue):
    return data[tissue].std() / data[tissue].mean()


@pytest.mark.parametrize("affine", [np.diag([3.0, 3, 3, 1]), None], ids=["plain", "oblique left-handed"])
def test_bias_is_removed_and_level_kept(blob, affine):
    if affine is None:
        affine = blob("oblique left-handed").affine
    mask = ellipsoid((60, 60, 60), 0.4)
    generator = np.random.default_rng(0)
    white = ndimage.gaussian_filter(generator.standard_normal(mask.shape), 2) > 0
    clean = np.where(mask, np.where(white, 100.0, 70.0) + generator.normal(0, 2, mask.shape), 0)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in mask.shape), indexing="ij")
    biased = Volume((clean * np.exp(0.35 * x + 0.25 * y**2)).astype(np.float32), affine)
    fixed = bias.n4(biased, mask)
    tissue = mask & white
    assert tissue_spread(biased.data, tissue) > 0.12
    assert tissue_spread(fixed.data, tissue) < 0.4 * tissue_spread(biased.data, tissue)
    assert fixed.data[mask].mean() == pytest.approx(biased.data[mask].mean(), rel=0.05)
    assert fixed.grid.matches(biased.grid) and fixed.data.dtype == np.float32
    assert np.isfinite(fixed.data).all()


def test_bias_of_hardly_anything_is_left_alone():
    data = np.random.default_rng(0).uniform(50, 100, (60, 60, 60)).astype(np.float32)
    volume = Volume(data, np.diag([-3.0, 3, 3, 1]))
    few = np.zeros(data.shape, bool)
    few[30, 30, 30:35] = True
    assert np.array_equal(bias.n4(volume, few).data, volume.data)
