"""Methods that see whole slices, or a source coarser than the target: what they learn from and what they predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from upfield import inference, methods, model
from upfield.config import method_settings
from upfield.files import read_json, read_tsv
from upfield.methods import Method
from upfield.patches import Patches, Sampling, Store, write_store
from upfield.training.run import patch_shape, train_model

SMALL = {
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 4},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4},
}
PATCHES = {"size": 8, "per_volume": 3, "slices": 4, "per_volume_val": 2, "foreground": 0.9}
TRAIN = {"epochs": 2, "seed": 7, "device": "cpu", "precision": "fp32", "max_steps": None, "save_every": 1}
# In-plane sizes differ from person to person and are no multiples of any network's divisor.
SHAPES = [(40, 44, 12), (36, 52, 8), (32, 40, 12)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose more by waiting for a second thread than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def volume(number):
    """Source, target and mask: an ellipsoid with stripes, and what a poor scanner makes of it."""
    shape = SHAPES[number]
    where = (np.indices(shape) + 0.5 - np.array(shape)[:, None, None, None] / 2) / np.array(shape)[:, None, None, None]
    mask = (where**2).sum(axis=0) < 0.16
    target = np.where(mask, 0.5 + 0.4 * np.sin(np.arange(shape[0]) / 2)[:, None, None], -0.05)
    return (0.6 * target + 0.1).astype(np.float32), target.astype(np.float32), mask


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = [folder / f"sub-{number}.safetensors" for number in range(len(SHAPES))]
    for number, path in enumerate(paths):
        write_store(path, *volume(number), 1.0)
    return {"train": [str(path) for path in paths[:2]], "val": [str(paths[2])]}


def train(folder, name, stores, seen=None, **options):
    """Train a small model; `seen` collects the shapes of the batches."""
    previews = []
    settings = method_settings({"method_overrides": {name: {"batch_size": 2, **SMALL[name]}}}, name)
    train_model(
        Path(folder),
        method=name,
        version=1,
        settings=settings,
        train=TRAIN | options,
        patches=PATCHES,
        stores=stores,
        card={"fold": "0", "split_sha": "abc"},
        preview=lambda epoch, panels: previews.append(panels),
    )
    return previews


class Recorder(Method):
    """A method that enlarges by repeating voxels, and remembers the inputs it was shown."""

    def __init__(self, dims=3, divisor=1, function=lambda x: x):
        super().__init__()
        self.dims, self.divisor, self.function, self.seen = dims, divisor, function, []

    def forward(self, source):
        self.seen.append(source.clone())
        return self.function(source)


def enhance(method, source, **options):
    defaults = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False}
    return inference.enhance([method], source, **defaults | options)


# -- slices --------------------------------------------------------------------------------------------------------


def test_slice_is_as_large_as_the_largest_and_a_multiple_of_the_divisor():
    method = Recorder(dims=2, divisor=16)
    assert patch_shape(method, 8, SHAPES) == (48, 64, 1)
    assert patch_shape(Recorder(dims=2), 8, SHAPES) == (40, 52, 1)
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
        np.testing.assert_array_equal(panels["input"], source[:, :, 5])
        np.testing.assert_array_equal(panels["truth"], target[:, :, 5])
    method, _ = model.load(tmp_path)
    assert enhance(method, source).shape == source.shape


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
