"""Heads, where a study enhances more than brains: what is head, and what becomes of it on the way to an output."""

import numpy as np
import pytest
from upfield.bids import sidecar
from upfield.files import read_json
from upfield.image import nifti
from upfield.patches import Store, store
from upfield.preprocess import derivatives, head, standardize
from upfield.quality.pair import dice
from upfield.simulation import degradation
from upfield.study.requirements import check_region

SETTINGS = {"spacing": 2.0, "normalize": {"method": "percentile"}}
NOISY = {"kind": "lowfield", "factor": 1.0, "thickness": 3.0, "contrast": 0.7, "bias": 0.2, "noise": 0.1, "seed": 1}
PREPROCESS = {"region": "head", "template": {"name": None, "image": None, "mask": None}}


@pytest.fixture(scope="module")
def scanned(head):
    """The phantom's scan, what is head of it, and its brain: on one grid."""
    return head.high, head.labels.data > 0, head.brain


def test_a_head_is_all_that_is_not_air(scanned):
    scan, truth, brain = scanned
    found = head.head_mask(scan, brain.data > 0)
    assert dice(found, truth) > 0.97
    assert not (brain.data > 0)[~found].any()


def test_noise_in_the_air_is_no_head(scanned):
    scan, truth, brain = scanned
    noisy = nifti.resample(degradation.degrade(scan, NOISY, "sub-01"), scan.grid)
    assert dice(head.head_mask(noisy, brain.data > 0), truth) > 0.95


@pytest.fixture
def files(scanned, tmp_path):
    """Image, brain mask and head mask of a scan."""
    scan, _, brain = scanned
    image, mask, found = (str(tmp_path / f"sub-01_{name}.nii.gz") for name in ("T1w", "mask", "head"))
    nifti.save(scan, image)
    nifti.save(brain, mask, np.uint8)
    head.find_head(image, mask, found)
    return image, mask, found


def test_networks_see_the_head_with_the_intensities_of_the_brain(files, scanned, tmp_path):
    scan, truth, _ = scanned
    image, mask, found = files
    whole, cut, alone = (str(tmp_path / f"sub-01_desc-{name}_T1w.nii.gz") for name in ("whole", "cut", "alone"))
    standardize.standardize(image, mask, found, whole, SETTINGS, region=found)
    standardize.standardize(image, mask, mask, cut, SETTINGS)
    assert derivatives.scaling_of(whole) == derivatives.scaling_of(cut)
    assert [read_json(sidecar(path))["SkullStripped"] for path in (whole, cut)] == [False, True]
    shown = nifti.load(whole)
    there = nifti.mask_on(scan.with_data(truth), shown.grid)
    assert there.sum() > 0.98 * truth.sum() * np.prod(scan.grid.spacing / shown.grid.spacing), "all of it"
    background = derivatives.scaling_of(whole).background
    assert np.mean(np.abs(shown.data[there] - background) > 0.02) > 0.95
    assert nifti.load(cut).data.size < 0.7 * shown.data.size
    standardize.prepare(image, mask, alone, SETTINGS, [2.0] * 3, nifti.SAME, region=found)
    assert nifti.load(alone).grid.matches(shown.grid)
    path = tmp_path / "sub-01.safetensors"
    store.extract([whole], found, str(path), target=whole)
    assert Store(path).whole()["mask"].mean() == pytest.approx(there.mean(), rel=0.05)


def test_without_a_brain_there_is_no_head(files, scanned, tmp_path):
    image, mask, found = files
    none = scanned[2].with_data(np.zeros(scanned[2].data.shape, np.uint8))
    derivatives.save_image(none, mask, {"Excluded": "no brain"}, np.uint8)
    head.find_head(image, mask, found)
    assert derivatives.excluded(found) == "no brain" and not nifti.load_mask(found).data.any()


def test_what_has_no_head_is_refused(refused):
    check_region(PREPROCESS, "deepbet", "preprocess.brain")
    check_region(PREPROCESS | {"region": "brain"}, "none", "preprocess.brain")
    with refused("preprocess.region is head", "source.brain.method is none"):
        check_region(PREPROCESS, "none", "source.brain")
    with refused("preprocess.region is head", "preprocess.template"):
        check_region(PREPROCESS | {"template": {"name": "MNI305", "image": None, "mask": None}}, "deepbet", "x")
