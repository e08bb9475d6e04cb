"""The working grid that a study leaves to its scans."""

import pytest
from upfield.bids import Scan
from upfield.study import spacing


def scans(*voxels, role="target"):
    return [Scan(f"sub-{n}", role, f"/{n}", "anat", f"sub-{n}", "T1w", voxel=voxel) for n, voxel in enumerate(voxels)]


@pytest.mark.parametrize(
    ("voxels", "native", "expected", "words"),
    [
        # One protocol, however its axes are stored.
        ([(1.0, 1.0, 1.0), (1.0, 1.02, 1.0)], True, "native", "all targets have voxels of 1 x 1 x 1.01 mm"),
        ([(0.7, 0.8, 1.2), (1.2, 0.7, 0.8)], True, "native", "none is interpolated"),
        # Several scanners.
        ([(0.8, 0.8, 0.8), (1.0, 1.0, 1.0), (1.2, 1.2, 1.2)], True, 1.0, "median voxel of scans of 0.8 x 0.8 x 0.8 to"),
        # Thick slices, also of several scanners.
        ([(1.0, 1.0, 5.0), (0.9, 0.9, 6.0)], True, "native", "slices are thick"),
        # A grid that all share.
        ([(1.0, 1.0, 1.0)] * 2, False, 1.0, "scans of 1 x 1 x 1 mm"),
        ([(0.5, 0.5, 4.0)] * 2, False, 1.0, "median voxel"),
        ([(0.1, 0.1, 0.1)], False, 0.2, "median voxel"),
        # Nothing is known of a DICOM series yet.
        ([(), ()], True, "native", "not known before"),
        ([()], False, 1.0, "not known before"),
        ([(), (2.0, 2.0, 2.0)], False, 2.0, "2 x 2 x 2 mm"),
    ],
)
def test_voxels_of_the_targets_decide(voxels, native, expected, words):
    found = spacing.planned(scans(*voxels), native)
    assert found.spacing == expected and words in found.because


def test_a_study_has_the_grid_in_its_configuration_and_says_why(two_sessions):
    made = two_sessions()(preprocess={"spacing": "auto"})
    voxel = made.pairs["sub-1"].target.voxel
    expected = spacing.planned(scans(voxel), True)
    assert made.config["preprocess"]["spacing"] == made.grid.spacing == expected.spacing == "native"
    assert made.grid.because == expected.because
    assert made.working_grid(made.pairs["sub-1"].target) == (
        list(made.pairs["sub-1"].target.shape), list(voxel)
    )  # fmt: skip
    # What jobs are handed stands.
    again = two_sessions()(preprocess={"spacing": 1.5})
    assert again.grid is None and again.config["preprocess"]["spacing"] == 1.5


def test_without_pairs_or_in_a_template_the_grid_is_shared(two_sessions, tmp_path):
    made = two_sessions()(preprocess={"spacing": "auto"}, pairing="unpaired", methods=["cyclegan"])
    assert isinstance(made.grid.spacing, float)
    for name in ("image", "mask"):
        (tmp_path / f"{name}.nii.gz").touch()
    template = {name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "mask")}
    made = two_sessions()(preprocess={"spacing": "auto", "template": template})
    assert isinstance(made.grid.spacing, float)
