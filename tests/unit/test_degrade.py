import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess import derivatives, masks, simulation
from upfield.simulation import degradation as degrade
from upfield.simulation import simple

CLEAN = {"kind": "lowfield", "factor": 1, "thickness": 1, "contrast": 1.0, "bias": 0.0, "noise": 0.0,
         "ranges": {}, "seed": 42}  # fmt: skip
USUAL = {**CLEAN, "factor": 2, "thickness": 5.0, "contrast": 0.7, "bias": 0.2, "noise": 0.03}


def run(volume, participant="sub-01", base=USUAL, **changes):
    return degrade.degrade(volume, {**base, **changes}, participant)


@pytest.fixture
def block():
    """A cube of intensity 100 in air, 1 mm voxels."""
    data = np.zeros((50, 50, 50), np.float32)
    data[10:40, 10:40, 10:40] = 100
    return Volume(data, np.eye(4))


def test_seed_and_participant_alone_decide(blob):
    volume = blob()
    one = run(volume)
    assert np.array_equal(run(volume).data, one.data)
    for other in (run(volume, "sub-02"), run(volume, seed=43)):
        assert other.data.shape == one.data.shape
        assert np.corrcoef(other.data.ravel(), one.data.ravel())[0, 1] > 0.9
        assert not np.allclose(other.data, one.data, atol=0.5)


def test_participants_differ_in_noise_and_in_field(block):
    assert not np.allclose(run(block, noise=0).data, run(block, "sub-02", noise=0).data, atol=1)
    assert not np.allclose(run(block, bias=0).data, run(block, "sub-02", bias=0).data, atol=1)
    assert np.array_equal(run(block, noise=0, bias=0).data, run(block, "sub-02", noise=0, bias=0).data)


def test_voxels_become_thick_along_the_head(awkward):
    result = run(awkward)
    assert nib.aff2axcodes(result.affine) == ("R", "A", "S")
    native = nifti.reorient(awkward).grid.spacing
    np.testing.assert_allclose(result.grid.spacing, [2 * native[0], 2 * native[1], 5.0], rtol=1e-6)
    assert result.data.dtype == np.float32


def test_slices_are_never_made_thinner(blob):
    result = run(blob("anisotropic"), thickness=1.0)
    assert result.grid.spacing[2] == pytest.approx(3)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_world_stays_where_it_is(awkward, centroid, factor):
    result = run(awkward, factor=factor, bias=0, noise=0)
    # Half a thick voxel, 2.5 mm, is what a wrong corner would cost.
    assert np.linalg.norm(centroid(result) - centroid(awkward)) < 0.5


def test_nothing_is_negative(awkward):
    noisy = awkward.with_data(awkward.data - 20)
    result = run(noisy, noise=0.2)
    assert np.isfinite(result.data).all()
    assert result.data.min() >= 0


def test_nothing_asked_changes_nothing(block):
    result = run(block, base=CLEAN)
    assert np.allclose(result.data, block.data, atol=1e-3)
    assert result.grid.matches(block.grid)


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("factor", [1, 2])
def test_noise_is_as_strong_as_asked_for(block, noise, factor):
    result = run(block, base=CLEAN, noise=noise, factor=factor, thickness=factor)
    edge = 10 // factor
    air = result.data[: edge - 1]
    inside = result.data[edge + 2 : -edge - 2, edge + 2 : -edge - 2, edge + 2 : -edge - 2]
    sigma = 100 * noise
    # Magnitude of complex noise: Rayleigh in air, close to Gaussian in bright tissue.
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.03)
    assert inside.std() == pytest.approx(sigma, rel=0.08)
    assert inside.mean() == pytest.approx(100, rel=0.02)
    # Added to the reduced image: neighbours are independent.
    assert abs(np.corrcoef(air[:, :, :-1].ravel(), air[:, :, 1:].ravel())[0, 1]) < 0.1


def test_contrast_is_reduced_and_level_kept():
    data = np.where(np.arange(40)[:, None, None] < 20, 80.0, 120.0) * np.ones((40, 40, 40))
    result = run(Volume(data.astype(np.float32), np.eye(4)), base=CLEAN, contrast=0.5)
    assert result.data[5, 20, 20] == pytest.approx(90)
    assert result.data[35, 20, 20] == pytest.approx(110)


def test_field_is_smooth_and_has_the_amplitude_asked_for():
    field = simple.smooth_field((40, 50, 60), 0.3, np.random.default_rng(0))
    assert field.shape == (40, 50, 60)
    assert np.abs(np.log(field)).max() == pytest.approx(0.3, rel=1e-4)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.05
    assert (simple.smooth_field((4, 4, 4), 0, np.random.default_rng(0)) == 1).all()


# -- kinds that put one voxel in the place of a block ---------------------------------------------------------------

REDUCING = {**CLEAN, "blur": 0.5, "factor": 2}
AXES = {"gaussian": (0, 1, 2), "kspace": (0, 1, 2), "inplane": (0, 1)}


def scale_of(kind, factor):
    return tuple(factor if axis in AXES[kind] else 1 for axis in range(3))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kind", AXES)
def test_reduced_scan_lies_on_the_coarse_grid_where_it_was(awkward, centroid, kind, factor):
    result = run(awkward, base=REDUCING, kind=kind, factor=factor)
    scale = simple.reduction({**REDUCING, "kind": kind, "factor": factor})
    assert scale == scale_of(kind, factor)
    assert result.grid.matches(nifti.coarsen(nifti.reorient(awkward).grid, scale))
    assert result.data.dtype == np.float32
    # A wrong corner would cost at least a quarter of a voxel of the result; ringing costs a little at 12 mm.
    assert np.linalg.norm(centroid(result) - centroid(awkward)) < 0.03 * result.grid.spacing.max()
    assert np.array_equal(run(awkward, base=REDUCING, kind=kind, factor=factor).data, result.data)


@pytest.mark.parametrize("shape", [(24, 24, 24), (23, 25, 22)])
@pytest.mark.parametrize("kind", AXES)
def test_constant_stays_constant(kind, shape):
    data = np.full(shape, 70, np.float32)
    result = run(Volume(data, np.eye(4)), base=REDUCING, kind=kind)
    np.testing.assert_allclose(result.data, 70, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", AXES)
def test_nothing_leaks_across_axes(kind, axis):
    """What varies along one axis alone varies along no other afterwards."""
    profile = np.random.default_rng(0).uniform(50, 100, 24).astype(np.float32)
    data = np.moveaxis(np.broadcast_to(profile, (24, 24, 24)), 2, axis)
    result = np.moveaxis(run(Volume(data, np.eye(4)), base=REDUCING, kind=kind).data, axis, 2)
    np.testing.assert_allclose(result, np.broadcast_to(result[0, 0], result.shape), rtol=1e-4)
    if axis not in AXES[kind]:
        np.testing.assert_allclose(result[0, 0], profile, rtol=1e-6)


@pytest.mark.parametrize("kind", AXES)
def test_slice_knows_its_neighbours_only_where_it_must(kind):
    data = np.full((16, 16, 16), 10, np.float32)
    data[:, :, 8] = 100
    result = run(Volume(data, np.eye(4)), base=REDUCING, kind=kind).data
    touched = np.abs(result - 10).max(axis=(0, 1)) > 1e-3
    assert touched.sum() == 1 if kind == "inplane" else touched.sum() > 1


def test_inplane_reduction_is_that_of_image_libraries():
    import torch

    data = np.random.default_rng(0).uniform(0, 100, (24, 32, 3)).astype(np.float32)
    result = run(Volume(data, np.eye(4)), base=REDUCING, kind="inplane", factor=4).data
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(data).movedim(2, 0)[None], size=(6, 8), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(result, expected[0].movedim(0, 2).numpy(), rtol=1e-4)


def test_blur_is_measured_in_voxels_of_the_result():
    data = np.zeros((64, 64, 64), np.float32)
    data[32, 32, 32] = 1000
    for factor in (2, 4):
        result = run(Volume(data, np.eye(4)), base=REDUCING, kind="gaussian", factor=factor, blur=1.0).data
        line = result.sum(axis=(1, 2))
        where = np.arange(len(line))
        spread = np.sqrt((line * where**2).sum() / line.sum() - ((line * where).sum() / line.sum()) ** 2)
        assert spread == pytest.approx(1.0, abs=0.1)


def test_kspace_keeps_what_a_coarse_scan_can_see():
    """A wave below the new limit is sampled in the middle of each block; one above it is gone."""
    where = np.arange(48)
    for cycles, amplitude in ((5, 10.0), (20, 0.0)):
        wave = 50 + 10 * np.sin(2 * np.pi * cycles * where / 48)
        data = np.broadcast_to(wave[:, None, None], (48, 8, 8)).astype(np.float32)
        result = run(Volume(data, np.eye(4)), base=REDUCING, kind="kspace").data[:, 2, 2]
        middles = np.arange(24) * 2 + 0.5
        np.testing.assert_allclose(result, 50 + amplitude * np.sin(2 * np.pi * cycles * middles / 48), atol=0.01)


def test_kspace_noise_is_rician_and_of_the_participant(block):
    clean, noisy = (run(block, base=REDUCING, kind="kspace", noise=noise).data for noise in (0.0, 0.05))
    assert (noisy[:4] - clean[:4]).mean() > 2
    assert (noisy - clean)[8:17, 8:17, 8:17].std() == pytest.approx(5, rel=0.1)
    assert not np.allclose(noisy, run(block, "sub-02", base=REDUCING, kind="kspace", noise=0.05).data, atol=1)


@pytest.mark.real
def test_real_scan(real_data, centroid):
    volume = nifti.load(next((real_data / "ds000011").glob("sub-*/anat/*_T1w.nii.gz")))
    result = run(volume)
    assert result.grid.spacing[2] == pytest.approx(5)
    assert np.linalg.norm(centroid(result) - centroid(volume)) < 5
    back = nifti.resample(result, volume.grid).data
    assert 0.7 < np.corrcoef(back[::3, ::3, ::3].ravel(), volume.data[::3, ::3, ::3].ravel())[0, 1] < 0.99


def _brain(values):
    """Values in a ball of noise, 0 around it."""
    where = np.indices((20, 20, 20)) - 9.5
    inside = (where**2).sum(axis=0) < 64
    return np.where(inside, values(np.random.default_rng(0).normal(600, 120, inside.shape)), 0).astype(np.float32)


@pytest.mark.parametrize(
    "values",
    [
        lambda brain: (brain - 600) / 120,
        lambda brain: (brain - 600) / 1200,
        lambda brain: brain - 900,
        lambda brain: -brain,
        lambda brain: np.clip(brain / 600 - 1, -0.5, 0.5),
    ],
    ids=["z-scored", "UNIT1", "shifted", "inverted", "-0.5 to 0.5"],
)
@pytest.mark.parametrize("kind", degrade.KINDS)
def test_what_is_no_magnitude_is_not_simulated(values, kind, tmp_path):
    nifti.save(Volume(_brain(values), np.diag([4.0, 4, 4, 1])), tmp_path / "target.nii.gz")
    settings = {"kind": kind, "seed": 1}
    simulation.simulate(str(tmp_path / "target.nii.gz"), str(tmp_path / "source.nii.gz"), settings, "sub-01")
    assert "below 0" in derivatives.excluded(tmp_path / "source.nii.gz")


def test_small_values_below_zero_are_no_reason():
    """Beside edges interpolation leaves some."""
    data = ndimage.spline_filter(_brain(lambda brain: brain), order=3)
    data = ndimage.zoom(data, 1.3, order=3, prefilter=False)
    assert data.min() < 0
    degrade.require_magnitudes(Volume(data.astype(np.float32), np.eye(4)))


def stripped_pair(target, folder, kind, factor):
    """A target and the source that is made from it, with masks as a study without brain extraction makes them."""
    target_path, source, target_mask, source_mask = (
        str(folder / f"{name}.nii.gz") for name in ("target", "source", "target_mask", "source_mask")
    )
    nifti.save(target, target_path)
    settings = {**USUAL, "kind": kind, "factor": factor, "blur": 0.5}
    simulation.simulate(target_path, source, settings, "sub-01")
    masks.extract_brain(target_path, target_mask, {"method": "none"})
    masks.extract_brain(source, source_mask, {"method": "none"}, [target_mask])
    return target_mask, source_mask


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("kind", degrade.KINDS)
def test_the_source_of_a_stripped_target_has_its_brain(kind, factor, head, tmp_path):
    target = head.high.with_data(np.where(head.brain.data, head.high.data, 0).astype(np.float32))
    paths = stripped_pair(target, tmp_path, kind, factor)
    assert [derivatives.excluded(path) for path in paths] == [None, None]
    of_target, of_source = (nifti.load_mask(path) for path in paths)
    cm3 = [mask.data.sum() * np.prod(mask.grid.spacing) / 1000 for mask in (of_target, of_source)]
    assert cm3[1] == pytest.approx(cm3[0], rel=0.03)
    there = nifti.mask_on(of_source, of_target.grid)
    assert 2 * (there & of_target.data).sum() / (there.sum() + of_target.data.sum()) > 0.9


@pytest.mark.parametrize("kind", degrade.KINDS)
def test_the_source_of_a_target_without_a_brain_is_excluded_for_that(kind, tmp_path):
    speck = np.zeros((40, 40, 40), np.float32)
    speck[20:22, 20, 20] = 100
    reasons = [
        derivatives.excluded(path) for path in stripped_pair(Volume(speck, np.diag([3.0, 3, 3, 1])), tmp_path, kind, 2)
    ]
    assert reasons[0] == reasons[1] and "expected 200 to 2600" in reasons[0]
