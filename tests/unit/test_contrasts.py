"""Several contrasts of one session as the channels of a network's input."""

import numpy as np
import pytest
import torch
from upfield import methods
from upfield.config import method_settings
from upfield.errors import UpfieldError
from upfield.methods.augmentation import Augmentation
from upfield.methods.upsampling import interpolated

from tests.unit.test_methods import RATES, SMALL, Driver, batch_for, settings

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRED = sorted(set(SMALL) - {"cyclegan"})


def small(name, contrasts, **overrides):
    torch.manual_seed(0)
    chosen = {"method_overrides": {name: {**SMALL[name], **overrides}}}
    return methods.build(method_settings(chosen, name), contrasts)


def batch_of_three(method, name):
    """Of the three contrasts the first is nearly flat; the others hold the image and its negative."""
    batch = batch_for(method, name)
    source = batch["source"]
    return {**batch, "source": torch.cat([0.1 * source, 1 - source, source], dim=1)}


# Networks.


@pytest.mark.parametrize("name", PAIRED)
def test_every_paired_method_learns_from_three_contrasts(name):
    method = small(name, 3, **(RATES if name != "unet3d" else {"lr": RATES["lr"]}))
    batch = batch_of_three(method, name)
    with torch.no_grad():
        start = method.eval()(batch["source"])
    assert start.shape == batch["target"].shape
    # The output is added to the first contrast, which the target is aligned with.
    first = interpolated(batch["source"][:, :1], method.scale[: method.dims])
    if method.input_residual:
        torch.testing.assert_close(start, first, rtol=0, atol=1e-5)
    history = Driver(method).train(batch, 20)
    before, after = (sum(float(step["l1"]) for step in part) for part in (history[:3], history[-3:]))
    assert after < 0.9 * before
    method.eval()
    with torch.no_grad():
        whole = method(batch["source"])
        for channel in range(3):
            without = batch["source"].clone()
            without[:, channel] = 0
            assert not torch.allclose(method(without), whole, atol=1e-4), channel
        assert method.panels(batch["source"], batch["target"])["input"].shape == batch["source"][:, :1].shape


def test_a_contrast_more_costs_a_first_convolution_and_nothing_else():
    def count(name, contrasts, **overrides):
        with torch.device("meta"):
            return methods.parameter_counts(methods.build(settings(name, "faithful", **overrides), contrasts))

    for name, kernel in (("unet3d_patchgan", 27 * 32), ("lohiresgan", 16 * 64), ("srgan3d", 27 * 32)):
        one, three = count(name, 1), count(name, 3)
        assert three["generator"] == one["generator"] + 2 * kernel
        assert three["discriminator"] == one["discriminator"]
    # As published it has three channels already; with one contrast they are its copies.
    assert count("srdcgan", 3) == count("srdcgan", 1)
    # A discriminator that is shown the source sees all of it.
    one, three = (count("lohiresgan", contrasts, conditional=True) for contrasts in (1, 3))
    assert three["discriminator"] == one["discriminator"] + 2 * 16 * 16


def test_two_equal_domains_have_one_contrast(refused):
    with pytest.raises(UpfieldError, match="in_channels"):
        small("cyclegan", 3)


def test_the_number_of_contrasts_is_no_setting(refused):
    with refused("method_overrides.unet3d.in_channels", "not a known setting"):
        method_settings({"method_overrides": {"unet3d": {"in_channels": 3}}}, "unet3d")


# Augmentation.


def test_each_contrast_gets_an_intensity_of_its_own():
    change = Augmentation(intensity=1.0)
    source = torch.rand(4, 3, 6, 6, 6, generator=torch.Generator().manual_seed(1))
    batch = {"source": source, "target": source[:, :1], "mask": torch.ones(4, 1, 6, 6, 6)}
    changed = change(batch, (1, 2))
    assert torch.equal(changed["target"], batch["target"])
    for item in range(4):
        lines = [
            np.polyfit(source[item, c].flatten().numpy(), changed["source"][item, c].flatten().numpy(), 1)
            for c in range(3)
        ]
        assert len({round(float(slope), 4) for slope, _ in lines}) == 3
        assert all(0.9 <= slope <= 1.1 and -0.1 <= shift <= 0.1 for slope, shift in lines)


def test_contrasts_move_together_and_the_first_as_if_it_were_alone():
    change = Augmentation(flip=0.5, rotate90=0.5, affine=1.0)
    image = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    alone = change({"source": image, "target": image}, (3, 4))["source"]
    together = change({"source": image.repeat(1, 3, 1, 1, 1), "target": image}, (3, 4))["source"]
    torch.testing.assert_close(together, alone.repeat(1, 3, 1, 1, 1))
