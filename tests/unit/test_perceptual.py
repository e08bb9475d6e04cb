"""Perceptual and Gram losses with a small network of random weights in the shape of a VGG."""

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from upfield import methods
from upfield.files import merged
from upfield.methods.losses import Content
from upfield.methods.perceptual import DEVIATION, MEAN, Features, gram, perceptual
from upfield.study import config, requirements
from upfield.study.config import method_settings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    """Conv 0, ReLU 1, conv 2, ReLU 3, pool 4, conv 5, ReLU 6: as VGG16 begins."""
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file({f"features.{name}": value for name, value in network.state_dict().items()}, path)
    return str(path)


def images(*shape):
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)).unbind(0)


def test_features_are_those_of_the_network(network, weights):
    image = torch.rand(2, 1, 9, 12)
    colours = (image.expand(-1, 3, -1, -1) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    found = Features(weights, [6, 3])(image)
    for layers, value in zip((4, 7), found, strict=True):
        torch.testing.assert_close(value, network[:layers](colours))


def test_losses_by_hand():
    pair = (torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]]), torch.zeros(1, 2, 1, 2))
    # Squares 1, 9, 0, 4; Gram matrix [[10, 6], [6, 4]] / (2 channels x 2 positions).
    assert perceptual([pair, (pair[1], pair[1])]) == pytest.approx(14 / 4 / 2)
    assert gram([pair]) == pytest.approx((100 + 36 + 36 + 16) / 16)
    # A Gram matrix does not know where a feature is.
    assert gram([(pair[0], pair[0].flip(3))]) == pytest.approx(0)
    assert perceptual([(pair[0], pair[0].flip(3))]) > 0


def test_a_volume_is_its_axial_slices(weights):
    output, target = images(1, 1, 8, 8, 3)
    features = Features(weights, [3])
    volume = perceptual(features.pairs(output, target))
    slices = [perceptual(features.pairs(output[..., z], target[..., z])) for z in range(3)]
    torch.testing.assert_close(volume, torch.stack(slices).mean())
    deep = torch.rand(1, 1, 4, 4, 40)
    assert [len(found) for found, _ in features.pairs(deep, deep)] == [16]


def test_content_maps_intensities_to_those_of_photographs(weights):
    output, target = images(1, 1, 8, 8)
    features = Features(weights, [3, 6])
    plain = Content({"perceptual": 2.0, "gram": 3.0}, features=features)(output, target)
    wide = Content({"perceptual": 2.0, "gram": 3.0}, 2.0, "mean", -1.0, features)(2 * output - 1, 2 * target - 1)
    torch.testing.assert_close(plain, wide)
    pairs = features.pairs(output, target)
    torch.testing.assert_close(plain, 2 * perceptual(pairs) + 3 * gram(pairs))


@pytest.mark.parametrize("name", ["srdcgan", "srgan3d"])
def test_a_method_learns_from_them_alone_and_keeps_none_of_the_network(name, weights):
    content = {"l1": 0.0, "mse": 0.0, "gradient": 0.0, "perceptual": 1.0, "gram": 1.0}
    given = {"factor": 2, "content": content, "lambda_adv": 0.0, "perceptual_weights": weights,
             "perceptual_layers": [3], "lr": 1e-2, "gradient_clip": 1e9}  # fmt: skip
    small = (
        {"width": 2}
        if name == "srdcgan"
        else {"filters": 4, "blocks": 1, "discriminator_base": 2, "discriminator_dense": 4}
    )
    torch.manual_seed(0)
    method = methods.build(method_settings({"method_overrides": {name: given | small}}, name))
    usual = methods.build(method_settings({"method_overrides": {name: {"factor": 2} | small}}, name))
    assert method.state_dict().keys() == usual.state_dict().keys()
    target = torch.rand(2, 1, *(16 for _ in range(method.dims)))
    source = target[(..., *(slice(None, None, f) for f in method.scale[: method.dims]))]
    plan = method.plans()["generator"]
    adam = torch.optim.Adam(plan.parameters, plan.lr)

    def update(**given):
        if "generator" in given:
            adam.zero_grad()
            given["generator"].backward(inputs=plan.parameters)
            adam.step()

    history = [float(method.training_step({"source": source, "target": target}, update)["content"]) for _ in range(12)]
    assert history[-1] < 0.8 * history[0]


def test_a_trained_method_needs_the_file_no_more(weights):
    content = {"content": {"perceptual": 1.0}, "perceptual_weights": "/gone.safetensors", "width": 2, "factor": 2}
    method = methods.build(method_settings({"method_overrides": {"srdcgan": content}}, "srdcgan"))
    assert method(torch.zeros(1, 1, 4, 4)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("change", "layers", "words"),
    [
        (lambda w: w | {"features.1.weight": torch.ones(4)}, [3], ["batch norm"]),
        (lambda w: {k: v for k, v in w.items() if k != "features.2.bias"}, [3], ["no VGG"]),
        (lambda w: w, [3, 8], ["perceptual_layers is [3, 8]", "0 to 6"]),
        (lambda w: w, [], ["perceptual_layers is []"]),
    ],
)
def test_another_network_is_refused(network, change, layers, words, refused, tmp_path):
    path = tmp_path / "vgg.safetensors"
    save_file(change({f"features.{name}": value for name, value in network.state_dict().items()}), path)
    with refused(str(path), *words):
        Features(str(path), layers)(torch.zeros(1, 1, 8, 8))


# -- when a study is planned ---------------------------------------------------------------------------------------


def planned(**given):
    study = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    overrides = {"methods": ["lohiresgan"], "method_overrides": {"lohiresgan": given}}
    requirements.check(merged(study, overrides))


def test_a_study_with_weights_is_accepted(weights):
    planned(content={"gram": 1.0}, perceptual_weights=weights, perceptual_layers=[1])
    planned(perceptual_weights="/not/used.pth")


def test_layers_that_the_network_lacks_stop_the_plan(weights, refused):
    with refused("method_overrides.lohiresgan.perceptual_layers is [3, 8]", "0 to 6"):
        planned(content={"gram": 1.0}, perceptual_weights=weights, perceptual_layers=[3, 8])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, ["is not set", "content.gram"]),
        ("/data/vgg16-397923af.pth", ["expected .safetensors", "save_file(torch.load(", "weights_only=True"]),
        ("/nowhere/vgg.safetensors", ["/nowhere/vgg.safetensors", "cannot be read"]),
        ("text", ["cannot be read as safetensors"]),
        ("other", ["expected tensors features.0.weight"]),
    ],
)
def test_weights_that_cannot_be_used_are_named(path, words, refused, tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors here")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    path = str(tmp_path / f"{path}.safetensors") if path in ("text", "other") else path
    with refused("method_overrides.lohiresgan.perceptual_weights", *words):
        planned(content={"gram": 1.0}, perceptual_weights=path)
