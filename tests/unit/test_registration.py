import ants
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield import nifti, registration
from upfield.nifti import Grid, Volume
from upfield.phantom import anatomy


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


def error(found, truth, brain):
    """Mean distance over the brain, in mm, and difference of rotation, in degrees."""
    indices = np.argwhere(brain.data > 0)[::50]
    points = brain.affine @ np.c_[indices, np.ones(len(indices))].T
    distance = np.linalg.norm(((found - truth) @ points)[:3], axis=0).mean()
    return distance, registration.rotation_degrees(np.linalg.inv(truth) @ found)


def test_recovers_a_known_displacement_and_repeats_itself(brain):
    moving = scanned_again(brain, brain.grid)
    found = registration.rigid(brain, moving, seed=42)
    distance, degrees = error(found, np.linalg.inv(DISPLACEMENT), brain)
    assert distance < 0.5 and degrees < 0.5
    assert np.array_equal(registration.rigid(brain, moving, seed=42), found)


def test_recovers_it_from_an_oblique_flipped_scan(brain, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    moving = scanned_again(brain, oblique_grid(brain))
    assert np.linalg.det(moving.affine) < 0
    found = registration.rigid(brain, moving, seed=42)
    distance, degrees = error(found, np.linalg.inv(DISPLACEMENT), brain)
    assert distance < 0.5 and degrees < 0.5
    # It is the transform with which `resample` pulls the moving image onto the fixed one.
    aligned, apart = (nifti.resample(moving, brain.grid, how) for how in (found, None))
    mask = brain.data > 0
    matches = [np.corrcoef(image.data[mask], np.sqrt(brain.data[mask]))[0, 1] for image in (aligned, apart)]
    assert matches[0] > 0.9 > matches[1] + 0.2
    assert list(tmp_path.iterdir()) == []  # ANTs leaves its transforms there


affines = st.tuples(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-300, 300)] * 3))


@given(affines, st.floats(0.5, 2))
def test_transform_file_round_trip_and_ants_agrees(tmp_path_factory, pose, stretch):
    matrix = rigid(*pose) @ np.diag([1, stretch, 1, 1])
    path = tmp_path_factory.getbasetemp() / "transform.txt"
    registration.write_transform(path, matrix)
    np.testing.assert_allclose(registration.read_transform(path), matrix, atol=1e-8)
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
    itk = registration.LPS @ matrix @ registration.LPS
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
    assert registration.rotation_degrees(rigid(degrees, (5, 5, 5))) == pytest.approx(angle, abs=1e-4)
