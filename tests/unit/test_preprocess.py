import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.intensity import fit
from upfield.image.nifti import Volume
from upfield.patches import Store, store
from upfield.phantom import anatomy
from upfield.preprocess import average, derivatives, masks, register, simulation, standardize
from upfield.preprocess import grid as grids


@pytest.fixture
def mask(awkward):
    """A round brain of 30 to 40 mm somewhere in the field of view."""
    return awkward.with_data((awkward.data > 20).astype(np.float32))


def to_voxels(grid, points):
    return (np.linalg.inv(grid.affine) @ np.c_[points, np.ones(len(points))].T)[:3].T


def centres(volume):
    """World coordinates of the true voxels, (N, 3)."""
    indices = np.argwhere(volume.data > 0)
    return (volume.affine @ np.c_[indices, np.ones(len(indices))].T)[:3].T


@pytest.mark.parametrize("spacing", [1.0, 2.0, "native"])
def test_working_grid_holds_the_brain_with_room_around(mask, spacing):
    grid = grids.working_grid(mask, spacing)
    assert nib.aff2axcodes(grid.affine) == ("R", "A", "S")
    inside = to_voxels(grid, centres(mask))
    room = np.minimum(inside.min(axis=0), np.array(grid.shape) - 1 - inside.max(axis=0)) * grid.spacing
    # A voxel's half at most is lost where the two lattices differ.
    slack = grid.spacing / 2 + nifti.reorient(mask).grid.spacing / 2
    assert (room >= grids.MARGIN - slack).all()
    assert (room <= grids.MARGIN + grid.spacing + slack).all()
    if spacing != "native":
        own = nifti.reorient(mask).grid.spacing
        np.testing.assert_allclose(grid.spacing, np.where(own > 2 * spacing, own, spacing))


def test_native_grid_shares_the_targets_voxels(mask):
    grid = grids.working_grid(mask, "native")
    corners = np.array([[0, 0, 0], [3, 5, 7], np.array(grid.shape) - 1])
    world = (grid.affine @ np.c_[corners, np.ones(3)].T)[:3].T
    native = to_voxels(mask.grid, world)
    np.testing.assert_allclose(native, np.rint(native), atol=1e-6)
    assert (native > -0.5).all() and (native < np.array(mask.data.shape) - 0.5).all()


def test_slices_are_not_invented():
    """Four slices of 10 mm stay four slices, voxel for voxel, however fine the grid is in plane."""
    image = Volume(np.zeros((60, 64, 4), np.float32), np.diag([-1.0, 1, 10, 1]))
    mask = image.with_data(np.ones_like(image.data))
    grid = grids.working_grid(mask, 0.5)
    assert grid.shape == (120, 128, 4)
    np.testing.assert_allclose(grid.spacing, [0.5, 0.5, 10])
    values = image.with_data(image.data + np.array([10.0, 20, 30, 40], np.float32))
    np.testing.assert_allclose(nifti.resample(values, grid).data[60, 64], [10, 20, 30, 40], rtol=1e-5)


def test_there_and_back_changes_less_than_a_percent(head):
    """Native to working grid (half the voxel size) and back, with the brain's own transform both ways."""
    image = head.high.with_data(ndimage.gaussian_filter(head.high.data, 0.6))
    inside = ndimage.binary_erosion(head.brain.data > 0, iterations=2)
    grid = grids.working_grid(head.brain, 1.0)
    pose = np.eye(4)
    pose[:3, :3] = anatomy.rotation(np.array([3.0, -2, 4]))
    pose[:3, 3] = 2, -3, 1
    there = nifti.resample(image, grid, pose, order=3)
    back = nifti.resample(there, image.grid, np.linalg.inv(pose), order=3, antialias=False)
    change = np.abs(back.data - image.data)[inside] / image.data[inside].mean()
    assert change.mean() < 0.01
    assert np.array_equal(back.affine, image.affine)


def test_working_grid_ends_where_the_image_ends():
    data = np.zeros((20, 30, 40), np.float32)
    data[0:5, 10:20, 36:40] = 1
    grid = grids.working_grid(Volume(data, np.eye(4)), 1.0)
    assert grid.shape == (13, 26, 12)
    assert grid.affine[:3, 3].tolist() == [0, 2, 28]


def test_empty_mask_is_refused(mask, refused):
    with refused("mask is empty", kind=ScanError):
        grids.working_grid(mask.with_data(np.zeros_like(mask.data)), 1.0)
    with refused("mask is empty", kind=ScanError):
        grids.normalized(mask, mask.data > 9, mask.grid, None, "percentile")


def test_same_image_as_source_and_as_target_coincides(awkward, mask):
    grid = grids.working_grid(mask, 1.0)
    inside = mask.data > 0
    target, _ = grids.normalized(awkward, inside, grid, None, "percentile")
    # The same scan, acquired with the head elsewhere in the world: the transform leads there.
    pose = np.eye(4)
    pose[:3, :3] = anatomy.rotation(np.array([7.0, -5, 12]))
    pose[:3, 3] = 8, -6, 4
    elsewhere = Volume(awkward.data, pose @ awkward.affine)
    source, scaling = grids.normalized(elsewhere, inside, grid, pose, "percentile")
    np.testing.assert_allclose(source.data, target.data, atol=1e-4)
    assert source.grid.matches(target.grid)
    assert scaling == fit(awkward.data, inside, "percentile")
    # And with its rim kept, it still coincides in the brain.
    with_rim, _ = grids.normalized(elsewhere, inside, grid, pose, "percentile", grids.SOURCE_MARGIN)
    # The cubic spline rings for two voxels (of 3 mm) at the edge of the stripped brain, so only its core is compared.
    core = ndimage.distance_transform_edt(nifti.resample(mask, grid).data > 0.5, sampling=grid.spacing) > 6
    assert core.sum() * grid.spacing.prod() > 1000
    np.testing.assert_allclose(with_rim.data[core], target.data[core], atol=0.02)
    assert with_rim.data.sum() > target.data.sum()


def test_world_stays_where_it_is(awkward, mask, centroid):
    grid = grids.working_grid(mask, 1.0)
    moved, scaling = grids.normalized(awkward, mask.data > 0, grid, None, "percentile")
    stripped = awkward.with_data(awkward.data * (mask.data > 0))
    intensities = moved.with_data(scaling.invert(moved.data))
    assert np.linalg.norm(centroid(intensities) - centroid(stripped)) < 0.3


def test_normalized_in_the_mask_and_zero_intensity_outside(awkward, mask):
    inside = mask.data > 0
    grid = grids.working_grid(mask, "native")
    moved, scaling = grids.normalized(awkward, inside, grid, None, "percentile")
    there = nifti.resample(mask, grid, order=0).data > 0
    np.testing.assert_allclose(np.percentile(moved.data[there], [0.5, 99.5]), [0, 1], atol=1e-3)
    np.testing.assert_allclose(moved.data[~there], scaling.background, atol=1e-5)
    np.testing.assert_allclose(scaling.invert(moved.data)[~there], 0, atol=1e-4)


def test_rim_is_measured_in_mm(awkward, mask):
    inside = mask.data > 0
    image = awkward.with_data(np.random.default_rng(0).uniform(50, 100, awkward.data.shape).astype(np.float32))
    near, scaling = grids.normalized(image, inside, awkward.grid, None, "percentile", margin=6.0)
    kept = scaling.invert(near.data) > 25
    assert kept[inside].all()
    outside = centres(awkward.with_data((kept & ~inside).astype(float)))
    brain = centres(mask)
    distances = [np.linalg.norm(brain - point, axis=1).min() for point in outside[:: max(len(outside) // 50, 1)]]
    assert max(distances) <= 6.0 + 1e-6
    assert max(distances) > 4.0


SETTINGS = {"spacing": 2.0, "normalize": {"method": "percentile"}}


def run_pair(folder, source, target, settings=SETTINGS, marked=()):
    """Preprocess a pair of images from files to files; the paths of the two results.

    `marked` names files that their step excludes, such as `source_mask.nii.gz` or `forward_xfm.txt`.
    """

    def mark(name):
        if name in marked:
            path = sidecar(folder / name)
            write_json(path, (read_json(path) if path.is_file() else {}) | {"Excluded": f"because of {name}"})

    decision = folder / "decision.json"
    write_json(decision, {})
    mark("decision.json")
    for name, volume in (("source", source), ("target", target)):
        nifti.save(volume, folder / f"{name}.nii.gz")
        mark(f"{name}.nii.gz")
        masks.extract_brain(folder / f"{name}.nii.gz", folder / f"{name}_mask.nii.gz", {"method": "none"})
        mark(f"{name}_mask.nii.gz")
    files = [(str(folder / f"{name}.nii.gz"), str(folder / f"{name}_mask.nii.gz")) for name in ("source", "target")]
    transforms = str(folder / "forward_xfm.txt"), str(folder / "inverse_xfm.txt")
    register.register(*files[0], *files[1], *transforms, {"transform": "none", "seed": 1})
    mark("forward_xfm.txt")
    results = []
    for (image, mask), transform in zip(files, (transforms[0], None), strict=True):
        output = image.replace(".nii.gz", "_desc-preproc_T1w.nii.gz")
        standardize.standardize(image, mask, files[1][1], output, settings, transform, decision=str(decision))
        results.append(output)
    return results


@pytest.fixture
def stripped():
    """A skull-stripped head of 40 mm half-axes, 268 cm3."""
    volume = Volume(np.random.default_rng(0).uniform(50, 100, (36, 36, 36)).astype(np.float32), np.diag([3.0, 3, 3, 1]))
    squared = sum((index - 17.5) ** 2 for index in np.indices(volume.data.shape)) * 9
    return volume.with_data(np.where(squared < 40**2, volume.data, 0).astype(np.float32))


def test_pair_ends_on_one_grid_with_its_intensities_written_down(stripped, tmp_path):
    source, target = run_pair(tmp_path, stripped.with_data(stripped.data * 7), stripped)
    one, other = nifti.load(source), nifti.load(target)
    assert one.grid.matches(other.grid)
    real = (
        derivatives.scaling_of(source).invert(one.data).mean(),
        derivatives.scaling_of(target).invert(other.data).mean(),
    )
    assert real[0] == pytest.approx(7 * real[1], rel=0.02)
    assert derivatives.excluded(source) is None


@pytest.mark.parametrize("broken", ["source", "target"])
def test_scan_without_a_brain_is_marked_to_the_end(stripped, tmp_path, refused, broken):
    speck = np.zeros_like(stripped.data)
    speck[3, 3, 3] = 5
    pair = {"source": stripped, "target": stripped, broken: stripped.with_data(speck)}
    results = run_pair(tmp_path, pair["source"], pair["target"])
    # The pair is unusable as soon as one side is; every file exists and is an image.
    assert "brain extraction" in derivatives.excluded(results[0])
    assert "brain extraction" in read_json(sidecar(tmp_path / f"{broken}_mask.nii.gz"))["Excluded"]
    assert all(np.isfinite(nifti.load(path).data).all() for path in results)
    with refused("brain extraction", kind=ScanError):
        derivatives.scaling_of(results[0])


# -- two grids -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [2.0, "native"])
def test_working_grid_is_made_of_whole_blocks(mask, spacing):
    plain = grids.working_grid(mask, spacing)
    multiple = (4, 2, 3)
    grid = grids.working_grid(mask, spacing, multiple)
    low = np.rint(to_voxels(grid, plain.affine[None, :3, 3]))[0]
    assert (np.array(grid.shape) % multiple == 0).all()
    assert ((low >= 0) & (low < multiple)).all()
    assert (np.array(grid.shape) - plain.shape - low < multiple).all()
    whole = nifti.reorient(mask).grid if spacing == "native" else nifti.regrid(nifti.reorient(mask), spacing)
    corner = to_voxels(whole, grid.affine[None, :3, 3])[0]
    np.testing.assert_allclose(corner / multiple, np.rint(corner / multiple), atol=1e-6)


@pytest.mark.parametrize(("kind", "scale"), [("inplane", (4, 4, 1)), ("gaussian", (2, 2, 2)), ("kspace", (4, 4, 4))])
def test_decimated_scan_is_not_interpolated_again(awkward, tmp_path, kind, scale):
    """With `spacing: native` each voxel of the source is one that the simulation made, to the bit."""
    stripped = awkward.with_data(np.where(awkward.data > 10, awkward.data, 0))
    nifti.save(stripped, tmp_path / "target.nii.gz")
    settings = {"kind": kind, "factor": scale[0], "blur": 0.5, "noise": 0.0, "seed": 1}
    simulation.simulate(tmp_path / "target.nii.gz", tmp_path / "source.nii.gz", settings, "sub-01")
    made = nifti.load(tmp_path / "source.nii.gz")
    for name, image in (("source", made), ("target", stripped)):
        brain = image.with_data(image.data > 10)
        derivatives.save_image(brain, tmp_path / f"{name}_mask.nii.gz", {}, np.uint8)
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in ("source", "source_mask", "target", "target_mask")}
    transforms = str(tmp_path / "forward_xfm.txt"), str(tmp_path / "inverse_xfm.txt")
    register.register(
        *(paths[name] for name in ("source", "source_mask", "target", "target_mask")), *transforms,
        {"transform": "none", "seed": 1},
    )  # fmt: skip
    settings = {"spacing": "native", "normalize": {"method": "percentile"}}
    output = str(tmp_path / "small.nii.gz")
    standardize.standardize(
        paths["source"], paths["source_mask"], paths["target_mask"], output, settings, transforms[0], scale, scale
    )
    result, scaling = nifti.load(output), derivatives.scaling_of(output)
    assert "Resolution" in read_json(sidecar(output))
    target = grids.working_grid(nifti.load_mask(paths["target_mask"]), "native", scale)
    assert result.grid.matches(nifti.coarsen(target, scale))
    inside = nifti.load_mask(paths["source_mask"]).data
    near = ndimage.distance_transform_edt(~inside, sampling=made.grid.spacing) <= grids.SOURCE_MARGIN
    corner = np.rint(to_voxels(made.grid, result.affine[None, :3, 3]))[0].astype(int)
    expected = np.pad(scaling.apply(np.where(near, made.data, 0)), 8, constant_values=np.float32(scaling.background))
    box = tuple(slice(8 + c, 8 + c + n) for c, n in zip(corner, result.data.shape, strict=True))
    np.testing.assert_array_equal(result.data, expected[box])


@pytest.mark.real
def test_real_head(real_data, centroid):
    volume = nifti.load(next((real_data / "ds002748").glob("sub-*/anat/*_T1w.nii.gz")))
    mask = volume.with_data((volume.data > 0).astype(np.float32))
    grid = grids.working_grid(mask, 1.0)
    assert all(120 < n < 230 for n in grid.shape)
    moved, scaling = grids.normalized(volume, mask.data > 0, grid, None, "percentile")
    intensities = moved.with_data(scaling.invert(moved.data))
    assert np.linalg.norm(centroid(intensities) - centroid(volume)) < 0.5


AT_FAULT = {
    "brain of the source": "source_mask.nii.gz",
    "brain of the target": "target_mask.nii.gz",
    "converted source": "source.nii.gz",
    "converted target": "target.nii.gz",
    "registration": "forward_xfm.txt",
    "quality control": "decision.json",
}


@pytest.mark.parametrize("spacing", [2.0, "native"])
@pytest.mark.parametrize("fault", AT_FAULT)
def test_an_excluded_pair_has_a_store_that_nobody_draws_from(stripped, tmp_path, fault, spacing):
    turned = Volume(stripped.data[::-1].copy(), stripped.affine @ np.diag([-1.0, 1, 1, 1]))
    turned.affine[:3, 3] = stripped.affine[:3, :3] @ (35, 0, 0)
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder, marked in ((good, ()), (bad, AT_FAULT[fault])):
        folder.mkdir()
        source, target = run_pair(folder, stripped, turned, SETTINGS | {"spacing": spacing}, marked)
        # Two contrasts, the first of which is not at fault: that of the target stands for it.
        for contrasts in ([source], [target, source]):
            store.extract(
                contrasts, str(folder / "target_mask.nii.gz"), str(folder / f"{len(contrasts)}"), target=target
            )
    for contrasts in ("1", "2"):
        assert [found.path.parent for found in store.usable([bad / contrasts, good / contrasts])] == [good]
        assert Store(bad / contrasts).channels == int(contrasts)


def test_a_pair_on_two_grids_is_an_error_if_nothing_is_excluded(stripped, tmp_path, refused):
    source, target = run_pair(tmp_path, stripped, stripped)
    nifti.save(stripped, source)
    with refused("not on one grid"):
        store.extract([source], str(tmp_path / "target_mask.nii.gz"), str(tmp_path / "store"), target=target)


FOREIGN = {
    "Latin-1": '{"MagneticFieldStrength": 3, "InstitutionName": "M\u00fcnchen"}'.encode("latin-1"),
    "a list": b'["Excluded", "no"]',
    "empty": b"",
    "cut": b'{"MagneticFieldStrength": 3',
    "macOS": bytes.fromhex("0005160700020000") + b"\x0e\xb0" + bytes(64),
    "another meaning": b'{"Excluded": false}',
    "null": b'{"Excluded": null}',
    "a folder": None,
}


@pytest.mark.parametrize("content", FOREIGN)
def test_a_damaged_sidecar_of_an_acquired_scan_excludes_nobody(stripped, tmp_path, content):
    image, mask = (str(tmp_path / f"{name}.nii.gz") for name in ("scan", "mask"))
    nifti.save(stripped, image)
    if FOREIGN[content] is None:
        sidecar(image).mkdir()
    else:
        sidecar(image).write_bytes(FOREIGN[content])
    masks.extract_brain(image, mask, {"method": "none"})
    assert derivatives.excluded(mask) is None
    assert nifti.load_mask(mask).data.any()
    settings = {"kind": "gaussian", "factor": 1, "blur": 0.5, "noise": 0, "seed": 42}
    simulation.simulate(image, str(tmp_path / "simulated.nii.gz"), settings, "sub-01")
    average.average([image], str(tmp_path / "average.nii.gz"), seed=42)
    for made in ("simulated", "average"):
        assert derivatives.excluded(tmp_path / f"{made}.nii.gz") is None
