"""Several contrasts of one session as the channels of a network's input."""

import numpy as np
import pytest
import torch
from upfield import methods
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.methods import model
from upfield.methods.augmentation import Augmentation
from upfield.methods.upsampling import interpolated
from upfield.patches import Store, extract, write_store
from upfield.predict import inference
from upfield.study.config import method_settings
from upfield.training.run import train_model

from tests.unit.test_methods import RATES, SMALL, Driver, batch_for, settings
from tests.unit.test_training import PATCHES, TRAIN, volume

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


# Stores.


def three(seed, shape=(16, 16, 16)):
    """A source of three contrasts, target and mask."""
    source, target, mask = volume(seed, shape)
    return np.stack([source, 1 - source, target * 0.5]).astype(np.float32), target, mask


def test_a_store_holds_contrasts_as_channels(tmp_path):
    shape = (5, 16, 8)
    source, target, mask = three(0, shape)
    small = source[:, :, ::2, ::2]
    write_store(tmp_path / "sub-1.safetensors", source, target, mask, 1.5, {(1, 2, 2): small})
    store = Store(tmp_path / "sub-1.safetensors")
    assert (store.channels, store.sides, store.paired) == (3, ("source", "target"), True)
    np.testing.assert_array_equal(store.whole()["source"], source)
    # Beyond the edge each contrast has the background of its own corner.
    box = store.read((-2, 4, 0), (8, 8, 8))
    expected = np.broadcast_to(source[:, 0, 0, 0][:, None, None, None], (3, 8, 8, 8)).copy()
    expected[:, 2:7] = source[:, :, 4:12]
    np.testing.assert_array_equal(box["source"], expected)
    assert box["target"].shape == box["mask"].shape == (1, 8, 8, 8)
    np.testing.assert_array_equal(store.read((0, 4, 0), (5, 8, 8), (1, 2, 2))["source"], small[:, :, 2:6])


def test_one_contrast_is_stored_as_ever(tmp_path):
    source, target, mask = volume(0)
    write_store(tmp_path / "plain.safetensors", source, target, mask, 1.0)
    write_store(tmp_path / "channel.safetensors", source[None], target, mask, 1.0)
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "channel.safetensors").read_bytes()
    assert Store(tmp_path / "plain.safetensors").channels == 1


def preprocessed(folder, name, data, affine=None, **metadata):
    path = folder / f"{name}.nii.gz"
    nifti.save(Volume(data.astype(np.float32), np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)
    write_json(sidecar(path), {"RobustRange": [10.0, 30.0], "IntensityScale": 20.0, **metadata})
    return str(path)


def test_extraction_stacks_what_lies_on_one_grid(tmp_path, refused):
    source, target, mask = three(0)
    channels = [preprocessed(tmp_path, f"c{number}", image) for number, image in enumerate(source)]
    truth = preprocessed(tmp_path, "target", target)
    brain = preprocessed(tmp_path, "mask", mask)
    output = tmp_path / "sub-1.safetensors"
    extract(channels, brain, str(output), target=truth)
    np.testing.assert_array_equal(Store(output).whole()["source"], source)
    assert Store(output).range == 1.0
    # One contrast that cannot be used, and nobody draws from the store.
    write_json(sidecar(channels[2]), {"Excluded": "no brain was found"})
    extract(channels, brain, str(output), target=truth)
    assert len(Store(output).centres) == 0
    channels[2] = preprocessed(tmp_path, "c2", source[2])
    moved = np.diag([2.0, 2, 2, 1])
    moved[0, 3] = 5
    channels[1] = preprocessed(tmp_path, "c1", source[1], moved)
    with refused("c1.nii.gz", "not on one grid"):
        extract(channels, brain, str(output), target=truth)


# Training and prediction.


@pytest.mark.parametrize("name", ["unet3d", "srdcgan"])
def test_training_and_prediction_carry_the_contrasts(name, tmp_path):
    paths, shown = [], {}
    for seed in range(3):
        source, target, mask = three(seed)
        paths.append(str(tmp_path / f"sub-{seed}.safetensors"))
        write_store(paths[-1], source, target, mask, 1.0)
    over = {"unet3d": {"base": 2, "levels": 1}, "srdcgan": {"factor": 1, "width": 4, "batch_size": 4}}
    train_model(
        tmp_path / "model",
        method=name,
        version=1,
        settings=method_settings({"method_overrides": over}, name),
        train=TRAIN | {"epochs": 1},
        patches=PATCHES | {"size": 12, "slices": 4, "slice_size": None},
        stores={"train": paths[:2], "val": paths[2:]},
        card={"fold": "0", "split_sha": "abc"},
        preview=lambda epoch, panels: shown.update(panels),
    )
    assert shown["input"].shape == (16, 16)
    card = read_json(tmp_path / "model" / "model.json")
    assert card["in_channels"] == 3
    method, _ = model.load(tmp_path / "model")
    assert method.in_channels == 3
    source = three(3, (18, 16, 17))[0]
    options = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5}
    whole = inference.enhance([method], source, tta=False, **options)
    assert whole.shape == (18, 16, 17)
    mirrored = inference.enhance([method], source, tta=True, **options)
    flipped = inference.enhance([method], source[:, ::-1], tta=False, **options)[::-1]
    # The volume is padded at its far end, which the mirror image has at the other.
    np.testing.assert_allclose(mirrored, (whole + flipped) / 2, atol=1e-5)
    if name == "unet3d":
        tiled = inference.enhance([method], source, tta=False, window=16, **options)
        assert np.abs(tiled - whole).mean() < 0.05 * whole.std()
