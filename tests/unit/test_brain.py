import numpy as np
import pytest
from scipy import ndimage
from upfield import brain, nifti
from upfield.errors import ScanError
from upfield.nifti import Volume


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def ellipsoid(shape, radius=0.35):
    where = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    return sum(axis**2 for axis in where) < radius**2


@pytest.fixture
def stripped():
    """Half-axes of 63 mm (1050 cm3) with a hole inside and a speck outside; 3 mm voxels."""
    mask = ellipsoid((60, 60, 60))
    data = np.where(mask, np.random.default_rng(0).uniform(50, 100, mask.shape), 0).astype(np.float32)
    data[28:31, 28:31, 28:31] = 0
    data[1:3, 1:3, 1:3] = 70
    return Volume(data, np.diag([-3.0, 3, 3, 1])), mask


def test_none_takes_the_stripped_image(stripped):
    volume, mask = stripped
    found = brain.extract(volume, "none")
    assert found.dtype == bool
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_impossible_volumes_are_refused(stripped, refused, size):
    volume, _ = stripped
    scaled = Volume(volume.data, np.diag([size, size, size, 1]) @ volume.affine)
    with refused("cm3", "expected 200 to 2600", kind=ScanError):
        brain.extract(scaled, "none")


def test_a_slab_holds_less_than_a_brain(stripped):
    volume, mask = stripped
    slab = nifti.crop(volume.grid, np.array([0, 0, 26]), np.array([60, 60, 34]))
    found = brain.extract(nifti.resample(volume, slab, order=0), "none")
    assert np.array_equal(found, mask[:, :, 26:34])


@pytest.mark.parametrize("method", ["none", "deepbet"])
def test_blank_image_is_refused(refused, method):
    with refused("brain extraction", kind=ScanError):
        brain.extract(Volume(np.zeros((40, 40, 40), np.float32), np.diag([4.0, 4, 4, 1])), method)


def test_noise_is_refused(refused):
    noise = np.random.default_rng(0).normal(100, 10, (64, 80, 70)).astype(np.float32)
    with refused("brain extraction (deepbet)", kind=ScanError):
        brain.extract(Volume(noise, np.diag([3.0, 3, 3, 1])), "deepbet")


def test_deepbet_finds_the_brain_of_a_flipped_scan(head):
    # Another axis order and two flips, as scanners store them: the mask must come back on the scan's own voxels.
    flips = np.array([[0, 0, -1.0, head.high.data.shape[0] - 1], [-1, 0, 0, head.high.data.shape[1] - 1]])
    turn = np.vstack([flips, [[0, 1, 0, 0], [0, 0, 0, 1]]])
    shape = tuple(head.high.data.shape[axis] for axis in (1, 2, 0))
    grid = nifti.Grid(shape, head.high.affine @ turn)
    scan = nifti.resample(head.high, grid, order=0)
    truth = nifti.resample(head.brain, grid, order=0).data > 0
    assert truth.sum() == (head.brain.data > 0).sum()
    found = brain.extract(scan, "deepbet")
    assert found.shape == shape and found.dtype == bool
    assert dice(found, truth) > 0.95


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
    fixed = brain.correct_bias(biased, mask)
    tissue = mask & white
    assert tissue_spread(biased.data, tissue) > 0.12
    assert tissue_spread(fixed.data, tissue) < 0.4 * tissue_spread(biased.data, tissue)
    assert fixed.data[mask].mean() == pytest.approx(biased.data[mask].mean(), rel=0.05)
    assert fixed.grid.matches(biased.grid) and fixed.data.dtype == np.float32
    assert np.isfinite(fixed.data).all()


def test_bias_of_hardly_anything_is_left_alone(stripped):
    volume, mask = stripped
    few = np.zeros_like(mask)
    few[30, 30, 30:35] = True
    assert np.array_equal(brain.correct_bias(volume, few).data, volume.data)


@pytest.mark.real
def test_real_stripped_scan(real_data):
    volume = nifti.load(next((real_data / "ds002748").glob("sub-*/anat/*_T1w.nii.gz")))
    mask = brain.extract(volume, "none")
    assert mask[volume.data > 0].mean() > 0.99
