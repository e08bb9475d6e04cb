"""MR acquisitions in k-space: geometry, signal, noise, and how their numbers are drawn."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from upfield.errors import UpfieldError
from upfield.image.nifti import Volume
from upfield.simulation import axes, degradation, protocol
from upfield.simulation.acquisition import acquire, scanned
from upfield.simulation.protocol import Acquisition
from upfield.study import config

SIZE = 48
SOFT = {"readout_filter": 1.0, "phase_filter": 1.0}


def ball(centre=(20.0, 26.0, 23.0), radius=9.0, size=SIZE):
    """A ball of 100 with soft edges in air, (X, Y, Z)."""
    places = np.meshgrid(*[np.arange(size)] * 3, indexing="ij")
    distance = np.sqrt(sum((place - c) ** 2 for place, c in zip(places, centre, strict=True)))
    return torch.from_numpy(100 * np.clip(radius - distance + 0.5, 0, 1)).float()


def seeded(seed=0):
    return np.random.default_rng(seed)


def middle(volume):
    """The centre of mass in the world, mm."""
    data = volume.data.astype(np.float64)
    where = np.argwhere(data > 0)
    weights = data[data > 0]
    return volume.affine[:3, :3] @ (weights @ where / weights.sum()) + volume.affine[:3, 3]


def test_an_acquisition_without_a_fault_gives_the_anatomy():
    anatomy = ball()
    scan = acquire(anatomy, 1.0, Acquisition(volume=True), seeded())
    assert scan.voxels == (1.0, 1.0, 1.0)
    found = scan.on(anatomy.shape)
    assert float((found - anatomy).abs().mean()) < 0.3


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("volume", [False, True])
def test_nothing_moves(axis, turned, volume):
    """Whatever the orientation, the scan lies where the anatomy lies."""
    head = Volume(ball().numpy(), np.array([[1.2, 0, 0, -30], [0, 1.2, 0, 12], [0, 0, 1.2, -5], [0, 0, 0, 1.0]]))
    how = Acquisition(
        axis=axis, turned=turned, volume=volume, readout=2.5, phase=3.0, thickness=4.0, zero_filling=1.5, gap=0.5
    )
    scan = scanned(head, how, seeded(1))
    assert middle(scan) == pytest.approx(middle(head), abs=0.15)
    steps = scan.grid.spacing
    assert steps[axis] == pytest.approx(4.0 if volume else 4.5, rel=0.05)
    assert all(edge < 4 for number, edge in enumerate(steps) if number != axis)


def test_voxels_are_as_large_as_asked():
    """Across 48 mm, 16 samples of 3 mm along the readout and 24 of 2 mm along the phase axis."""
    scan = acquire(ball(), 1.0, Acquisition(readout=3.0, phase=2.0, thickness=6.0), seeded())
    assert scan.data.shape == (16, 24, len(scan.data[0, 0]))
    assert scan.voxels == (3.0, 2.0, 6.0)
    finer = acquire(ball(), 1.0, Acquisition(readout=3.0, phase=2.0, thickness=6.0, zero_filling=2.0), seeded())
    assert finer.voxels == (1.5, 1.0, 6.0)


def test_the_signal_stays_whatever_the_voxels():
    anatomy = ball()
    poor = Acquisition(readout=3.0, phase=3.0, thickness=3.0, volume=True, **SOFT)
    for how in (poor, Acquisition(thickness=5.0, **SOFT)):
        found = acquire(anatomy, 1.0, how, seeded()).on(anatomy.shape)
        assert float(found[18:23, 24:29, 21:26].mean()) == pytest.approx(100, rel=0.05)
    gained = acquire(anatomy, 1.0, Acquisition(gain=7.0), seeded()).data
    plain = acquire(anatomy, 1.0, Acquisition(), seeded()).data
    torch.testing.assert_close(gained, 7 * plain, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("zero_filling", [1.0, 2.0])
@pytest.mark.parametrize("coils", [1, 4])
def test_noise_is_as_strong_as_asked(zero_filling, coils):
    """Rayleigh (with more coils: chi) in air; white up to the edge of what was acquired, nothing beyond."""
    anatomy = ball(radius=12)
    how = Acquisition(noise=0.1, readout=2.0, phase=2.0, zero_filling=zero_filling, coils=coils)
    data = acquire(anatomy, 1.0, how, seeded(3)).data
    air = data[:3]
    found = float(np.sqrt((air.double() ** 2).mean() / (2 * coils)))
    assert found == pytest.approx(0.1 * 100, rel=0.1)


def test_noise_of_a_zero_filled_scan_has_no_fine_detail():
    how = Acquisition(noise=0.5, readout=2.0, phase=2.0, zero_filling=2.0)
    # High above the noise floor, so that the magnitude is nearly linear.
    anatomy = torch.full((SIZE,) * 3, 1000.0)
    data = acquire(anatomy, 1.0, dataclasses.replace(how, noise=0.01), seeded()).data[:, :, 4]
    power = torch.fft.fftshift(torch.fft.fft2(data - data.mean())).abs().square()
    inner = power[13:36, 13:36].mean()
    assert float(power[:10].mean()) < 0.01 * float(inner)


def test_a_slice_sees_its_thickness_and_no_gap():
    """The weights of a box of 4 mm are even within, and 0 beyond 2 mm of its middle."""
    weights = axes.slices(40, np.array([10.0, 30.0]), 4.0, 0.0)
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert weights[0, 9:12] == pytest.approx(0.25, abs=0.01)
    assert np.abs(weights[0, np.abs(np.arange(40) - 10) > 2.6]).max() < 1e-3
    soft = axes.slices(40, np.array([20.0]), 6.0, 1.0)[0]
    assert soft[17] == pytest.approx(soft[20] / 2, rel=0.1)


def test_a_spline_goes_through_its_samples():
    samples = seeded().normal(size=12)
    assert axes.spline(12, np.arange(12.0)) @ samples == pytest.approx(samples, abs=1e-5)
    assert axes.spline(1, np.array([-3.0, 0.0, 5.0])).tolist() == [[1.0]] * 3
    assert axes.spline(5, np.array([5.0]), periodic=True)[0] == pytest.approx([1, 0, 0, 0, 0], abs=1e-5)


def test_what_shots_see_is_smeared_along_the_phase_axis():
    anatomy = ball()
    still = acquire(anatomy, 1.0, Acquisition(), seeded(5)).data
    moved = acquire(anatomy, 1.0, Acquisition(motion=2.0, shots=6), seeded(5)).data
    ghost = (moved - still).abs()
    # Beside the ball along the phase axis (the second of an axial slice), and not along the readout.
    assert float(ghost[20, 40:46].mean()) > 3 * float(ghost[40:46, 26].mean())
    assert float(ghost.max()) > 5


def test_a_radio_line_stands_at_one_place_of_the_readout():
    how = Acquisition(noise=0.01, interference=20.0)
    data = acquire(ball(), 1.0, how, seeded(2)).data
    columns = (data[:, :, 2] ** 2).mean(dim=1)
    assert float(columns.max()) > 50 * float(columns.median())


def test_lines_that_are_not_acquired_cost_resolution_along_the_phase_axis():
    anatomy = ball()
    full, partial, thinned = (
        acquire(anatomy, 1.0, how, seeded(4)).data
        for how in (Acquisition(), Acquisition(partial_fourier=0.6, phase_range=1.0), Acquisition(undersampling=0.5))
    )
    for poorer in (partial, thinned):
        assert 0.5 < float((poorer - full).abs().mean()) < 20
        assert float(poorer.sum()) == pytest.approx(float(full.sum()), rel=0.2)


def test_a_displaced_image_keeps_its_signal():
    anatomy = ball()
    plain = acquire(anatomy, 1.0, Acquisition(), seeded(6)).data
    moved = acquire(anatomy, 1.0, Acquisition(shift=3.0), seeded(6)).data
    assert float((moved - plain).abs().max()) > 20
    assert float(moved.sum()) == pytest.approx(float(plain.sum()), rel=0.05)


def test_the_same_seed_gives_the_same_scan():
    how = Acquisition(noise=0.1, bias=0.3, motion=1.0, shots=4, interference=2.0, undersampling=0.2, shift=1.0)
    first, again, other = (acquire(ball(), 1.0, how, seeded(seed)).data for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(seed=st.integers(0, 10_000))
def test_numbers_are_drawn_from_their_ranges(seed):
    drawn = protocol.drawn(protocol.LIMITS, np.random.default_rng(seed))
    for name, (least, most) in protocol.LIMITS.items():
        value = getattr(drawn, name)
        assert least <= value <= most
        assert type(value) is type(getattr(Acquisition(), name))


def test_a_range_without_width_changes_nothing_about_the_others():
    """One number more or less that is fixed leaves the draws of the others as they are."""
    wide = {"noise": [0.01, 0.1], "thickness": [2.0, 8.0]}
    one, two = (protocol.drawn(ranges, seeded(8)) for ranges in (wide, {**wide, "readout": [2.0, 2.0]}))
    assert (one.noise, one.thickness) == (two.noise, two.thickness)
    assert two.readout == 2.0


def test_every_setting_has_limits():
    assert set(protocol.LIMITS) == {field.name for field in dataclasses.fields(Acquisition)}
    assert protocol.pairs(protocol.ULTRA_LOW_FIELD).keys() <= protocol.LIMITS.keys()


def test_the_guide_says_what_is_drawn():
    """Every setting has a row, with its usual range or the value of an acquisition without that fault."""
    text = (config.ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split("`acquisition` draws these")[1]
    rows = re.findall(
        r"^\| (`[a-z_`, ]+) \| .* \| (.+) \|$", text.split("`simulate.ranges` may be a list")[0], re.MULTILINE
    )
    told = {}
    for cell, usual in rows:
        names, parts = re.findall(r"`(\w+)`", cell), usual.split(", ")
        told |= dict(zip(names, parts, strict=True))
    assert told.keys() == protocol.LIMITS.keys()
    for name, usual in told.items():
        default = float(getattr(Acquisition(), name))
        least, most = protocol.ULTRA_LOW_FIELD.get(name, (default, default))
        assert usual == (f"{least:g} to {most:g}" if least < most else f"{least:g}"), name


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"blur": 1}, "simulate.ranges has 'blur'"),
        ({"noise": [0.1, 0.05]}, "simulate.ranges.noise is [0.1, 0.05]"),
        ({"noise": 3}, "from 0 to 2"),
        ({"axis": 3}, "from 0 to 2"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(ranges, said):
    with pytest.raises(UpfieldError) as caught:
        protocol.pairs(ranges)
    assert said in str(caught.value)


def test_a_study_draws_another_scan_for_everybody():
    head = Volume(ball().numpy(), np.eye(4))
    settings = {"kind": "acquisition", "contrast": 0.7, "seed": 42, "ranges": {"readout": 2.0, "noise": [0.001, 0.002]}}
    one, again, other = (degradation.degrade(head, settings, name) for name in ("sub-01", "sub-01", "sub-02"))
    assert np.array_equal(one.data, again.data)
    assert one.data.shape != other.data.shape or not np.array_equal(one.data, other.data)
    assert one.grid.spacing[0] <= 2.0
    assert 4.9 <= one.grid.spacing[2] <= 11.1
    assert middle(one) == pytest.approx(middle(head), abs=2.0)
    # What other kinds do not look at is no reason to make their sources anew.
    assert "ranges" not in degradation.used({**settings, "kind": "lowfield"})
