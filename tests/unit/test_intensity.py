import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield import intensity
from upfield.errors import ScanError


@pytest.fixture
def image():
    """Tissue around 100 in a mask, and a skull that must not count."""
    data = np.random.default_rng(0).normal(100, 20, (30, 30, 30)).astype(np.float32)
    mask = np.zeros(data.shape, bool)
    mask[5:25, 5:25, 5:25] = True
    data[~mask] = 10_000
    return data, mask


def test_percentiles_of_the_mask_become_0_and_1(image):
    data, mask = image
    normalised = intensity.fit(data, mask, "percentile").apply(data)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(np.percentile(normalised[mask], [0.5, 99.5]), [0, 1], atol=1e-5)
    # Nothing is clipped, or it could not be undone.
    assert normalised[mask].min() < 0 and normalised[mask].max() > 1


def test_zscore(image):
    data, mask = image
    normalised = intensity.fit(data, mask, "zscore").apply(data)
    assert normalised[mask].mean() == pytest.approx(0, abs=1e-4)
    assert normalised[mask].std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_background_is_where_zero_goes(image, method):
    data, mask = image
    scaling = intensity.fit(data, mask, method)
    assert scaling.apply(np.zeros(1))[0] == pytest.approx(scaling.background, abs=1e-5)
    assert scaling.invert(np.array([scaling.background]))[0] == pytest.approx(0, abs=1e-4)


@given(
    method=st.sampled_from(["percentile", "zscore"]),
    seed=st.integers(0, 1000),
    level=st.floats(-1e4, 1e4),
    spread=st.floats(1e-2, 1e4),
)
def test_inverse_is_exact_to_float_precision(method, seed, level, spread):
    data = (level + spread * np.random.default_rng(seed).standard_normal((6, 6, 6))).astype(np.float32)
    mask = np.random.default_rng(seed + 1).uniform(size=data.shape) < 0.7
    scaling = intensity.fit(data, mask, method)
    back = scaling.invert(scaling.apply(data))
    size = max(np.abs(data).max(), abs(scaling.offset), scaling.scale)
    assert np.abs(back - data).max() <= 4 * np.finfo(np.float32).eps * size


@given(gain=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_scanner_gain_does_not_matter(gain, shift):
    data = np.random.default_rng(0).uniform(0, 100, (6, 6, 6))
    mask = np.ones(data.shape, bool)
    one, other = (intensity.fit(d, mask, "percentile").apply(d) for d in (data, data * gain + shift))
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_empty_mask_and_constant_image(image, refused, method):
    data, mask = image
    with refused("mask is empty", kind=ScanError):
        intensity.fit(data, np.zeros_like(mask), method)
    with refused("constant", "7", kind=ScanError):
        intensity.fit(np.where(mask, 7, data), mask, method)


def test_robust_range_ignores_a_few_bright_voxels(image):
    data, mask = image
    before = intensity.robust_range(data, mask)
    data[10, 10, 10:15] = 1e6
    np.testing.assert_allclose(intensity.robust_range(data, mask), before, rtol=0.02)
