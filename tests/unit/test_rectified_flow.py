"""The sampler: its mean, its samples, and what is made of them."""

import numpy as np
import pytest
import torch
from upfield import methods
from upfield.methods.rectified_flow import RectifiedFlow
from upfield.predict import inference
from upfield.study import config

pytestmark = pytest.mark.usefixtures("one_thread")
EDGE = 12
SD = 0.3
SETTINGS = config.method_settings({"method_overrides": {"rectified_flow": {"preset": "default"}}}, "rectified_flow")


def made(**changes):
    torch.manual_seed(0)
    settings = SETTINGS | {
        "base": 8, "levels": 1, "flat_levels": [0, 0, 0], "blocks": 1, "fold": False,
        "lr": 5e-3, "batch_size": 4, "schedule": {"kind": "constant"}, "augmentation": {},
    }  # fmt: skip
    network = methods.build(settings | changes)
    assert isinstance(network, RectifiedFlow)
    return network


def batch(random, count=4):
    """Targets are sources, smooth, and what nobody can know: noise of `SD`."""
    source = torch.nn.functional.interpolate(
        torch.rand((count, 1, 3, 3, 3), generator=random), (EDGE,) * 3, mode="trilinear"
    )
    unknown = SD * torch.randn(source.shape, generator=random)
    return {"source": source, "target": source + unknown, "mask": torch.ones_like(source)}


@pytest.fixture(scope="module")
def trained():
    network = made()
    torch.set_num_threads(1)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)

    def update(generator):
        optimiser.zero_grad()
        generator.backward()
        optimiser.step()

    random = torch.Generator().manual_seed(1)
    losses = [network.training_step(batch(random), update) for _ in range(250)]
    assert losses[-1]["way"] < losses[0]["way"]
    return network.eval()


def predict(network, source, samples):
    options = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False}
    return inference.ensemble([network], source, samples=samples, **options)


def test_mean_and_standard_deviation_are_those_of_what_could_be(trained):
    shown = batch(torch.Generator().manual_seed(2), 1)
    mean, std = predict(trained, shown["source"][0, 0].numpy(), 12)
    truth = shown["source"][0, 0].numpy()
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.35 * SD
    assert np.sqrt(np.mean(std**2)) == pytest.approx(SD, rel=0.25)
    assert float(trained.size) == pytest.approx(SD, rel=0.1)


def test_samples_are_as_sharp_as_targets_and_their_mean_is_not(trained):
    shown = batch(torch.Generator().manual_seed(3), 1)
    with torch.no_grad():
        mean = trained(shown["source"])
        sample = trained(torch.cat([shown["source"], inference.noise((EDGE,) * 3, 0, 0)], dim=1))
    change = [float(image.diff(dim=2).std()) for image in (shown["target"], sample, mean)]
    assert change[1] == pytest.approx(change[0], rel=0.3) and change[2] < 0.5 * change[0]


def test_the_mean_needs_no_samples_and_samples_are_the_same_every_time(trained):
    source = batch(torch.Generator().manual_seed(4), 1)["source"][0, 0].numpy()
    alone, none = predict(trained, source, 0)
    first, second = (predict(trained, source, 3) for _ in range(2))
    assert none is None
    np.testing.assert_array_equal(alone, first[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_what_validation_found_is_in_the_standard_deviation(trained):
    source = batch(torch.Generator().manual_seed(5), 1)["source"][0, 0].numpy()
    _, before = predict(trained, source, 3)
    trained.set_std_scale(1.5)
    _, after = predict(trained, source, 3)
    trained.set_std_scale(1.0)
    np.testing.assert_allclose(after, 1.5 * before, rtol=1e-5)
    assert "factor" in trained.state_dict()


def test_the_factor_is_that_of_error_and_samples(trained, monkeypatch):
    from upfield.training import calibrating

    random = torch.Generator().manual_seed(6)
    batches = [batch(random, 2) for _ in range(4)]
    monkeypatch.setattr(calibrating, "Patches", lambda *_: range(8))
    monkeypatch.setattr(calibrating, "load", lambda *_: batches)
    options = type("Options", (), {"patch_val": (EDGE,) * 3, "per_volume_val": 1, "seed": 0, "workers": 0})()
    found = calibrating.std_scale(trained, [], options, torch.device("cpu"), torch.float32)
    assert found == pytest.approx(1, rel=0.25)
    # Errors three times as large.
    for shown in batches:
        shown["target"] = shown["source"] + 3 * (shown["target"] - shown["source"])
    assert calibrating.std_scale(trained, [], options, torch.device("cpu"), torch.float32) > 2 * found


def test_windows_agree_on_the_noise(trained):
    source = batch(torch.Generator().manual_seed(7), 1)["source"]
    source = torch.nn.functional.interpolate(source, (44, 12, 12), mode="trilinear")[0, 0].numpy()
    options = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False, "samples": 2}
    _, whole = inference.ensemble([trained], source, **options)
    _, cut = inference.ensemble([trained], source, window=32, **options)
    assert np.corrcoef(whole.ravel(), cut.ravel())[0, 1] > 0.99


def test_several_contrasts_come_before_the_noise():
    network = methods.build(SETTINGS | {"base": 4, "levels": 1, "blocks": 1}, 2).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 2, 8, 8, 8)).shape == network(torch.rand(1, 3, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


def test_a_new_network_gives_the_start():
    network = made().eval()
    source = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(source), source)
