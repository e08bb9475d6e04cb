import ants
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from upfield.image import nifti, transforms
from upfield.image.nifti import Grid, Volume
from upfield.image.transforms import Field
from upfield.phantom import anatomy
from upfield.preprocess import bias, derivatives, register, registration
from upfield.preprocess.brain.extraction import extract
from upfield.quality import pair


def rigid(degrees, translation, centre=anatomy.CENTRE):
    matrix = np.eye(4)
    matrix[:3, :3] = anatomy.rotation(np.array(degrees))
    matrix[:3, 3] = centre + np.array(translation) - matrix[:3, :3] @ centre
    return matrix


@pytest.fixture(scope="module")
def brain(head):
    """The phantom's brain without its skull."""
    return head.high.with_data(head.high.data * (head.brain.data > 0))


# From a point of the moving scan to the same anatomy in the fixed one: about 6 degrees and 6 mm.
DISPLACEMENT = rigid((4, -3, 3.5), (4, -3, 3.5))


def scanned_again(brain, grid):
    """The displaced brain, sampled on `grid`, with another contrast."""
    moved = nifti.resample(brain, grid, DISPLACEMENT, order=3)
    return moved.with_data(np.sqrt(np.clip(moved.data, 0, None)))


def oblique_grid(brain):
    """Sagittal thick slices, oblique and left-handed, over the same head."""
    canonical = nifti.regrid(brain, (2.0, 2.2, 3.0))
    tilted = Grid(canonical.shape, rigid((15, -10, 20), (0, 0, 0)) @ canonical.affine)
    flips = np.eye(4)
    flips[:3, :3] = [[0, 0, -1], [1, 0, 0], [0, 1, 0]]
    x, y, z = tilted.shape
    flips[:3, 3] = x - 1, 0, 0
    return Grid((y, z, x), tilted.affine @ flips)


GRIDS = {
    "same": lambda brain: brain.grid,
    "anisotropic": lambda brain: nifti.regrid(brain, (1.5, 2.0, 4.0)),
    "oblique, flipped": oblique_grid,
}


def error(found, truth, brain):
    """Mean distance over the brain in mm."""
    indices = np.argwhere(brain.data > 0)[::50]
    points = transforms.apply_matrix(brain.affine, indices.T)
    return np.linalg.norm(transforms.move(found, points) - transforms.move(truth, points), axis=0).mean()


def test_a_registration_that_ants_gives_up_excludes_the_pair(brain, tmp_path, monkeypatch):
    def give_up(*images, **settings):
        raise RuntimeError("itk::ERROR:\n too few samples")

    monkeypatch.setattr(ants, "registration", give_up)
    mask = brain.with_data((brain.data > 0).astype(np.uint8))
    for name in ("source", "target"):
        nifti.save(brain, tmp_path / f"{name}.nii.gz")
        nifti.save(mask, tmp_path / f"{name}_mask.nii.gz")
    files = [str(tmp_path / f"{name}.nii.gz") for name in ("source", "source_mask", "target", "target_mask")]
    ways = [str(tmp_path / f"{name}_xfm.txt") for name in ("forward", "inverse")]
    register.register(*files, *ways, {"transform": "rigid", "seed": 1})
    for way in ways:
        assert derivatives.excluded(way) == "registration failed (itk::ERROR: too few samples)"
        assert np.array_equal(nifti.read_transform(way), np.eye(4))


@pytest.mark.parametrize("grid", list(GRIDS))
def test_known_rigid_transform_is_recovered(brain, grid, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    moving = scanned_again(brain, GRIDS[grid](brain))
    found, inverse = registration.register(brain, moving, "rigid", seed=42)
    truth = np.linalg.inv(DISPLACEMENT)
    assert error(found, truth, brain) < 0.5
    assert error([found, inverse], np.eye(4), brain) < 1e-6
    assert transforms.rotation_degrees(np.linalg.inv(truth) @ found) < 0.5
    # It is the transform with which `resample` pulls the moving image onto the fixed one.
    aligned, apart = (nifti.resample(moving, brain.grid, how) for how in (found, None))
    mask = brain.data > 0
    matches = [np.corrcoef(image.data[mask], np.sqrt(brain.data[mask]))[0, 1] for image in (aligned, apart)]
    assert matches[0] > 0.85 > matches[1] + 0.2
    assert list(tmp_path.iterdir()) == []  # nothing that ANTs wrote is left behind


def test_known_affine_transform_is_recovered_and_repeats_itself(brain):
    stretch = rigid((4, -3, 3.5), (4, -3, 3.5))
    stretch[:3, :3] = stretch[:3, :3] @ [[1.05, 0.03, 0], [0, 0.96, 0], [0, -0.02, 1.04]]
    moved = nifti.resample(brain, brain.grid, stretch, order=3)
    found, inverse = registration.register(brain, moved, "affine", seed=42)
    assert error(found, np.linalg.inv(stretch), brain) < 0.5
    assert error(inverse, stretch, brain) < 0.5
    middle = np.array(brain.grid.shape) // 2
    parts = [nifti.resample(scan, nifti.crop(brain.grid, middle - 20, middle + 20)) for scan in (brain, moved)]
    once, again = (registration.register(*parts, "affine", seed=42)[0] for _ in range(2))
    assert not np.allclose(once, np.eye(4), atol=0.01)
    assert np.array_equal(once, again)


def test_deformation_is_recovered_and_can_be_undone(brain, tmp_path):
    """A smooth bulge of up to 6 mm on top of the displacement: SyN halves what is left after an affine transform."""
    random = np.random.default_rng(0).normal(size=(3, *brain.data.shape))
    bulge = np.stack([ndimage.gaussian_filter(axis, 12) for axis in random], axis=-1)
    field = Field((6 * bulge / np.abs(bulge).max()).astype(np.float32), brain.affine)
    moved = nifti.resample(brain, brain.grid, [field, DISPLACEMENT], order=3)
    # The truth goes the other way: from the deformed brain to the one we know.
    truth = [field, DISPLACEMENT]
    inside = moved.with_data((moved.data > 20).astype(np.float32))
    forward, inverse = registration.register(moved, brain, "syn", seed=42)
    affine, _ = registration.register(moved, brain, "affine", seed=42)
    assert error(forward, truth, inside) < 0.6 * error(affine, truth, inside)
    assert error([forward, inverse], np.eye(4), inside) < 0.5
    path = tmp_path / "xfm.nii.gz"
    nifti.write_transform(path, forward)
    again = nifti.read_transform(path)
    assert error(again, forward, inside) < 1e-4
    # ANTs reads the file and means the same.
    point = centroid_of(inside)
    field_itk = ants.transform_from_displacement_field(ants.image_read(str(path)))
    flip = np.array([-1, -1, 1])
    theirs = flip * np.array(ants.apply_ants_transform_to_point(field_itk, (flip * point).tolist()))
    np.testing.assert_allclose(theirs, transforms.move(again, point[:, None])[:, 0], atol=1e-2)


def centroid_of(volume):
    return transforms.apply_matrix(volume.affine, np.argwhere(volume.data > 0).mean(axis=0)[:, None])[:, 0]


def test_slab_moves_within_its_slices_alone(brain):
    """Four slices of 10 mm, turned and shifted in plane: there is nothing to learn about a tilt."""
    full = nifti.regrid(brain, (2.0, 2.0, 10.0))
    low = np.array([0, 0, full.shape[2] // 2 - 2])
    slab = nifti.resample(brain, nifti.crop(full, low, np.array([*full.shape[:2], low[2] + 4])), order=1)
    # In the plane of the slices, which the phantom's scanner has tilted.
    frame = np.eye(4)
    frame[:3, :3] = slab.affine[:3, :3] / slab.grid.spacing
    frame[:3, 3] = anatomy.CENTRE
    turn = frame @ rigid((0, 0, 7), (5, -4, 0), np.zeros(3)) @ np.linalg.inv(frame)
    moving = nifti.resample(slab, slab.grid, turn, order=1)
    assert slab.grid.slab_axis == 2
    found, _ = registration.register(slab, moving, "rigid", seed=42)
    assert error(found, np.linalg.inv(turn), slab) < 0.5
    np.testing.assert_allclose((np.linalg.inv(frame) @ found @ frame)[2], [0, 0, 1, 0], atol=1e-4)


affines = st.tuples(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-300, 300)] * 3))


@given(affines, st.floats(0.5, 2))
def test_transform_file_round_trip_and_ants_agrees(tmp_path_factory, pose, stretch):
    matrix = rigid(*pose) @ np.diag([1, stretch, 1, 1])
    path = tmp_path_factory.getbasetemp() / "transform.txt"
    nifti.write_transform(path, matrix)
    np.testing.assert_allclose(nifti.read_transform(path), matrix, atol=1e-8)
    np.testing.assert_allclose(registration.from_ants(path), matrix, atol=1e-5)
    transform = ants.read_transform(str(path))
    for point in ([0.0, 0, 0], [10.0, -20, 30]):
        flip = np.array([-1, -1, 1])
        expected = (matrix @ np.append(point, 1.0))[:3]
        found = np.array(ants.apply_ants_transform_to_point(transform, (flip * point).tolist()))
        np.testing.assert_allclose(flip * found, expected, atol=1e-3)


def test_ants_image_has_the_same_world(awkward):
    image = registration.to_ants(awkward)
    index = np.array([3, 5, 7])
    point = np.array(ants.transform_index_to_physical_point(image, index.tolist()))
    np.testing.assert_allclose(point * [-1, -1, 1], (awkward.affine @ np.append(index, 1.0))[:3], atol=1e-3)
    assert np.array_equal(image.numpy(), awkward.data)


def test_ants_resamples_as_we_do(awkward):
    """Our matrix, written to a file, means the same to ANTs' own resampling."""
    matrix = rigid((6, -4, 8), (3, 2, -4), (awkward.affine @ np.append(np.array(awkward.data.shape) / 2, 1.0))[:3])
    grid = nifti.regrid(nifti.reorient(awkward), 2.5)
    ours = nifti.resample(awkward, grid, matrix, antialias=False)
    itk = transforms.LPS @ matrix @ transforms.LPS
    transform = ants.create_ants_transform(
        "AffineTransform", dimension=3, matrix=itk[:3, :3], translation=itk[:3, 3].tolist()
    )
    reference = registration.to_ants(Volume(np.zeros(grid.shape, np.float32), grid.affine))
    theirs = ants.apply_ants_transform_to_image(transform, registration.to_ants(awkward), reference).numpy()
    assert np.abs(ours.data - theirs)[2:-2, 2:-2, 2:-2].max() < 0.5
    assert ours.data.max() > 80


@given(st.floats(0, 179), st.integers(0, 2))
def test_rotation_degrees(angle, axis):
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = angle
    assert transforms.rotation_degrees(rigid(degrees, (5, 5, 5))) == pytest.approx(angle, abs=1e-4)


@pytest.mark.real
def test_two_sessions_of_a_patient_meet(real_data):
    """Thick slices on different grids, MS lesions and all: the brains correlate after registration.

    As quality control measures it, on voxels of 2 mm: on native ones (0.9 mm) noise and a few bright vessels decide,
    and even the rigid transform that maximises the correlation itself stays at 0.895.
    """
    scans = [next((real_data / "open_ms").glob(f"sub-*/ses-{n}/anat/*_T1w.nii.gz")) for n in (1, 2)]
    found = []
    for scan in scans:
        image = nifti.load(scan)
        mask = image.with_data(extract(image, {"method": "deepbet"}))
        found.append(pair.brain(bias.n4(image, mask.data), mask))
    matrix, _ = registration.register(found[1].image, found[0].image, "rigid", seed=42)
    where = pair.grid(found[1])
    after, before = (pair.ncc(pair.meet(*found, where, how)) for how in (matrix, np.eye(4)))
    assert after > 0.9 > before + 0.2
