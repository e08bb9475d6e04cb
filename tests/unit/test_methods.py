"""Every method: its published size, that it learns, that a resumed run equals an uninterrupted one, and its parts."""

import math
import re

import pytest
import torch
from monai.metrics.regression import compute_ssim_and_cs
from upfield import methods
from upfield.catalogue.methods import ROOT
from upfield.errors import UpfieldError
from upfield.methods import losses, schedules
from upfield.methods.cyclegan import Residual, frozen_statistics
from upfield.methods.gan import seeded
from upfield.methods.pool import ImagePool
from upfield.methods.upsampling import PixelShuffle3D, interpolated
from upfield.study.config import method_settings
from upfield.training import checkpoint

NO_TERMS = {"l1": 0.0, "mse": 0.0, "gradient": 0.0}
SMALL = {
    "unet3d": {"base": 4, "levels": 2},
    "unet3d_patchgan": {"base": 4, "levels": 2, "discriminator_base": 4},
    "lohiresgan": {"base": 8, "blocks": 1, "discriminator_base": 4},
    "srdcgan": {"width": 4},
    "srgan3d": {"factor": 2, "filters": 8, "blocks": 1, "discriminator_base": 4, "discriminator_dense": 8},
    "cyclegan": {"width": 8, "blocks": 1, "discriminator_width": 4, "image_pool": 3},
}
# Sizes of a source that the small networks take.
SIZES = {"unet3d": 16, "unet3d_patchgan": 32, "lohiresgan": 32, "srdcgan": 16, "srgan3d": 8, "cyclegan": 32}
RATES = {"lr": 3e-3, "lr_discriminator": 1e-4}


pytestmark = pytest.mark.usefixtures("one_thread")


def settings(name, preset="corrected", **overrides):
    return method_settings({"method_overrides": {name: {"preset": preset, **overrides}}}, name)


def small(name, preset="corrected", seed=0, **overrides):
    torch.manual_seed(seed)
    return methods.build(settings(name, preset, **{**SMALL[name], **overrides}))


def full(name, preset="faithful", **overrides):
    """As published in size, without memory for the weights."""
    with torch.device("meta"):
        return methods.parameter_counts(methods.build(settings(name, preset, **overrides)))


def smooth(shape, seed=0):
    """A blurred random image with values of about [0, 1]."""
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    pool = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    for _ in range(2):
        image = pool(image, 3, 1, 1, count_include_pad=False)
    return ((image - 0.5) * 4 + 0.5).clamp(-0.05, 1.05)


def batch_for(method, name, seed=0):
    """A poor source and a good target."""
    scale = method.scale[: method.dims]
    target = smooth((2, 1, *(SIZES[name] * factor for factor in scale)), seed)
    if max(scale) > 1:
        pool = torch.nn.functional.avg_pool3d if method.dims == 3 else torch.nn.functional.avg_pool2d
        source = pool(target, scale)
    else:
        source = 0.7 * target + 0.1
    return {"source": source, "target": target, "mask": torch.ones_like(target)}


class Driver:
    """What the training loop does with the plans of a method."""

    def __init__(self, method):
        self.method, self.plans, self.calls = method, method.plans(), []
        self.optimizers = {name: torch.optim.Adam(p.parameters, p.lr, p.betas) for name, p in self.plans.items()}

    def update(self, **given):
        self.calls.append(set(given))
        for name, loss in given.items():
            self.optimizers[name].zero_grad(set_to_none=True)
            loss.backward(inputs=self.plans[name].parameters, retain_graph=True)
        for name in given:
            torch.nn.utils.clip_grad_norm_(self.plans[name].parameters, self.method.gradient_clip)
            self.optimizers[name].step()

    def train(self, batch, steps):
        self.method.train()
        return [self.method.training_step(batch, self.update) for _ in range(steps)]

    def state(self):
        return {
            "method": dict(self.method.state_dict()),
            **{name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def restore(self, state):
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


# Sizes as published.


def test_counts_of_the_same_grid_methods():
    assert full("unet3d", "corrected") == {"generator": 58_817_985}
    assert full("unet3d_patchgan") == {"generator": 58_817_985, "discriminator": 11_048_769}
    assert full("lohiresgan")["discriminator"] == 175_057
    assert full("cyclegan") == {
        "generator_a_to_b": 11_365_633,
        "generator_b_to_a": 11_365_633,
        "discriminator_a": 2_762_689,
        "discriminator_b": 2_762_689,
    }


@pytest.mark.parametrize("name", ["upfield", "rectified_flow", "dynunet", "mednext", "restormer"])
def test_counts_of_the_methods_without_a_paper_are_as_told(name):
    counts = full(name, "default")
    (told,) = re.findall(rf"^\| `{name}` .* ([\d,]+) \|$", (ROOT / "docs/methods.md").read_text(), re.MULTILINE)
    assert counts == {"generator": int(told.replace(",", ""))}


def test_counts_of_srdcgan():
    assert full("srdcgan") == {"generator": 23_196, "discriminator": 4_249}


@pytest.mark.parametrize(
    ("filters", "blocks", "factor", "counts"),
    [
        (32, 6, 4, {"subpixel": 431_097, "nn": 750_689, "subpixel_nn": 1_690_593}),
        (64, 8, 2, {"subpixel": 1_996_121, "nn": 2_108_289, "subpixel_nn": 2_771_777}),
    ],
)
def test_counts_of_srgan3d(filters, blocks, factor, counts):
    for variant, expected in counts.items():
        found = full("srgan3d", filters=filters, blocks=blocks, factor=factor, variant=variant)
        assert found["generator"] == expected


def test_faithful_srgan3d_discriminator_is_mostly_its_first_dense_layer():
    convolutions = 27 * (32 + 32**2 + 32 * 64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 256**2)
    biases_and_norms = 960 + 2 * (960 - 32)
    dense = 8 * 8 * 6 * 256 * 1024 + 1024 + 1024 + 1
    assert full("srgan3d")["discriminator"] == convolutions + biases_and_norms + dense


# Learning.


PRESETS = [
    (name, preset) for name in SMALL for preset in ("corrected", "faithful") if (name, preset) != ("unet3d", "faithful")
]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_reconstruction_improves_on_a_fixed_batch(name, preset):
    overrides = RATES if name != "unet3d" else {"lr": RATES["lr"]}
    if preset == "faithful" and name == "srdcgan":
        overrides = {**overrides, "content": {"l1": 100.0}}
    if preset == "faithful" and name == "srgan3d":
        overrides = {**overrides, "discriminator_grid": [2, 2, 2]}
    method = small(name, preset, **overrides)
    batch = batch_for(method, name)
    driver = Driver(method)
    history = driver.train(batch, 25)
    assert all(math.isfinite(float(value)) and not value.requires_grad for step in history for value in step.values())
    watched = "matching" if name == "cyclegan" else "l1"
    first, last = (sum(float(step[watched]) for step in part) for part in (history[:3], history[-3:]))
    assert last < 0.9 * first


def test_faithful_srdcgan_has_nothing_that_ties_output_to_input():
    method = small("srdcgan", "faithful")
    losses_ = Driver(method).train(batch_for(method, "srdcgan"), 1)[0]
    assert losses_["content"] == 0
    assert losses_["generator"] == losses_["adversarial"]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_output_is_scale_times_the_input(name):
    method = small(name).eval()
    source = batch_for(method, name)["source"]
    with torch.no_grad():
        output = method(source)
    sizes = [size * factor for size, factor in zip(source.shape[2:], method.scale, strict=False)]
    assert list(output.shape) == [2, 1, *sizes]
    assert source.ndim == method.dims + 2


def test_scales():
    assert small("srdcgan").scale == (4, 4, 1)
    assert small("srdcgan", factor=2).scale == (2, 2, 1)
    assert small("srgan3d", factor=4).scale == (4, 4, 4)
    assert small("lohiresgan").scale == (1, 1, 1)
    source = torch.zeros(1, 1, 4, 5, 6)
    assert small("srgan3d", factor=4).eval()(source).shape == (1, 1, 16, 20, 24)
    assert small("srdcgan", factor=2).eval()(source[..., 0]).shape == (1, 1, 8, 10)
    # Other fields and scanners: the input has the resolution of the target already.
    assert small("srgan3d", factor=1).eval()(source).shape == source.shape
    assert small("srdcgan", factor=1).eval()(source[..., 0]).shape == (1, 1, 4, 5)


@pytest.mark.parametrize("name", ["lohiresgan", "srdcgan", "srgan3d", "cyclegan"])
def test_corrected_methods_start_as_interpolation(name):
    method = small(name).eval()
    source = batch_for(method, name)["source"]
    expected = interpolated(source, method.scale[: method.dims])
    torch.testing.assert_close(method(source), expected, rtol=0, atol=1e-5)


def test_previews_show_input_output_and_truth_or_both_ways_there_and_back():
    image, other = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    plain, both = (small(name).eval() for name in ("lohiresgan", "cyclegan"))
    with torch.no_grad():
        for generator in (both.generator_a_to_b, both.generator_b_to_a):
            torch.nn.init.normal_(generator[-1].weight, 0, 0.02)
        shown, panels = plain.panels(image, other), both.panels(image, other)
        assert list(shown) == ["input", "output", "target"]
        assert torch.equal(shown["input"], image) and torch.equal(shown["target"], other)
        assert torch.equal(shown["output"], plain(image))
        assert list(panels) == ["A", "A→B", "A→B→A", "B", "B→A", "B→A→B"]
        assert torch.equal(panels["A→B→A"], both.reverse(both(image))) and not torch.equal(panels["A→B→A"], image)
        assert torch.equal(panels["B→A→B"], both(both.reverse(other))) and torch.equal(panels["B"], other)


@pytest.mark.parametrize("name", ["lohiresgan", "srdcgan", "cyclegan"])
def test_faithful_output_is_a_tanh_in_normalized_units(name):
    method = small(name, "faithful").eval()
    output = method(100 * batch_for(method, name)["source"])
    assert output.min() >= 0 and output.max() <= 1


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_resumed_run_equals_an_uninterrupted_one(name, tmp_path):
    whole = Driver(small(name))
    batches = [batch_for(whole.method, name, seed) for seed in range(4)]
    for batch in batches:
        whole.train(batch, 1)
    half = Driver(small(name))
    for batch in batches[:2]:
        half.train(batch, 1)
    checkpoint.save(tmp_path / "half.safetensors", half.state())
    resumed = Driver(small(name, seed=9))
    resumed.restore(checkpoint.load(tmp_path / "half.safetensors"))
    torch.manual_seed(123)
    for batch in batches[2:]:
        resumed.train(batch, 1)
    expected, found = whole.method.state_dict(), resumed.method.state_dict()
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


@pytest.mark.parametrize("name", ["unet3d", "unet3d_patchgan", "srgan3d"])
def test_intensity_does_not_depend_on_the_tile(name):
    # Factor-2 levels and few layers keep the receptive field within the margin that is cut off.
    method = small(name, **({"levels": 1} if name.startswith("unet") else {}), lr=1e-3)
    Driver(method).train(batch_for(method, name), 3)
    method.eval()
    ramp = torch.linspace(0, 1, 48).reshape(1, 1, 48, 1, 1) + 0.1 * smooth((1, 1, 48, 32, 32))
    with torch.no_grad():
        whole, tile = method(ramp), method(ramp[:, :, 16:])
    factor, margin = method.scale[0], 10
    interior = slice(margin * factor, -margin * factor)
    same = whole[:, :, (16 + margin) * factor : -margin * factor, interior, interior]
    torch.testing.assert_close(tile[:, :, interior, interior, interior], same, rtol=0, atol=1e-5)
    assert same.std() > 0.01


def test_augmentation_that_super_resolution_cannot_take_is_refused():
    with pytest.raises(UpfieldError, match=r"augmentation\.affine must be 0"):
        small("srgan3d", augmentation={"affine": 0.5})


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("lohiresgan", {"update": "both"}, "update is 'both'"),
        ("lohiresgan", {"gan_loss": "hinge"}, "gan_loss is 'hinge'"),
        ("srdcgan", {"factor": 3}, "factor is 3"),
        ("srdcgan", {"content": {"l2": 1.0}}, "content has l2"),
        ("srdcgan", {"content": {"l1": 0.0}, "lambda_adv": 0.0}, "something to learn from"),
        ("srgan3d", {"variant": "bilinear"}, "variant is 'bilinear'"),
        ("srgan3d", {"reduction": "max"}, "reduction is 'max'"),
        ("cyclegan", {"norm": "layer"}, "norm is 'layer'"),
        ("cyclegan", {"discriminator_norm": "batch"}, "discriminator_norm is 'batch'"),
        ("cyclegan", {"schedule": {"kind": "sine"}}, "schedule.kind is 'sine'"),
        ("cyclegan", {"schedule": {"decay_epoch": -1}}, "decay_epoch is -1"),
    ],
)
def test_bad_settings_are_named(name, overrides, message):
    with pytest.raises(UpfieldError, match=message):
        small(name, **overrides)


# lohiresgan


def test_lohiresgan_updates_together_or_in_turn():
    for update, calls in (
        ("simultaneous", [{"generator", "discriminator"}]),
        ("alternating", [{"discriminator"}, {"generator"}]),
    ):
        driver = Driver(small("lohiresgan", update=update))
        driver.train(batch_for(driver.method, "lohiresgan"), 1)
        assert driver.calls == calls


def test_lohiresgan_discriminator_grid_and_options():
    method = small("lohiresgan", "faithful")
    assert method.discriminator(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 32, 32)
    plain = full("lohiresgan")["discriminator"]
    # Conditioning is one more channel for the first convolution, spectral norm no parameter at all.
    assert full("lohiresgan", conditional=True)["discriminator"] == plain + 16 * 16
    corrected = small("lohiresgan")
    image = smooth((1, 1, 32, 32))
    same, other = (corrected.discriminate(image, source) for source in (image, 1 - image))
    assert not torch.allclose(same, other)
    # The parametrised weight is the stored one divided by its largest singular value.
    Driver(corrected).train(batch_for(corrected, "lohiresgan"), 5)
    weight = corrected.discriminator[1].weight.detach().flatten(1)
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, rel=0.05)


# srgan3d


def test_subpixel_nn_has_no_checkerboard_at_the_start():
    method = small("srgan3d", variant="subpixel_nn", input_residual=False).eval()
    with torch.no_grad():
        output = method(torch.full((1, 1, 16, 16, 16), 0.7))[..., 14:-14, 14:-14, 14:-14]
    torch.testing.assert_close(output, output.mean().expand_as(output), rtol=0, atol=1e-6)
    assert output.abs().max() > 1e-4


def test_labels_are_drawn_from_their_ranges_and_swapped():
    logits = torch.zeros(4000, 1)
    labels = losses.Labels((0.7, 1.2), (0.0, 0.3), 0.1)
    real, fake = (labels.draw(logits, kind, seeded(1)) for kind in (True, False))
    assert ((real >= 0.7) & (real <= 1.2) | (real >= 0) & (real <= 0.3)).all()
    assert float((real < 0.5).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float((fake > 0.5).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(labels.draw(logits, True, seeded(1)), real)
    assert not torch.equal(labels.draw(logits, True, seeded(2)), real)


def test_faithful_srgan3d_labels_real_and_fake_alike():
    faithful, corrected = small("srgan3d", "faithful"), small("srgan3d")
    assert faithful.labels.real == faithful.labels.fake == corrected.labels.real != corrected.labels.fake


def test_published_adversarial_weight_is_nil_and_the_corrected_one_is_not():
    shares = {}
    for preset in ("faithful", "corrected"):
        method = small("srgan3d", preset, discriminator_grid=[1, 1, 1])
        step = Driver(method).train(batch_for(method, "srgan3d"), 1)[0]
        shares[preset] = float(method.lambda_adv * step["adversarial"] / step["content"])
        assert float(step["generator"]) == pytest.approx(
            float(step["content"] + method.lambda_adv * step["adversarial"]), rel=1e-5
        )
    assert shares["faithful"] < 1e-3 < shares["corrected"]


# cyclegan


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_cyclegan_generators_halve_the_slice_as_often_as_asked(levels):
    method = small("cyclegan", levels=levels, dropout=0.0)
    assert method.divisor == 2**levels
    sizes = []
    block = next(layer for layer in method.generator_a_to_b if isinstance(layer, Residual))
    block.register_forward_hook(lambda layer, inputs, output: sizes.append(output.shape[1:]))
    image = smooth((2, 1, 32, 24))
    assert method(image).shape == image.shape
    assert sizes == [(8 * 2**levels, 32 // 2**levels, 24 // 2**levels)]


def test_cyclegan_discriminators_see_the_strength_of_contrast_without_their_norm():
    image = smooth((2, 1, 64, 64)) - 0.5
    for norm, factor in (("instance", 1.0), ("none", 3.0)):
        judge = small("cyclegan", discriminator_norm=norm, discriminator_width=8).discriminator_a
        with torch.no_grad():
            for layer in judge:
                if isinstance(layer, torch.nn.Conv2d):
                    layer.bias.zero_()
            torch.testing.assert_close(judge(3 * image), factor * judge(image), rtol=1e-2, atol=1e-5)


def test_cyclegan_matches_only_what_corresponds():
    method = small("cyclegan", input_residual=False)
    batch = batch_for(method, "cyclegan")
    first, second = (
        float(Driver(small("cyclegan", lr=0.0)).train({**batch, "paired": torch.tensor(p)}, 1)[0]["matching"])
        for p in ([1.0, 0.0], [0.0, 1.0])
    )
    both, none = (
        float(Driver(small("cyclegan", lr=0.0)).train({**batch, **given}, 1)[0]["matching"])
        for given in ({}, {"paired": torch.zeros(2)})
    )
    assert none == 0
    assert both == pytest.approx((first + second) / 2, rel=1e-5)
    # At the start both directions are the identity: 2 |target - source|, twice as much in [-1, 1].
    assert first == pytest.approx(4 * float((batch["target"] - batch["source"])[0].abs().mean()), rel=1e-4)


def test_cyclegan_without_cycle_identity_and_matching():
    method = small("cyclegan", ccl_weight=0.0, identity_weight=0.0, oml_weight=0.0)
    step = Driver(method).train(batch_for(method, "cyclegan"), 2)[-1]
    assert step["cycle"] == step["identity"] == step["matching"] == 0
    assert step["generator"] == step["adversarial"]


def test_cyclegan_loss_is_the_weighted_sum():
    step = Driver(small("cyclegan", input_residual=False)).train(batch_for(small("cyclegan"), "cyclegan"), 1)[0]
    expected = step["adversarial"] + 5 * step["cycle"] + step["identity"] + 5 * step["matching"]
    assert float(step["generator"]) == pytest.approx(float(expected), rel=1e-5)
    assert min(step.values()) > 0


def test_statistics_of_what_is_not_seen_at_inference_are_not_kept():
    norm = torch.nn.BatchNorm2d(1)
    with frozen_statistics(norm):
        norm(torch.full((2, 1, 4, 4), 5.0))
    assert norm.running_mean == 0 and norm.momentum == 0.1
    norm(torch.full((2, 1, 4, 4), 5.0))
    assert norm.running_mean == pytest.approx(0.5)


def test_pool_fills_then_exchanges():
    pool = ImagePool(2)
    images = torch.arange(60.0).reshape(60, 1, 1, 1).expand(60, 1, 3, 3)
    shown = [float(pool(image[None], seeded(i))[0, 0, 0, 0]) for i, image in enumerate(images)]
    assert shown[:2] == [0, 1]
    late = sum(value < i for i, value in enumerate(shown))
    assert 15 < late < 45
    # Nothing is shown twice or forgotten: what came in was shown or is still kept.
    assert sorted([*shown[2:], *pool.images[:, 0, 0, 0].tolist()]) == list(range(60))
    assert torch.equal(ImagePool(0)(images, seeded(0)), images)


# Parts.


def test_schedules():
    assert schedules.make("constant")(7.5, 10) == 1
    assert schedules.make("exponential", rate=0.95)(2, 10) == pytest.approx(0.9025)
    assert schedules.make("inverse_time", rate=0.5)(3, 10) == pytest.approx(0.4)
    line = schedules.make("linear_to_zero", decay_epoch=4)
    assert [line(epoch, 8) for epoch in (0, 4, 5, 7, 8)] == [1, 1, 0.75, 0.25, 0]
    # Training that ends before the decay starts never decays.
    assert line(2, 4) == 1
    # What another preset left behind does not matter, what is missing does.
    assert schedules.make("constant", rate=0.5)(3, 10) == 1
    with pytest.raises(ValueError, match="exponential"):
        schedules.make("exponential")


def test_schedules_of_the_presets():
    faithful = small("srdcgan", "faithful").plans()
    assert faithful["generator"].lr * faithful["generator"].schedule(1, 300) == pytest.approx(2.85e-5)
    assert faithful["discriminator"].lr * faithful["discriminator"].schedule(1, 300) == pytest.approx(1.92e-5)
    assert small("srdcgan").plans()["generator"].schedule(300, 300) == 1
    assert small("srgan3d", "faithful").plans()["generator"].schedule(10, 10) == 1
    assert small("srgan3d").plans()["discriminator"].schedule(10, 10) == pytest.approx(1 / 2.9)
    assert small("cyclegan", "faithful").plans()["generator"].schedule(27, 50) == pytest.approx(0.5)


def test_adversarial():
    logits = torch.tensor([0.5, -1.0])
    assert losses.adversarial(logits, True, "lsgan") == pytest.approx((0.25 + 4) / 2)
    assert losses.adversarial(logits, False, "lsgan") == pytest.approx((0.25 + 1) / 2)
    assert losses.adversarial(torch.zeros(3), True, "bce") == pytest.approx(math.log(2))
    assert losses.adversarial(logits, True, "lsgan", torch.tensor([0.5, 0.0])) == pytest.approx(0.5)


def test_gradient_difference():
    row = torch.tensor([[[[0.0, 2.0, 1.0]]]])
    assert losses.gradient_difference(row, torch.zeros_like(row)) == pytest.approx(5 / 3)
    # The direction of an edge does not matter, only its height.
    assert losses.gradient_difference(row, -row) == 0
    cube = torch.zeros(1, 1, 2, 2, 2)
    cube[..., 1, :, :] = 3
    assert losses.gradient_difference(cube, torch.zeros_like(cube)) == pytest.approx(4 * 9 / 8)


@pytest.mark.parametrize("shape", [(2, 1, 14, 20, 15), (2, 1, 16, 13), (1, 1, 18, 16, 5)])
def test_ssim_loss_and_its_gradient_are_those_of_monai(shape):
    output, target = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    window = [min(11, size - 1 + size % 2) for size in shape[2:]]
    gradients = []
    for own in (True, False):
        shown = output.clone().requires_grad_()
        if own:
            loss = losses.structural_dissimilarity(shown, target, 2.0)
        else:
            loss = 1 - compute_ssim_and_cs(shown, target, len(window), window, [1.5] * len(window), 2.0)[0].mean()
        loss.backward()
        gradients.append((loss.item(), shown.grad))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-3, atol=1e-7)


def test_ssim_and_fourier_losses():
    a, b = torch.full((1, 1, 12, 12), 0.4), torch.full((1, 1, 12, 12), 0.8)
    c1 = 1e-4
    expected = 1 - (2 * 0.4 * 0.8 + c1) / (0.4**2 + 0.8**2 + c1)
    assert losses.structural_dissimilarity(a, b) == pytest.approx(expected, abs=1e-4)
    image = smooth((1, 1, 12, 12, 12))
    assert losses.structural_dissimilarity(image, image) == pytest.approx(0, abs=1e-5)
    # A constant c has one coefficient, c * sqrt(N), among N.
    assert losses.spectral_difference(a, b) == pytest.approx(0.4 / 12)


def test_content():
    output, target = torch.full((1, 1, 2, 4), 0.5), torch.zeros(1, 1, 2, 4)
    assert losses.Content({"l1": 10.0, "mse": 2.0})(output, target) == pytest.approx(5.5)
    assert losses.Content({"l1": 10.0, "mse": 2.0}, reduction="sum")(output, target) == pytest.approx(44)
    assert losses.Content(NO_TERMS)(output, target) == 0


def test_interpolation_keeps_ramps_straight_on_the_field_of_view():
    for axis, factor in ((2, 2), (3, 4), (4, 3)):
        sizes, scale = [8, 8, 8], [1, 1, 1]
        scale[axis - 2] = factor
        ramp = torch.arange(8.0).reshape([8 if a == axis else 1 for a in range(5)]).expand(2, 1, *sizes)
        found = interpolated(ramp, scale).movedim(axis, 4)
        expected = (torch.arange(8.0 * factor) + 0.5) / factor - 0.5
        edge = 2 * factor
        torch.testing.assert_close(found[0, 0, 3, 3, edge:-edge], expected[edge:-edge])
        torch.testing.assert_close(found, found[:1, :, :1, :1].expand_as(found))
    flat = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 1, 8, 8)
    torch.testing.assert_close(interpolated(flat, (4, 4))[0, 0, 8:-8, 9], ((torch.arange(32.0) + 0.5) / 4 - 0.5)[8:-8])


def test_pixel_shuffle_puts_channels_side_by_side():
    x = torch.arange(16.0).reshape(1, 16, 1, 1, 1)
    assert PixelShuffle3D()(x).flatten().tolist() == list(range(16))
    x = torch.zeros(1, 8, 2, 3, 4)
    x[0, 0b101, 1, 2, 3] = 1
    y = PixelShuffle3D()(x)
    assert y.shape == (1, 1, 4, 6, 8) and y[0, 0, 3, 4, 7] == 1 and y.sum() == 1
