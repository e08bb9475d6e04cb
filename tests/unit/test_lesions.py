"""Synthetic lesions: where they are, what they weigh, and that the test tells keeping from painting over."""

import numpy as np
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.evaluate import lesions
from upfield.evaluate.lesions import CONTRASTS, GAP, LESIONS, RADII, Lesion
from upfield.files import write_json
from upfield.image import nifti
from upfield.image.nifti import Grid, Volume
from upfield.preprocess.derivatives import landmarks_of

AFFINE = np.array([[-1.5, 0, 0, 60], [0, 1.5, 0.2, -50], [0, -0.2, 2, -40], [0, 0, 0, 1]])
AFFINE_OF_SOURCE = np.array([[2.0, 0, 0, -60], [0, 2, 0, -60], [0, 0, 3, -60], [0, 0, 0, 1]])
GRID = Grid((72, 70, 52), AFFINE)
WHO = {"participant": "sub-01", "fold": "0", "seeds": {}, "seed": 1, "run": None}


def brain():
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    return Volume(sum(a**2 for a in axes) < 0.75, AFFINE)


def test_a_profile_holds_the_volume_of_its_ball_and_sits_where_it_should():
    lesion = Lesion((3.0, -2.0, 8.0), 6.0, 0.3)
    profile = lesion.profile(GRID)
    volume = profile.sum() * abs(np.linalg.det(AFFINE[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)
    centre = AFFINE @ [*(np.argwhere(profile > 0).T @ profile[profile > 0] / profile.sum()), 1]
    assert centre[:3] == pytest.approx(lesion.centre, abs=0.05)
    assert profile.max() == 1 and profile.min() == 0


def test_lesions_lie_in_the_brain_apart_from_each_other_and_are_repeatable():
    mask = brain()
    placed = lesions.place(mask, 1, "sub-01")
    assert [(lesion.radius, lesion.contrast) for lesion in placed] == [(r, c) for r in RADII for c in CONTRASTS]
    for number, lesion in enumerate(placed):
        assert not (lesion.profile(GRID) > 0)[~mask.data].any()
        for other in placed[:number]:
            gap = np.linalg.norm(np.subtract(lesion.centre, other.centre)) - lesion.radius - other.radius
            assert gap >= GAP - 1e-6
    assert placed == lesions.place(mask, 1, "sub-01")
    assert placed != lesions.place(mask, 2, "sub-01") and placed != lesions.place(mask, 1, "sub-02")


def test_a_brain_without_room_has_fewer_lesions():
    small = Volume(ndimage.binary_erosion(brain().data, iterations=18), AFFINE)
    assert 0 < len(lesions.place(small, 1, "sub-01")) < 6
    assert lesions.place(small.with_data(small.data & False), 1, "sub-01") == []


def test_insertion_follows_the_world_through_a_transform():
    matrix = np.eye(4)
    matrix[:3, 3] = 5.0, -3.0, 2.0  # from the world of the target to that of the source
    lesion = Lesion((0.0, 4.0, 1.0), 6.0, 0.5)
    source = Volume(np.full((60, 60, 40), 100, np.float32), AFFINE_OF_SOURCE)
    change = lesions.field([lesion], GRID)
    found = lesions.insert(source, change, np.linalg.inv(matrix))
    extra = found.data - 100.0
    centre = source.affine @ [*(np.argwhere(extra > 0.5).T @ extra[extra > 0.5] / extra[extra > 0.5].sum()), 1]
    assert centre[:3] == pytest.approx(np.add(lesion.centre, matrix[:3, 3]), abs=0.3)
    mass = 50 * change.data.sum() / 0.5 * abs(np.linalg.det(AFFINE[:3, :3]))
    assert extra.sum() * 12 == pytest.approx(mass, rel=0.03)


@pytest.fixture
def pair(tmp_path):
    """A source and a target of one head, preprocessed with known numbers."""
    mask = brain()
    random = np.random.default_rng(0)
    head = 100 + 40 * ndimage.gaussian_filter(random.normal(size=GRID.shape), 3) * 20
    names = ("source", "target", "source_mask", "target_mask", "source_preproc", "target_preproc")
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in names}
    files |= {name: str(tmp_path / f"{name}.txt") for name in ("transform", "inverse")}
    for name in names:
        data = mask.data if name.endswith("mask") else np.where(mask.data, head * (2 if "target" in name else 1), 0)
        nifti.save(Volume(data.astype(np.float32), AFFINE), files[name])
        write_json(
            sidecar(files[name]), {"IntensityOffset": 0.0, "IntensityScale": 200.0 if "target" in name else 100.0}
        )
    for name in ("transform", "inverse"):
        nifti.write_transform(files[name], np.eye(4))
    return files


MARKS = [0.0, 0.4, 1.0]


def run(pair, tmp_path, monkeypatch, network=None):
    """The lesion test with `identity` and a network that does `network` to its input."""
    clean = str(tmp_path / "clean.nii.gz")
    nifti.save(nifti.load(pair["target"]), clean)

    def enhance(method, files, output, how):
        known = nifti.load(files.network_input[0])
        assert landmarks_of(files.network_input[0]) == MARKS, "of the clean image"
        nifti.save(known.with_data(network(known.data) * 200), output)

    monkeypatch.setattr("upfield.predict.outputs.enhance", enhance)
    known = nifti.load(pair["source_preproc"])
    nifti.save(known.with_data(known.data / 100), tmp_path / "input.nii.gz")
    write_json(tmp_path / "input.json", {"Landmarks": MARKS})
    nifti.save(known.with_data(network(known.data / 100) * 200), tmp_path / "net.nii.gz")
    return lesions.lesion_test(
        pair, {"identity": clean, "net": str(tmp_path / "net.nii.gz")}, {"net": []},
        {"net": [str(tmp_path / "input.nii.gz")]}, sidecars=[pair["source"]], **WHO,
    )  # fmt: skip


def test_a_faithful_network_keeps_lesions_and_a_careless_one_paints_over_them(pair, tmp_path, monkeypatch):
    table = run(pair, tmp_path, monkeypatch, network=lambda data: data).set_index(["method", "lesion"])
    assert list(table.reset_index()[LESIONS].columns) == LESIONS and len(table) == 12
    assert table.recovered.to_numpy() == pytest.approx(np.ones(12), abs=0.05)
    assert (np.sign(table.truth_change) == np.sign(table.contrast)).all()
    assert table.elsewhere.max() < 1e-3
    before = nifti.load(tmp_path / "input.nii.gz").data
    careless = run(pair, tmp_path, monkeypatch, network=lambda data: before).set_index(["method", "lesion"])
    assert careless.recovered["net"].abs().max() < 1e-6
    assert careless.recovered["identity"].to_numpy() == pytest.approx(np.ones(6), abs=0.05)
    half = run(pair, tmp_path, monkeypatch, network=lambda data: (data + before) / 2).set_index(["method", "lesion"])
    assert half.recovered["net"].to_numpy() == pytest.approx(np.full(6, 0.5), abs=0.05)
    smooth = run(pair, tmp_path, monkeypatch, network=lambda data: ndimage.gaussian_filter(data, 1.5))
    by_size = smooth[smooth.method == "net"].groupby("radius_mm").recovered.mean()
    assert by_size.is_monotonic_increasing and by_size.iloc[0] < 0.6


def test_an_input_in_the_space_of_a_template_has_them_at_their_place(pair, tmp_path, monkeypatch):
    """The same numbers where the networks work in another world."""
    here = run(pair, tmp_path, monkeypatch, network=lambda data: data)
    aside = np.array([[0.0, -1, 0, 20], [1, 0, 0, 30], [0, 0, 1, -10], [0, 0, 0, 1]])  # target to template
    pair = pair | {name: str(tmp_path / f"{name}.txt") for name in ("to_template", "from_template")}
    nifti.write_transform(pair["to_template"], np.linalg.inv(aside))
    nifti.write_transform(pair["from_template"], aside)
    resample = nifti.resample

    def enhance(method, files, output, how):
        """As `predict.enhance`: back by the transform from the template."""
        known = nifti.load(files.network_input[0])
        np.testing.assert_allclose(known.affine, aside @ AFFINE, atol=1e-6)
        back = resample(known, GRID, nifti.read_transform(files.from_template))
        nifti.save(back.with_data(back.data * 200), output)

    monkeypatch.setattr("upfield.predict.outputs.enhance", enhance)
    known = nifti.load(tmp_path / "input.nii.gz")
    nifti.save(Volume(known.data, aside @ known.affine), tmp_path / "input.nii.gz")
    write_json(tmp_path / "input.json", {"Landmarks": MARKS})
    there = lesions.lesion_test(
        pair, {"net": str(tmp_path / "net.nii.gz")}, {"net": []}, {"net": [str(tmp_path / "input.nii.gz")]},
        sidecars=[pair["source"]], **WHO,
    )  # fmt: skip
    expected = here.query("method == 'net'")["recovered"].to_numpy()
    assert there["recovered"].to_numpy() == pytest.approx(expected, abs=0.02)


def test_an_excluded_pair_has_no_lesions(pair, tmp_path):
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})
    table = lesions.lesion_test(pair, {}, {}, {}, sidecars=[str(tmp_path / "bad.nii.gz")], **WHO)
    assert table.empty and list(table.columns) == LESIONS
