"""Methods that see whole slices, or a source coarser than the target: what they learn from and what they predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from upfield import methods
from upfield.files import read_json, read_tsv
from upfield.image.nifti import SAME
from upfield.methods import Method, model
from upfield.patches import Patches, Sampling, Store, write_store
from upfield.predict import inference
from upfield.study.config import method_settings
from upfield.training.run import patch_shape, train_model

from tests.unit import test_training

SMALL = {
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 4},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4},
    "srdcgan": {"width": 2, "factor": 4},
    "srgan3d": {"factor": 2, "filters": 4, "blocks": 1, "discriminator_base": 2, "discriminator_dense": 4},
}
PATCHES = {
    "size": 8,
    "per_volume": 3,
    "slices": 4,
    "slice_size": None,
    "per_volume_val": 2,
    "foreground": 0.9,
    "brain_share": 0.0,
}
TRAIN = test_training.TRAIN | {"epochs": 2}
SCALES = {"srdcgan": (4, 4, 1), "srgan3d": (2, 2, 2)}
# In-plane sizes differ from person to person and are no multiples of 16; they are multiples of 4, as preprocessing
# makes them for these scales.
SHAPES = [(40, 44, 12), (36, 52, 8), (32, 40, 12)]


pytestmark = pytest.mark.usefixtures("one_thread")


def volume(number):
    """Source, target and mask: an ellipsoid with stripes, and what a poor scanner makes of it."""
    shape = SHAPES[number]
    where = (np.indices(shape) + 0.5 - np.array(shape)[:, None, None, None] / 2) / np.array(shape)[:, None, None, None]
    mask = (where**2).sum(axis=0) < 0.16
    target = np.where(mask, 0.5 + 0.4 * np.sin(np.arange(shape[0]) / 2)[:, None, None], -0.05)
    return (0.6 * target + 0.1).astype(np.float32), target.astype(np.float32), mask


def reduced(image, scale):
    """RunningMean over blocks."""
    x, y, z = (size // factor for size, factor in zip(image.shape, scale, strict=True))
    return image.reshape(x, scale[0], y, scale[1], z, scale[2]).mean(axis=(1, 3, 5))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = [folder / f"sub-{number}.safetensors" for number in range(len(SHAPES))]
    for number, path in enumerate(paths):
        source, target, mask = volume(number)
        write_store(path, source, target, mask, 1.0, {scale: reduced(target, scale) for scale in SCALES.values()})
    return {"train": [str(path) for path in paths[:2]], "val": [str(paths[2])]}


def train(folder, name, stores, slice_size=None, **options):
    """Train a small model; returns what previews show."""
    previews = []
    settings = method_settings({"method_overrides": {name: {"batch_size": 2, **SMALL[name]}}}, name)
    train_model(
        Path(folder),
        method=name,
        version=1,
        settings=settings,
        train=TRAIN | options,
        patches=PATCHES | {"slice_size": slice_size},
        stores=stores,
        card={"fold": "0", "split_sha": "abc"},
        preview=lambda epoch, panels: previews.append(panels),
    )
    return previews


class Recorder(Method):
    """A method that enlarges by repeating voxels, and remembers the inputs it was shown."""

    def __init__(self, dims=3, divisor=1, function=lambda x: x, scale=(1, 1, 1)):
        super().__init__()
        self.dims, self.divisor, self.function, self.scale, self.seen = dims, divisor, function, scale, []

    def forward(self, source):
        self.seen.append(source.clone())
        result = self.function(source)
        for axis, factor in enumerate(self.scale[: self.dims], start=2):
            result = result.repeat_interleave(factor, dim=axis)
        return result


def enhance(method, source, **options):
    defaults = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False}
    return inference.enhance([method], source, **defaults | options)


# -- slices --------------------------------------------------------------------------------------------------------


def test_slice_is_as_large_as_the_largest_and_a_multiple_of_the_divisor():
    method = Recorder(dims=2, divisor=16)
    assert patch_shape(method, None, SHAPES) == (48, 64, 1)
    assert patch_shape(Recorder(dims=2), None, SHAPES) == (40, 52, 1)
    assert patch_shape(method, 40, SHAPES) == (48, 48, 1)
    assert patch_shape(Recorder(divisor=16), 8, SHAPES) == (16, 16, 16)


def test_slices_are_whole_and_padded_centrally(stores):
    patches = Patches([Store(path) for path in stores["train"]], Sampling((48, 64, 1), 12, 0.9, 1), 0)
    drawn = set()
    for index in range(len(patches)):
        which, corner = patches.place(index)
        source, target, mask = volume(which)
        drawn.add((which, corner[2]))
        for key, whole, background in (("source", source, source[0, 0, 0]), ("target", target, target[0, 0, 0]),
                                       ("mask", mask, 0)):  # fmt: skip
            expected = np.full((48, 64), background, np.float32)
            x, y = (48 - whole.shape[0]) // 2, (64 - whole.shape[1]) // 2
            expected[x : x + whole.shape[0], y : y + whole.shape[1]] = whole[:, :, corner[2]]
            np.testing.assert_array_equal(patches[index][key][0, :, :, 0].numpy(), expected)
    assert len(drawn) > 8, "slices from all over"


@pytest.mark.parametrize("name", ["lohiresgan", "cyclegan"])
def test_method_of_slices_learns_validates_and_shows_itself(name, stores, tmp_path):
    previews = train(tmp_path, name, stores)
    history, card = read_tsv(tmp_path / "history.tsv"), read_json(tmp_path / "model.json")
    # Two volumes of 4 slices in batches of 2.
    assert history["step"].tolist() == [4, 8]
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    divisor = {"lohiresgan": 16, "cyclegan": 4}[name]
    assert card["patch"] == [-(-40 // divisor) * divisor, -(-52 // divisor) * divisor, 1]
    source, target, _ = volume(2)
    for panels in previews:
        assert {key: panel.shape for key, panel in panels.items()} == dict.fromkeys(panels, (32, 40))
        if name == "cyclegan":
            assert list(panels) == ["A", "A→B", "A→B→A", "B", "B→A", "B→A→B"]
        first, real = ("A", "B") if name == "cyclegan" else ("input", "target")
        np.testing.assert_array_equal(panels[first], source[:, :, 5])
        np.testing.assert_array_equal(panels[real], target[:, :, 5])
    method, _ = model.load(tmp_path)
    assert enhance(method, source).shape == source.shape


@pytest.mark.parametrize("name", ["lohiresgan", "cyclegan"])
def test_method_can_learn_from_pieces_of_slices(name, stores, tmp_path, monkeypatch):
    read, shapes = Store.read, {}

    def recorded(store, corner, shape, scale=SAME):
        shapes.setdefault(store.name, []).append(tuple(shape))
        return read(store, corner, shape, scale)

    monkeypatch.setattr(Store, "read", recorded)
    train(tmp_path, name, stores, slice_size=32, epochs=1, preview_every=0)
    assert set(shapes["sub-0"]) == set(shapes["sub-1"]) == {(32, 32, 1)}
    assert set(shapes["sub-2"]) == {(48, 64, 1) if name == "lohiresgan" else (40, 52, 1)}, "validation: whole slices"
    assert read_json(tmp_path / "model.json")["patch"] == [32, 32, 1]
    history = read_tsv(tmp_path / "history.tsv")
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()


@pytest.mark.parametrize("slices", [1, 8, 19])
def test_volume_is_predicted_slice_by_slice(slices):
    source = np.random.default_rng(0).normal(size=(13, 18, slices)).astype(np.float32)
    method = Recorder(dims=2, divisor=8, function=lambda x: 2 * x + x.amin((1, 2, 3), keepdim=True))
    result = enhance(method, source)
    assert [tuple(part.shape[1:]) for part in method.seen] == [(1, 16, 24)] * -(-slices // inference.SLICES)
    lowest = np.minimum(source.min(axis=(0, 1)), source[0, 0, 0])
    np.testing.assert_allclose(result, 2 * source + lowest, rtol=1e-6)


def test_mirrored_slices_are_averaged():
    source = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    method = Recorder(dims=2, function=lambda x: x + torch.arange(6.0)[:, None])
    np.testing.assert_allclose(enhance(method, source, tta=True), source + 2.5, rtol=1e-5)


@pytest.mark.parametrize("name", ["lohiresgan", "cyclegan"])
def test_slice_does_not_depend_on_its_neighbours(name):
    torch.manual_seed(0)
    method = methods.build(method_settings({"method_overrides": {name: SMALL[name]}}, name))
    source = volume(0)[0]
    other = source.copy()
    other[:, :, 6:] = 0
    np.testing.assert_allclose(enhance(method, source)[:, :, :6], enhance(method, other)[:, :, :6], atol=1e-5)


# -- two grids -----------------------------------------------------------------------------------------------------


def test_patch_is_a_multiple_of_what_source_and_networks_need():
    assert patch_shape(Recorder(dims=2, divisor=3, scale=(4, 4, 1)), None, SHAPES) == (48, 60, 1)
    assert patch_shape(Recorder(divisor=3, scale=(2, 4, 1)), 20, [(40, 44, 30)]) == (24, 24, 21)


def test_patch_of_a_slab_is_no_thicker_than_the_slab():
    assert patch_shape(Recorder(divisor=8), 32, SHAPES) == (32, 32, 16)
    needs_more = Recorder(divisor=8)
    needs_more.smallest_patch = 24
    assert patch_shape(needs_more, 32, SHAPES) == (32, 32, 24)


@pytest.mark.parametrize("shape", [(8, 8, 8), (48, 64, 4)])
@pytest.mark.parametrize("scale", SCALES.values())
def test_source_patch_covers_its_target_patch(stores, shape, scale):
    patches = Patches([Store(path) for path in stores["train"]], Sampling(shape, 10, 0.7, 1, scale), 0)
    for index in range(len(patches)):
        which, corner = patches.place(index)
        assert all(c % factor == 0 for c, factor in zip(corner, scale, strict=True))
        patch = patches[index]
        assert tuple(patch["target"].shape[1:]) == shape
        # The source of these stores is the mean of the target over blocks; what is beyond the volume differs.
        x, y, z = (slice(max(-c, 0), size - c) for c, size in zip(corner, SHAPES[which], strict=True))
        a, b, c = (slice(s.start // f, s.stop // f) for s, f in zip((x, y, z), scale, strict=True))
        expected = reduced(patch["target"][0].numpy(), scale)[a, b, c]
        np.testing.assert_allclose(patch["source"][0, a, b, c].numpy(), expected, atol=1e-6)


def test_store_without_the_scale_is_refused(stores, refused):
    with refused("no source of scale (3, 3, 3)", "patches"):
        Store(stores["train"][0]).read((0, 0, 0), (6, 6, 6), (3, 3, 3))


@pytest.mark.parametrize("name", SCALES)
def test_enlarging_method_learns_validates_and_shows_itself(name, stores, tmp_path):
    previews = train(tmp_path, name, stores)
    history, card = read_tsv(tmp_path / "history.tsv"), read_json(tmp_path / "model.json")
    assert len(history) == 2
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    scale = SCALES[name]
    assert card["scale"] == list(scale)
    assert card["patch"] == ([40, 52, 1] if name == "srdcgan" else [8, 8, 8])
    _, target, _ = volume(2)
    small = reduced(target, scale)
    middle = 5 if name == "srdcgan" else 6
    for panels in previews:
        assert {key: panel.shape for key, panel in panels.items()} == dict.fromkeys(panels, (32, 40))
        np.testing.assert_array_equal(panels["target"], target[:, :, middle])
        enlarged = small[:, :, middle // scale[2]].repeat(scale[0], 0).repeat(scale[1], 1)
        np.testing.assert_allclose(panels["input"], enlarged, atol=1e-6)
    method, _ = model.load(tmp_path)
    assert enhance(method, small).shape == target.shape


@pytest.mark.parametrize("window", [None, 4, 8])
@pytest.mark.parametrize("scale", [(2, 2, 2), (4, 4, 4), (4, 4, 1)])
def test_enlarged_windows_fit_together(scale, window):
    source = np.random.default_rng(0).normal(size=(9, 13, 7)).astype(np.float32)
    method = Recorder(divisor=2, scale=scale)
    expected = source
    for axis, factor in enumerate(scale):
        expected = expected.repeat(factor, axis)
    result = enhance(method, source, window=window)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_enlarged_slices_keep_their_places():
    source = np.random.default_rng(0).normal(size=(5, 7, 11)).astype(np.float32)
    result = enhance(Recorder(dims=2, divisor=4, scale=(4, 4, 1)), source, tta=True)
    np.testing.assert_allclose(result, source.repeat(4, 0).repeat(4, 1), rtol=1e-6)


def test_enlarging_network_looks_the_same_tiled_or_whole():
    """A generator of the size it is trained with, its statistics those of real batches."""
    torch.manual_seed(1)
    overrides = {"srgan3d": {**SMALL["srgan3d"], "filters": 8}}
    method = methods.build(method_settings({"method_overrides": overrides}, "srgan3d"))
    torch.nn.init.normal_(method.generator[-1].weight, std=0.1)
    method.train()
    with torch.no_grad():
        for _ in range(20):
            method(torch.rand(2, 1, 8, 8, 8))
    steps = [np.linspace(0, 1, size, dtype=np.float32) for size in (56, 40, 44)]
    ramp = (steps[0][:, None, None] + steps[1][:, None] + steps[2]) / 3
    whole, tiled = (enhance(method, ramp, window=window) for window in (None, 32))
    assert np.sqrt(((tiled - whole) ** 2).mean()) < 0.01 * whole.std()


def test_memory_of_an_enlarging_network_is_probed_small(monkeypatch):
    source = np.zeros((40, 36, 38), np.float32)
    # For each voxel of the source the output has 64 of 4 bytes.
    monkeypatch.setattr(inference, "free_memory", lambda *_: int(4 * 64 * 34.5**3 / inference.MEMORY_SHARE))
    method = Recorder(scale=(4, 4, 4))
    assert enhance(method, source).shape == (160, 144, 152)
    probe, *windows = (tuple(seen.shape[2:]) for seen in method.seen)
    assert probe == (8, 8, 8)
    assert set(windows) == {(34, 34, 34)}
