import os
import stat
import sys

import numpy as np
import pytest
from skimage.morphology import convex_hull_image
from upfield.errors import ScanError
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess.brain import plausibility
from upfield.preprocess.brain.deepbet import without_scalp
from upfield.preprocess.brain.extraction import extract
from upfield.preprocess.brain.tool import tools

GRID = nifti.Grid((60, 60, 60), np.diag([3.0, 3, 3, 1]))


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
    found = extract(volume, {"method": "none"})
    assert found.dtype == bool
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_impossible_volumes_are_refused(stripped, refused, size):
    volume, _ = stripped
    scaled = Volume(volume.data, np.diag([size, size, size, 1]) @ volume.affine)
    with refused("cm3", "expected 200 to 2600", kind=ScanError):
        extract(scaled, {"method": "none"})


def test_a_slab_holds_less_than_a_brain(stripped):
    volume, mask = stripped
    slab = nifti.crop(volume.grid, np.array([0, 0, 26]), np.array([60, 60, 34]))
    found = extract(nifti.resample(volume, slab, order=0), {"method": "none"})
    assert np.array_equal(found, mask[:, :, 26:34])


@pytest.mark.parametrize("method", ["none", "deepbet"])
def test_blank_image_is_refused(refused, method):
    with refused("brain extraction", kind=ScanError):
        extract(Volume(np.zeros((40, 40, 40), np.float32), np.diag([4.0, 4, 4, 1])), {"method": method})


def test_noise_is_refused(refused):
    noise = np.random.default_rng(0).normal(100, 10, (64, 80, 70)).astype(np.float32)
    with refused("brain extraction (deepbet)", kind=ScanError):
        extract(Volume(noise, np.diag([3.0, 3, 3, 1])), {"method": "deepbet"})


def test_deepbet_finds_the_brain_of_a_flipped_scan(head):
    # Another axis order and two flips, as scanners store them: the mask must come back on the scan's own voxels.
    flips = np.array([[0, 0, -1.0, head.high.data.shape[0] - 1], [-1, 0, 0, head.high.data.shape[1] - 1]])
    turn = np.vstack([flips, [[0, 1, 0, 0], [0, 0, 0, 1]]])
    shape = tuple(head.high.data.shape[axis] for axis in (1, 2, 0))
    grid = nifti.Grid(shape, head.high.affine @ turn)
    scan = nifti.resample(head.high, grid, order=0)
    truth = nifti.resample(head.brain, grid, order=0).data > 0
    assert truth.sum() == (head.brain.data > 0).sum()
    found = extract(scan, {"method": "deepbet"})
    assert found.shape == shape and found.dtype == bool
    assert dice(found, truth) > 0.95


def test_end_slices_of_a_slab_are_whole(head):
    places = slice(head.high.data.shape[2] // 2, None, 5)
    affine = head.high.affine @ np.diag([1, 1, 5, 1])
    scan, truth = (Volume(image.data[..., places][..., :4], affine) for image in (head.high, head.brain))
    found = extract(scan, {"method": "deepbet"})
    assert [dice(found[..., z], truth.data[..., z] > 0) > 0.9 for z in range(4)] == [True] * 4


def test_scalp_in_the_mask_of_a_slab_is_taken_out_and_lesions_stay():
    x, y, _ = np.meshgrid(*(np.arange(size) - size / 2 for size in (120, 120, 4)), indexing="ij")
    radius = np.hypot(x, y)
    brain, scalp, lesion = radius < 40, (radius > 42) & (radius < 55), np.hypot(x - 34, y) < 5
    data = np.random.default_rng(0).normal(100, 10, radius.shape) * brain + 400 * scalp
    data[lesion] = 400
    taken = brain | (scalp & (y > 35)) | ((radius < 42) & (y > 35))
    mask = Volume(taken, np.diag([1.0, 1, 10, 1]))
    assert np.array_equal(without_scalp(mask.with_data(brain), data), brain)
    left = without_scalp(mask, data)
    assert not (left & scalp).any() and left[lesion].all()
    assert dice(left, brain) > 0.97


@pytest.mark.real
@pytest.mark.parametrize("session", ["ulf", "3T"])
def test_end_slices_of_a_real_slab_are_whole(real_data, session):
    (path,) = (real_data / "ulf").glob(f"sub-HKU7A/ses-{session}/anat/*_T1w.nii.gz")
    mask = extract(nifti.load(path), {"method": "deepbet"})
    area = mask.sum(axis=(0, 1))
    assert area.min() > 0.9 * area.max(), "four slices through the upper half of a brain differ little in size"
    hull = [convex_hull_image(mask[..., z]).sum() for z in range(mask.shape[2])]
    assert (area / hull).min() > 0.96, "nothing is left out inside, nor anything of the scalp taken in"


def test_small_components_are_dropped_and_pieces_refused(refused):
    mask = ellipsoid(GRID.shape)
    component, half = mask.copy(), ellipsoid(GRID.shape, 0.2)
    component[:6, :6, :6] = True
    assert np.array_equal(plausibility.checked(component, GRID, "bet"), mask)
    twins = np.zeros_like(mask)
    twins[:30], twins[30:] = half[15:45], half[15:45]
    twins[28:32] = False
    with refused("bet", "several pieces", kind=ScanError):
        plausibility.checked(twins, GRID, "bet")


@pytest.mark.parametrize("side", ["low", "high"])
def test_a_brain_cut_by_the_edge_of_the_image_is_refused(refused, side):
    mask = ellipsoid(GRID.shape)
    cut = mask[:, :30] if side == "high" else mask[:, 30:]
    grid = nifti.Grid(cut.shape, GRID.affine)
    with refused("deepbet", "edge of the image", kind=ScanError):
        plausibility.checked(cut, grid, "deepbet")
    # The neck leaves through the bottom of every image: a small cross-section is no cut.
    neck = mask.copy()
    neck[26:34, 26:34, :30] = True
    assert plausibility.checked(neck, GRID, "deepbet").sum() == neck.sum()


# -- programs that must be installed: fakes that do what they promise ----------------------------------------------

FAKE = """#!{python}
import sys
import nibabel as nib
import numpy as np
arguments = sys.argv[1:]
assert {expected!r} <= set(arguments), arguments
{trouble}
scan = nib.load("scan.nii.gz")
mask = (scan.get_fdata() > 40).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, scan.affine), {mask!r})
"""
EXPECTED = {
    "synthstrip": {"-i", "scan.nii.gz", "-m", "mask.nii.gz"},
    "hdbet": {"-i", "-o", "brain.nii.gz", "-device", "cpu", "--save_bet_mask"},
    "bet": {"scan.nii.gz", "brain", "-m"},
}
WRITTEN = {"synthstrip": "mask.nii.gz", "hdbet": "brain_bet.nii.gz", "bet": "brain_mask.nii.gz"}
PROGRAMS = [name for name, tool in tools().items() if tool.program is not None]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a program on the PATH that stands for the one behind a method."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def write(method, trouble=""):
        path = tmp_path / tools()[method].program
        text = FAKE.format(python=sys.executable, expected=EXPECTED[method], trouble=trouble, mask=WRITTEN[method])
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return write


@pytest.mark.parametrize("method", PROGRAMS)
def test_installed_programs_are_used(stripped, install, method):
    volume, mask = stripped
    install(method)
    tools()[method].check({"method": method}, "preprocess.brain")
    found = extract(volume, {"method": method})
    assert dice(found, mask) > 0.99 and found.dtype == bool


@pytest.mark.parametrize("method", PROGRAMS)
def test_missing_programs_are_named_before_anything_runs(install, refused, method):
    with refused("source.brain.method", method, tools()[method].program, "install"):
        tools()[method].check({"method": method}, "source.brain")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("sys.exit('out of licences')", "out of licences"), ("sys.exit(0)", "wrote no mask.nii.gz")],
)
def test_a_program_that_fails_costs_one_scan(stripped, install, refused, trouble, said):
    install("synthstrip", trouble)
    with refused("synthstrip", said, kind=ScanError):
        extract(stripped[0], {"method": "synthstrip"})


# -- masks and templates ---------------------------------------------------------------------------------------------


def test_given_mask_may_lie_on_another_grid(stripped, tmp_path, refused):
    volume, mask = stripped
    fine = nifti.regrid(volume, 1.5)
    nifti.save(nifti.resample(volume.with_data(mask.astype(np.float32)), fine, order=0), tmp_path / "mask.nii.gz")
    found = extract(volume, {"method": "mask"}, [str(tmp_path / "mask.nii.gz")])
    assert dice(found, mask) > 0.98
    with refused("desc-brain_mask", kind=ScanError):
        extract(volume, {"method": "mask"}, [])


def test_template_mask_follows_the_head(head, tmp_path):
    """Another phantom head, elsewhere in the world, is found with the first one's mask."""
    nifti.save(head.high, tmp_path / "head.nii.gz")
    nifti.save(head.brain.with_data((head.brain.data > 0).astype(np.float32)), tmp_path / "mask.nii.gz", np.uint8)
    shift = np.eye(4)
    shift[:3, 3] = 8, -12, 6
    stretch = np.diag([1.06, 0.95, 1.03, 1.0])
    elsewhere = Volume(head.high.data, shift @ stretch @ head.high.affine)
    settings = {"method": "template", "template": tmp_path / "head.nii.gz", "mask": tmp_path / "mask.nii.gz"}
    assert dice(extract(elsewhere, settings), head.brain.data > 0) > 0.95


@pytest.mark.real
def test_real_stripped_scan(real_data):
    volume = nifti.load(next((real_data / "ds002748").glob("sub-*/anat/*_T1w.nii.gz")))
    mask = extract(volume, {"method": "none"})
    assert mask[volume.data > 0].mean() > 0.99


@pytest.mark.real
def test_real_head_by_template_agrees_with_the_network(real_data):
    volume = nifti.load(real_data / "ds000011/sub-01/anat/sub-01_T1w.nii.gz")
    templates = real_data / "templates"
    settings = {
        "method": "template",
        "template": templates / "MNI152_T1_2mmEXT.nii.gz",
        "mask": templates / "MNI152_T1_2mmEXT_derived_brainmask.nii.gz",
    }
    assert dice(extract(volume, settings), extract(volume, {"method": "deepbet"})) > 0.92
