"""`benchmarks/simulator.py`: what is measured on k-space is what was put in."""

import numpy as np
import pytest
from scipy import ndimage
from upfield.simulation import protocol

from benchmarks import simulator


def raw(noise=0.05, receiver=0.0, lost=0, shape=(128, 126, 4)):
    """K-space of discs of 100, with complex noise by that, a filter along the readout, and lines of 0 at both ends."""
    generator = np.random.default_rng(0)
    x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[:2]), indexing="ij")
    disc = 100.0 * ((x / 0.6) ** 2 + (y / 0.7) ** 2 < 1)
    image = ndimage.gaussian_filter(disc, 2)[..., None] * np.ones(shape[2])
    noisy = image + 100 * noise * (generator.normal(size=shape) + 1j * generator.normal(size=shape))
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(noisy, axes=(0, 1)), axes=(0, 1)), axes=(0, 1))
    k = np.abs(np.arange(shape[0]) - shape[0] // 2) / (shape[0] // 2)
    kspace *= (1 - receiver * (1 - np.cos(np.pi / 2 * k) ** 2))[:, None, None]
    if lost:
        kspace[:, :lost] = kspace[:, -lost:] = 0
    return simulator.Raw("sub", "T1w", kspace / np.sqrt(shape[0] * shape[1]))


@pytest.mark.parametrize("noise", [0.02, 0.07])
@pytest.mark.parametrize("receiver", [0.0, 0.5])
def test_noise_and_filter_are_found(noise, receiver):
    found = raw(noise, receiver).measured()
    assert found["noise"] == pytest.approx(noise, rel=0.12)
    assert found["readout_filter"] == pytest.approx(receiver, abs=0.12)
    assert found["phase_filter"] < 0.15
    assert (found["readout"], found["phase"]) == (2.0, pytest.approx(256 / 126))


def test_lines_that_are_missing_are_found():
    assert raw(lost=5).measured()["partial_fourier"] == pytest.approx(116 / 126)


def test_what_is_measured_is_within_the_usual_ranges():
    """Ranges are names and limits that an acquisition knows."""
    ranges = simulator.ranges([raw(0.03), raw(0.06)])
    assert protocol.pairs(ranges).keys() == ranges.keys()
    assert ranges["noise"][0] < 0.03 < 0.06 < ranges["noise"][1]


def test_an_anatomy_gets_the_intensities_of_others():
    slice_ = raw(0.0).image()[:, :, 0]
    wanted = np.linspace(0.2, 1.0, 101)
    inside = simulator.head(slice_)
    shown = simulator.recoloured(slice_, wanted)
    assert np.quantile(shown[inside], 0.999) <= 1.0
    assert shown[~inside].max() < 0.2


@pytest.mark.parametrize("kind", simulator.KINDS)
def test_simulated_slices_are_of_the_same_head(kind):
    slice_ = raw(0.0).image()[:, :, 0].astype(np.float32) / 100
    ranges = simulator.ranges([raw(0.03)])
    made = simulator.KINDS[kind](slice_, ranges, np.random.default_rng(0))
    assert made.shape == slice_.shape
    assert np.corrcoef(made.ravel(), slice_.ravel())[0, 1] > 0.95


def test_a_classifier_that_can_tell_them_does(monkeypatch):
    """Smooth squares from noisy ones, told by both classifiers; the score of what is labelled 1 is higher."""
    monkeypatch.setattr(simulator, "STEPS", 40)
    generator = np.random.default_rng(0)
    noisy = generator.normal(0.5, 0.2, (24, simulator.EDGE, simulator.EDGE)).astype(np.float32)
    smooth = np.stack([ndimage.gaussian_filter(square, 2) * 3 for square in noisy])
    squares, labels = np.concatenate([smooth, noisy]), np.array([0] * 24 + [1] * 24)
    for classify in simulator.CLASSIFIERS.values():
        scores = classify(squares[::2], labels[::2], squares[1::2], 0)
        assert simulator.roc_auc_score(labels[1::2], scores) > 0.95
