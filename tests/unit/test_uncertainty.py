"""Dropout, its samples at prediction, and what several models and samples say about a prediction."""

import numpy as np
import pytest
import torch
from upfield import methods
from upfield.files import read_json, write_json
from upfield.image.nifti import Volume, load, save
from upfield.methods import Method, model
from upfield.methods.dropout import Dropout, has_dropout, sampled
from upfield.predict import inference
from upfield.predict.enhance import enhance
from upfield.study.config import method_settings

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "unet3d": {"base": 4, "levels": 1},
    "unet3d_patchgan": {"base": 4, "levels": 1, "discriminator_base": 4},
    "lohiresgan": {"base": 8, "blocks": 1, "discriminator_base": 4},
    "srdcgan": {"width": 4, "factor": 2},
    "srgan3d": {"factor": 2, "filters": 8, "blocks": 1, "discriminator_base": 4, "discriminator_dense": 8},
    "cyclegan": {"width": 8, "blocks": 1, "discriminator_width": 4},
}


def build(name, dropout):
    torch.manual_seed(0)
    method = methods.build(method_settings({"method_overrides": {name: SMALL[name] | {"dropout": dropout}}}, name))
    # The last layers start at zero, which hides everything before them.
    for weight in method.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.3)
    return method.eval()


def ensemble(found, source, **options):
    defaults = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False, "samples": 0}
    return inference.ensemble(found, source, **defaults | options)


def noise(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


class Function(Method):
    """A method that is one function."""

    def __init__(self, function, dropout=0.0):
        super().__init__()
        self.function, self.dropout = function, Dropout(dropout)

    def forward(self, source):
        return self.dropout(self.function(source))


# -- the layer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 50, 4, 4), (2, 50, 3, 3, 3)])
def test_whole_channels_are_left_out_while_training(shape):
    torch.manual_seed(0)
    output = Dropout(0.2).train()(torch.ones(shape)).flatten(2)
    assert set(output.unique().tolist()) == {0.0, 1.25}
    assert (output.amin(2) == output.amax(2)).all(), "a channel is kept or left out as a whole"
    assert 0.1 < float((output[..., 0] == 0).float().mean()) < 0.3
    assert not torch.equal(output[0], output[1]), "each image has its own"


def test_nothing_happens_in_evaluation_or_at_rate_zero():
    x = torch.rand(1, 8, 4, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    before = torch.get_rng_state()
    assert Dropout(0.0).train()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sample_is_a_function_of_its_seed():
    network = torch.nn.Sequential(Dropout(0.5), Dropout(0.5)).eval()
    x = torch.ones(3, 64, 2, 2)

    def draw(*seed):
        with sampled(network, *seed):
            return network(x)

    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3))
    assert torch.equal(draw(1, 2)[0], draw(1, 2)[2]), "the same for every image of a batch"
    assert torch.equal(network(x), x), "over after the block"
    # Two layers with the same channels left out would leave half of them, not a quarter.
    assert 0.1 < float((draw(7)[0, :, 0, 0] > 0).float().mean()) < 0.4


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_is_a_probability(rate, refused):
    with refused("dropout is", "less than 1"):
        build("unet3d", rate)


# -- methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_methods_have_dropout_if_asked_and_else_are_as_published(name):
    plain, thinned = build(name, 0.0), build(name, 0.5)
    assert not has_dropout(plain) and has_dropout(thinned)
    assert plain.state_dict().keys() == thinned.state_dict().keys()
    source = torch.rand(1, 1, *[16] * plain.dims)
    assert torch.equal(plain(source), thinned(source))
    with sampled(thinned, 1), torch.no_grad():
        first = thinned(source)
    with sampled(thinned, 2), torch.no_grad():
        second = thinned(source)
    assert not torch.allclose(first, second) and not torch.allclose(first, plain(source))


# -- members of a prediction ---------------------------------------------------------------------------------------


def test_mean_and_standard_deviation_over_models():
    source = noise(4, 5, 6)
    found = [Function(lambda x: x + 1), Function(lambda x: x + 2), Function(lambda x: x + 6)]
    mean, deviation = ensemble(found, source)
    np.testing.assert_allclose(mean, source + 3, rtol=1e-6)
    np.testing.assert_allclose(deviation, np.full_like(source, np.sqrt((4 + 1 + 9) / 2)), rtol=1e-5)
    assert deviation.dtype == np.float32
    assert ensemble(found[:1], source)[1] is None


def test_mirror_images_are_averaged_within_a_member():
    source = noise(4, 5, 6)
    found = [Function(lambda x: x + torch.arange(4.0)[:, None, None]), Function(lambda x: x + 3.5)]
    mean, deviation = ensemble(found, source, tta=True, window=64)
    np.testing.assert_allclose(mean, source + 2.5, rtol=1e-5)
    np.testing.assert_allclose(deviation, np.full_like(source, np.sqrt(2)), rtol=1e-5)


def test_samples_are_of_methods_with_dropout_only():
    source = noise(4, 5, 6)
    # A single channel: each sample is 0 or twice the source.
    mean, deviation = ensemble([Function(torch.clone, 0.5)], source, samples=8)
    share = float((mean / source).mean()) * 8 / 2
    assert 0 < round(share) < 8 and abs(share - round(share)) < 1e-4
    np.testing.assert_allclose(deviation, source * 2 * np.sqrt(round(share) * (8 - round(share)) / 8 / 7), rtol=1e-4)
    assert ensemble([Function(torch.clone)], source, samples=8)[1] is None


def test_models_have_samples_of_their_own():
    one, two = (ensemble([build("unet3d", 0.3)] * count, noise(8, 8, 8), samples=3)[0] for count in (1, 2))
    assert not np.allclose(one, two)


@pytest.mark.parametrize("name", ["unet3d", "lohiresgan", "srgan3d"])
def test_the_same_bytes_every_time(name):
    source = noise(16, 16, 12)
    first, second = (ensemble([build(name, 0.3)], source, samples=3) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1].shape == first[0].shape and first[1].mean() > 0


def test_windows_and_the_whole_volume_are_one_sample():
    """Every window is seen by the same thinned network, so a volume in windows equals the whole but for its rims."""
    method = build("unet3d", 0.3)
    source = np.linspace(0, 1, 48, dtype=np.float32)[:, None, None] * np.ones((1, 32, 32), np.float32)
    whole, tiled = (ensemble([method], source, samples=3, window=window) for window in (None, 32))
    for a, b in zip(whole, tiled, strict=True):
        assert np.sqrt(((a - b) ** 2).mean()) < 0.01 * a.std()


def test_slices_are_one_sample():
    """More slices than are shown at once: equal slices stay equal."""
    source = np.repeat(noise(16, 16, 1), inference.SLICES + 3, axis=2)
    mean, deviation = ensemble([build("lohiresgan", 0.3)], source, samples=2)
    for volume in (mean, deviation):
        np.testing.assert_allclose(volume, np.broadcast_to(volume[..., :1], volume.shape), rtol=1e-4, atol=1e-6)


# -- files ---------------------------------------------------------------------------------------------------------


def test_standard_deviation_is_an_image_in_the_target_s_intensities(tmp_path):
    settings = method_settings({"method_overrides": {"unet3d": SMALL["unet3d"] | {"dropout": 0.3}}}, "unet3d")
    values = {key: value for key, value in settings.items() if key not in ("module", "preset")}
    card = {"module": settings["module"], "settings": values}
    for seed in (1, 2):
        torch.manual_seed(seed)
        model.save(tmp_path / str(seed), build("unet3d", 0.3).state_dict(), card)
    working, native = np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    native[0, 3] = 4  # two voxels further right
    volumes = {"network_input": (noise(8, 8, 8), working), "target_preprocessed": (noise(8, 8, 8), working),
               "target": (noise(6, 8, 8), native)}  # fmt: skip
    for name, (data, affine) in volumes.items():
        save(Volume(data, affine), tmp_path / f"{name}.nii.gz")
        scale = {"IntensityOffset": 50.0, "IntensityScale": 200.0, "SkullStripped": True}
        write_json(tmp_path / f"{name}.json", scale)
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in volumes}
    image, deviation = (str(tmp_path / f"{name}.nii.gz") for name in ("image", "std"))
    enhance(
        source="s.nii.gz", transform="t.txt", models=[str(tmp_path / seed / "model.safetensors") for seed in "12"],
        **paths | {"network_input": [paths["network_input"]]}, prediction=image, std=deviation, method="unet3d",
        inference={"overlap": 0.5, "tta": False, "device": "cpu", "precision": "fp32"}, samples=3,
    )  # fmt: skip
    found = [model.load(tmp_path / str(seed))[0] for seed in (1, 2)]
    mean, spread = ensemble(found, volumes["network_input"][0], samples=3)
    np.testing.assert_allclose(load(image).data, 200 * mean[2:] + 50, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(load(deviation).data, 200 * spread[2:], rtol=1e-4, atol=1e-2)
    sidecar = read_json(tmp_path / "std.json")
    assert sidecar["Samples"] == 3 and sidecar["SpreadOf"] == image and len(sidecar["Models"]) == 2
    assert "Quantity" not in read_json(tmp_path / "image.json")
