"""The space of a template: who gets there, how near, in how many interpolations, and back."""

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
import yaml
from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.files import merged, read_json
from upfield.image import nifti, transforms
from upfield.image.nifti import Volume
from upfield.phantom import anatomy
from upfield.preprocess import derivatives, register, standardize, template
from upfield.preprocess import grid as grids
from upfield.study import config, designs

SETTINGS = {"spacing": 2.5, "normalize": {"method": "percentile"}}
# From the template's world to the person's: a nod of 8 degrees, a turn of 12, and a brain shifted by 20 mm.
TURNED = np.eye(4)
TURNED[:3, :3] = anatomy.rotation(np.array([8.0, -5, 12]))
TURNED[:3, 3] = 12, -15, 8
# The same of a brain that is smaller along one axis, larger along another, and sheared.
STRETCHED = TURNED @ np.array([[0.94, 0.03, 0, 0], [0, 1.05, 0, 0], [0, 0.02, 0.98, 0], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def icbm(tmp_path_factory):
    """Paths of the ICBM152 average brain at 2.5 mm and of its mask."""
    folder = tmp_path_factory.mktemp("template")
    shipped = importlib.resources.files("nilearn") / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    whole = nifti.load(str(shipped))
    small = nifti.resample(whole, nifti.regrid(whole, 2.5))
    nifti.save(small, folder / "T1w.nii.gz")
    nifti.save(small.with_data(small.data > 20), folder / "mask.nii.gz", np.uint8)
    return str(folder / "T1w.nii.gz"), str(folder / "mask.nii.gz")


def write_person(icbm, folder, name, truth, contrast=0.7):
    """The template's brain as somebody's scan, of another contrast, on an oblique and flipped grid: image and mask."""
    image, mask = nifti.load(icbm[0]), nifti.load_mask(icbm[1])
    grid = nifti.regrid(image, (2.5, 3.0, 2.5))
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = grid.shape[0] - 1
    grid = nifti.Grid(grid.shape, TURNED @ grid.affine @ flip)
    back = np.linalg.inv(truth)
    moved = nifti.resample(image, grid, back, order=3)
    noise = np.random.default_rng(1).normal(0, 3, moved.data.shape)
    bent = (np.clip(moved.data, 0, None) ** contrast * 10 + noise).astype(np.float32)
    files = str(folder / f"{name}_T1w.nii.gz"), str(folder / f"{name}_desc-brain_mask.nii.gz")
    nifti.save(moved.with_data(bent), files[0])
    nifti.save(moved.with_data(nifti.mask_on(mask, grid, back)), files[1], np.uint8)
    return files


def registered(person, icbm, folder, kind):
    """Paths of the transforms from a person to the template and back."""
    extension = transforms.EXTENSIONS[kind]
    outputs = tuple(str(folder / f"from-{a}_to-{b}_xfm{extension}") for a, b in (("target", "T"), ("T", "target")))
    register.register_to_template(*person, *icbm, *outputs, {"transform": kind, "seed": 42}, "target", "T")
    return outputs


def distance(found, truth, mask):
    """Mean distance in the brain, mm."""
    points = transforms.apply_matrix(mask.affine, np.argwhere(mask.data > 0)[::50].T)
    return np.linalg.norm(transforms.move(found, points) - transforms.move(truth, points), axis=0).mean()


@pytest.mark.parametrize(("kind", "truth"), [("rigid", TURNED), ("affine", STRETCHED), ("syn", STRETCHED)])
def test_known_way_to_the_template_is_recovered(icbm, tmp_path, kind, truth):
    person = write_person(icbm, tmp_path, "sub-01", truth)
    paths = registered(person, icbm, tmp_path, kind)
    forward, inverse = (nifti.read_transform(path) for path in paths)
    mask = nifti.load_mask(icbm[1])
    assert distance(np.eye(4), truth, mask) > 15
    assert distance(forward, truth, mask) < 0.5
    own = nifti.load_mask(person[1])
    assert distance(inverse, np.linalg.inv(truth), own) < 0.5
    assert distance([inverse, forward], np.eye(4), own) < 0.2
    assert "Excluded" not in read_json(sidecar(tmp_path / "from-target_to-T_xfm.json"))
    if kind == "affine":
        (tmp_path / "again").mkdir()
        again = registered(person, icbm, tmp_path / "again", kind)
        assert [Path(path).read_bytes() for path in again] == [Path(path).read_bytes() for path in paths]


@pytest.fixture
def pair(icbm, tmp_path):
    """A target in its own world, its source displaced in it, their masks, and the exact transforms of both."""
    target = write_person(icbm, tmp_path, "sub-01_ses-high", STRETCHED)
    displaced = np.eye(4)
    displaced[:3, :3] = anatomy.rotation(np.array([-3.0, 4, 6]))
    displaced[:3, 3] = -4, 6, 3
    source = write_person(icbm, tmp_path, "sub-01_ses-low", displaced @ STRETCHED, contrast=1.2)
    paths = {name: str(tmp_path / f"{name}_xfm.txt") for name in ("transform", "to_template", "from_template")}
    for name, matrix in zip(paths, (displaced, STRETCHED, np.linalg.inv(STRETCHED)), strict=True):
        transforms.write_matrix(paths[name], matrix)
    return source, target, paths


def test_source_and_target_meet_in_the_template_in_one_interpolation(icbm, pair, tmp_path, monkeypatch):
    source, target, paths = pair
    calls = []
    resample = nifti.resample

    def counted(volume, grid, transform=None, order=1, **options):
        calls.extend([order] if order == 3 else [])
        return resample(volume, grid, transform, order, **options)

    monkeypatch.setattr(nifti, "resample", counted)
    outputs = [str(tmp_path / f"{name}_space-T_desc-preproc_T1w.nii.gz") for name in ("source", "target")]
    for files, transform, output in zip((source, target), (paths["transform"], None), outputs, strict=True):
        standardize.standardize(*files, icbm[1], output, SETTINGS, transform, to_template=paths["to_template"])
    assert calls == [3, 3], "one cubic interpolation for each scan"
    low, high = (nifti.load(path) for path in outputs)
    average, mask = nifti.load(icbm[0]), nifti.load_mask(icbm[1])
    grid = grids.working_grid(mask, 2.5)
    assert low.grid.matches(grid) and high.grid.matches(grid), "the grid of the template's brain, for everybody"
    inside = nifti.mask_on(mask, grid)
    expected = resample(average, grid).data[inside]
    for image in (low, high):
        assert np.corrcoef(image.data[inside], expected)[0, 1] > 0.95
    # What a chain of matrices does, their product does.
    product = transforms.read_matrix(paths["transform"]) @ transforms.read_matrix(paths["to_template"])
    once, scaling = grids.normalized(
        nifti.load(source[0]), nifti.load_mask(source[1]).data, grid, product, "percentile", grids.SOURCE_MARGIN
    )
    np.testing.assert_allclose(low.data, once.data, atol=1e-5)
    # It is sharper than a source that stops at the target on its way.
    stripped = nifti.load(source[0]).with_data(nifti.load(source[0]).data * nifti.load_mask(source[1]).data)
    halfway = resample(stripped, nifti.load(target[0]).grid, transforms.read_matrix(paths["transform"]), 3)
    twice = scaling.apply(resample(halfway, grid, transforms.read_matrix(paths["to_template"]), 3).data)
    core = nifti.mask_on(mask.with_data(nifti.dilated(mask.with_data(~mask.data), 6) == 0), grid)
    texture = [np.abs(np.diff(data, axis=0))[core[1:]].mean() for data in (low.data, twice)]
    assert texture[0] > 1.01 * texture[1]
    assert read_json(sidecar(outputs[0]))["SpatialReference"].endswith("mask.nii.gz")
    assert [path.rsplit("/", 1)[-1] for path in read_json(sidecar(outputs[0]))["Sources"]][2:] == [
        "transform_xfm.txt",
        "to_template_xfm.txt",
    ]


def test_there_and_back_changes_little(icbm, pair, tmp_path):
    """A prediction that equals the preprocessed target comes back as the target."""
    _, target, paths = pair
    output = str(tmp_path / "target_space-T_desc-preproc_T1w.nii.gz")
    fine = {**SETTINGS, "spacing": 1.5}
    standardize.standardize(*target, icbm[1], output, fine, to_template=paths["to_template"])
    native, mask = nifti.load(target[0]), nifti.load_mask(target[1])
    scaling = derivatives.scaling_of(output)
    there = nifti.load(output)
    back = nifti.resample(
        there.with_data(scaling.invert(there.data)), native.grid, nifti.read_transform(paths["from_template"]), order=3
    )
    core = nifti.dilated(mask.with_data(~mask.data), 4) == 0
    assert np.abs(back.data - native.data)[core].mean() < 0.01 * native.data[core].mean()


def test_brains_that_the_template_cannot_hold_are_refused(icbm, tmp_path):
    average = nifti.load(icbm[0])
    slab = Volume(average.data[:, :, 40:60], average.affine)
    with pytest.raises(ScanError, match="a few slices"):
        template.fits(average, slab, np.eye(4))
    template.fits(average, average, np.eye(4))
    aside = np.eye(4)
    aside[0, 3] = 30
    with pytest.raises(ScanError, match=r"\d+% of the brain lies beyond"):
        template.fits(average, average, aside)
    # Nobody stops for it: the reason stands beside the transform.
    person = write_person(icbm, tmp_path, "sub-01", TURNED)
    tiny = str(tmp_path / "tiny.nii.gz"), str(tmp_path / "tiny_mask.nii.gz")
    shrunk = np.diag([0.5, 0.5, 0.5, 1])
    nifti.save(Volume(average.data, shrunk @ average.affine), tiny[0])
    nifti.save(Volume(nifti.load_mask(icbm[1]).data, shrunk @ average.affine), tiny[1], np.uint8)
    forward, _ = registered(person, tiny, tmp_path, "rigid")
    assert "beyond the working grid" in read_json(sidecar(forward))["Excluded"]


# -- what a study may say --------------------------------------------------------------------------------------------


def study(**changes):
    return merged(yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text()), changes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "MNI305", "image": "a.nii.gz"}, ["preprocess.template.name is MNI305", "template.image", "too"]),
        ({"image": "a.nii.gz"}, ["preprocess.template.mask is not set"]),
        ({"mask": "a.nii.gz"}, ["preprocess.template.image is not set"]),
        ({"image": "nowhere.nii.gz", "mask": "n.nii.gz"}, ["preprocess.template.image is nowhere.nii.gz", "no file"]),
    ],
)
def test_contradictions_are_named(refused, given, words):
    with refused(*words):
        template.check(study(preprocess={"template": given}))


def test_what_a_template_does_not_go_with_is_named(refused):
    named = {"template": {"name": "MNI152NLin2009cAsym"}}
    template.check(study(preprocess=named))
    with refused("preprocess.spacing", "native"):
        template.check(study(preprocess={**named, "spacing": "native"}))
    with refused("preprocess.template", "unpaired"):
        designs.known()["unpaired"].check(study(preprocess=named, pairing="unpaired"))
    with refused("preprocess.template.name", "MNI-152"):
        config.check_schema(study(preprocess={"template": {"name": "MNI-152"}}))


# -- TemplateFlow ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(icbm, tmp_path, monkeypatch):
    """A folder of TemplateFlow with one template, and no network beyond it."""
    folder = tmp_path / "templateflow"
    own = folder / "tpl-ICBM"
    own.mkdir(parents=True)
    for name, path in (("T1w", icbm[0]), ("desc-brain_mask", icbm[1])):
        (own / f"tpl-ICBM_res-01_{name}.nii.gz").write_bytes(Path(path).read_bytes())
        (own / f"tpl-ICBM_res-02_{name}.nii.gz").write_bytes(b"another")
    # Known, but never downloaded: TemplateFlow's stubs are empty.
    (folder / "tpl-MNI152Lin").mkdir()
    for name in ("T1w", "desc-brain_mask"):
        (folder / "tpl-MNI152Lin" / f"tpl-MNI152Lin_res-01_{name}.nii.gz").touch()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder))

    def offline(*_, **__):
        import requests

        raise requests.ConnectionError("no network")

    monkeypatch.setattr("requests.get", offline)
    return folder


def test_template_comes_from_the_cache(cache, icbm, tmp_path):
    outputs = tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"
    template.fetch("ICBM", *outputs)
    assert [path.read_bytes() for path in outputs] == [Path(path).read_bytes() for path in icbm]


def test_without_network_one_line_says_what_to_do(cache, tmp_path, refused):
    with refused("preprocess.template.name is MNI152Lin", "TEMPLATEFLOW_HOME", "network", "res-01_T1w"):
        template.fetch("MNI152Lin", tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz")
    assert not (tmp_path / "image.nii.gz").exists()
    with refused("preprocess.template.name is Nobody", "0 images"):
        template.fetch("Nobody", tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz")
