import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield.errors import ScanError
from upfield.image import intensity


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
    normalized = intensity.fit(data, mask, "percentile").apply(data)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(np.percentile(normalized[mask], [0.5, 99.5]), [0, 1], atol=1e-5)
    # Nothing is clipped, or it could not be undone.
    assert normalized[mask].min() < 0 and normalized[mask].max() > 1


def test_zscore(image):
    data, mask = image
    normalized = intensity.fit(data, mask, "zscore").apply(data)
    assert normalized[mask].mean() == pytest.approx(0, abs=1e-4)
    assert normalized[mask].std() == pytest.approx(1, abs=1e-4)


METHODS = ["percentile", "minmax", "zscore", "whitestripe", "nyul"]


@pytest.mark.parametrize("method", METHODS)
def test_background_is_where_zero_goes(image, method):
    data, mask = image
    scaling = intensity.fit(data, mask, method)
    assert scaling.apply(np.zeros(1))[0] == pytest.approx(scaling.background, abs=1e-5)
    assert scaling.invert(np.array([scaling.background]))[0] == pytest.approx(0, abs=1e-4)


@given(
    method=st.sampled_from(["percentile", "minmax", "zscore"]),
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


@pytest.mark.parametrize("method", METHODS)
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


def test_minmax_is_that_of_the_mask(image):
    data, mask = image
    normalized = intensity.fit(data, mask, "minmax").apply(data)
    assert normalized[mask].min() == pytest.approx(0, abs=1e-5)
    assert normalized[mask].max() == pytest.approx(1, abs=1e-5)


@pytest.fixture
def tissues():
    """Grey matter at 60, white matter at 100, fluid at 20; a head of its own gain."""

    def make(seed, gain=1.0, white=100.0):
        random = np.random.default_rng(seed)
        means = random.choice([20.0, 60.0, white], p=[0.1, 0.45, 0.45], size=(24, 24, 24))
        return (gain * (means + random.normal(0, 4, means.shape))).astype(np.float32)

    return make


@pytest.mark.parametrize("gain", [1.0, 7.5])
def test_white_stripe_puts_white_matter_at_zero(tissues, gain):
    data = tissues(0, gain)
    scaling = intensity.fit(data, np.ones(data.shape, bool), "whitestripe", "T1w")
    assert scaling.offset == pytest.approx(100 * gain, rel=0.03)
    assert 0 < scaling.scale < 5 * gain


def test_white_stripe_of_another_contrast_is_refused(tissues, refused):
    data = tissues(0)
    with refused("WhiteStripe", "T2starw", kind=ScanError):
        intensity.fit(data, np.ones(data.shape, bool), "whitestripe", "T2starw")


def test_nyul_brings_histograms_together_and_can_be_undone(tissues):
    """Two kinds of scanner, one with darker white matter: their curves meet on the mean of the training images."""
    images = [tissues(seed, white=white) for seed, white in enumerate([100, 100, 85, 85])]
    mask = np.ones(images[0].shape, bool)
    scalings = [intensity.fit(image, mask, "nyul") for image in images]
    marks = [intensity.landmarks(image, mask, scaling) for image, scaling in zip(images, scalings, strict=True)]
    assert marks[0][0] == pytest.approx(0, abs=1e-5) and marks[0][-1] == pytest.approx(1, abs=1e-5)
    standard = intensity.standard_scale(marks)
    np.testing.assert_allclose(standard, np.mean(marks, axis=0))
    linear = [scaling.apply(image) for image, scaling in zip(images, scalings, strict=True)]
    curves = [intensity.Curve(own, standard) for own in marks]
    mapped = [curve.apply(data) for curve, data in zip(curves, linear, strict=True)]

    # On the deciles every image now is what the training images are on average.
    for before, data in zip(linear, mapped, strict=True):
        np.testing.assert_allclose(np.percentile(data, intensity.LANDMARKS), standard, atol=2e-3)
        assert np.abs(np.percentile(before, intensity.LANDMARKS) - standard).max() > 0.02
    for curve, data, scaling, image in zip(curves, mapped, scalings, images, strict=True):
        np.testing.assert_allclose(scaling.invert(curve.invert(data)), image, atol=1e-2)


def test_nyul_of_landmarks_that_coincide():
    own = [0.0, 0.2, 0.2, 0.2, 0.5, 1.0]
    curve = intensity.Curve(own, [0.0, 0.1, 0.3, 0.4, 0.6, 1.0])
    values = np.linspace(-0.5, 1.5, 101, dtype=np.float32)
    mapped = curve.apply(values)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(curve.invert(mapped), values, atol=1e-3)
