"""What training can do besides stepping: averaged weights, large batches in parts, stopping early, a trained start."""

import logging
import os
import pickle
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from upfield import methods
from upfield.catalogue.methods import RUNTIME_OPTIONS
from upfield.files import read_json, read_tsv
from upfield.methods import model
from upfield.methods.unet3d import SupervisedUNet
from upfield.patches import Store, write_store
from upfield.study.config import method_settings
from upfield.training import checkpoint
from upfield.training.average import Average
from upfield.training.loop import Stopped
from upfield.training.optimisers import Optimisers
from upfield.training.validation import Validation

from tests.unit.test_training import SIZES, SMALL, assert_same, train, write

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = {"ema": 0.9, "accumulate": 2, "patience": 3, "layer_lr": {"generator.head": 0.5}}
# Nothing random, and norms that look at one image at a time.
PLAIN = {
    "norm": "instance",
    "augmentation": {"flip": 0.0, "affine": 0.0, "intensity": 0.0, "noise": 0.0},
    "gradient_clip": 1e9,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = [write(folder / f"sub-{number}.safetensors", number) for number in range(4)]
    return {"train": paths[:3], "val": paths[3:]}


def small(name="unet3d", **overrides):
    torch.manual_seed(7)
    return methods.build(method_settings({"method_overrides": {name: SMALL[name] | overrides}}, name))


def generator(folder):
    return {name: value for name, value in load_file(folder / "model.safetensors").items() if "generator" in name}


# -- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stopped", "killed"])
def test_every_option_survives_an_interruption(kind, stores, tmp_path, monkeypatch):
    """12 patches an epoch in batches of one, two batches a step: batch 31 is in the second half of step 16 of 24."""
    start = tmp_path / "start"
    train(start, "unet3d", stores, epochs=1)
    options = {"overrides": {"batch_size": 1, "dropout": 0.2}, "start": start} | ALL
    train(tmp_path / "whole", "unet3d_patchgan", stores, **options)
    original = SupervisedUNet.augment

    def augment(self, batch, seed):
        if seed[-1] == 31:
            if kind == "killed":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, seed)

    monkeypatch.setattr(SupervisedUNet, "augment", augment)
    with pytest.raises(Stopped if kind == "stopped" else KeyboardInterrupt):
        train(tmp_path / "broken", "unet3d_patchgan", stores, **options)
    monkeypatch.undo()
    train(tmp_path / "broken", "unet3d_patchgan", stores, **options)
    assert_same(tmp_path / "broken", tmp_path / "whole")
    assert read_tsv(tmp_path / "whole" / "history.tsv")["step"].tolist() == [6, 12, 18, 24]


# -- averaged weights ----------------------------------------------------------------------------------------------


def test_average_follows_the_weights_of_the_generator():
    method = small("unet3d_patchgan")
    average = Average(method, 0.15)
    names = {name for name, value in method.state_dict().items() if value.is_floating_point()}
    assert set(average.values) == {name for name in names if name.startswith("generator")}
    weight, head = method.generator.head.weight, "generator.head.weight"
    assert torch.equal(average.values[head], torch.zeros_like(weight))
    with torch.no_grad():
        weight.fill_(1.0)
    # The first steps count for more: (1 + 1) / (10 + 1) is more than 0.15, so 0.15 it is.
    average.update(1)
    torch.testing.assert_close(average.values[head], torch.full_like(weight, 0.85))
    average.update(2)
    torch.testing.assert_close(average.values[head], torch.full_like(weight, 0.9775))
    slow = Average(method, 0.999)
    with torch.no_grad():
        weight.fill_(12.0)
    slow.update(1)
    torch.testing.assert_close(slow.values[head], torch.full_like(weight, 1 + 11 * 9 / 11))


def test_averaged_weights_are_lent_to_the_method():
    method = small()
    average = Average(method, 0.5)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    for value in average.values.values():
        value.add_(1.0)
    with average.applied():
        state = method.state_dict()
        assert all(torch.equal(state[name], value) for name, value in average.values.items())
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_a_method_without_a_generator_is_averaged_whole():
    class Toy(methods.Method):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)

        def plans(self):
            return {"both": methods.OptimizerConfig(list(self.parameters()), 1e-3)}

    assert {name.split(".")[0] for name in Average(Toy(), 0.9).values} == {"first", "second"}


def test_averaged_weights_are_validated_and_kept(stores, tmp_path):
    train(tmp_path / "plain", "unet3d", stores, epochs=2)
    train(tmp_path / "averaged", "unet3d", stores, epochs=2, ema=0.99)
    plain, averaged = (read_tsv(tmp_path / name / "history.tsv") for name in ("plain", "averaged"))
    # Training itself is the same; what is looked at is not.
    assert plain["train_l1"].tolist() == averaged["train_l1"].tolist()
    assert plain["val_mae"].tolist() != averaged["val_mae"].tolist()
    network = model.load(tmp_path / "averaged")[0]
    state = load_file(tmp_path / "averaged" / "checkpoint.safetensors")
    kept = network.generator.head.weight
    assert read_json(tmp_path / "averaged" / "model.json")["best_epoch"] == 2
    assert sum(value.shape == kept.shape and torch.equal(value, kept) for value in state.values()) >= 2


# -- accumulation --------------------------------------------------------------------------------------------------


def test_two_batches_of_one_are_one_batch_of_two(stores, tmp_path):
    for name, size, parts in (("whole", 2, 1), ("parts", 1, 2)):
        train(tmp_path / name, "unet3d", stores, epochs=1, accumulate=parts, overrides=PLAIN | {"batch_size": size})
        assert read_tsv(tmp_path / name / "history.tsv")["step"].tolist() == [6]
    whole, parts = (generator(tmp_path / name) for name in ("whole", "parts"))
    start = small(**PLAIN).state_dict()
    for name, value in whole.items():
        moved = (value - start[name]).abs().max()
        # Adam divides by the size of the gradient, so rounding shows where a gradient is next to nothing.
        assert (value - parts[name]).abs().max() <= 0.02 * moved + 1e-6, name


def test_the_loss_scale_of_half_precision_cancels():
    """It doubles after every step here; gradients of one step, the discriminator's and the generator's, share it."""
    batches = [{"source": torch.rand(1, 1, 24, 24, 24), "target": torch.rand(1, 1, 24, 24, 24)} for _ in range(6)]
    results = []
    for enabled in (False, True):
        method = small("unet3d_patchgan", norm="instance").train()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=1, enabled=enabled)
        optimisers = Optimisers(method, scaler, {}, 2)
        for number, batch in enumerate(batches):
            optimisers.part = number % 2
            method.training_step(batch, optimisers.update)
            if optimisers.part:
                optimisers.finish()
        results.append([parameter.detach().clone() for parameter in method.parameters()])
    assert scaler.get_scale() == 16
    for plain, scaled in zip(*results, strict=True):
        torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-5)


# -- stopping early ------------------------------------------------------------------------------------------------


def test_training_stops_when_validation_no_longer_improves(stores, tmp_path):
    still = {"lr": 0.0, "norm": "group"}
    train(tmp_path / "still", "unet3d", stores, epochs=9, patience=2, overrides=still)
    assert read_tsv(tmp_path / "still" / "history.tsv")["epoch"].tolist() == [1, 2, 3]
    card = read_json(tmp_path / "still" / "model.json")
    assert (card["best_epoch"], card["epochs"]) == (1, 3)
    checkpoint = (tmp_path / "still" / "checkpoint.safetensors").stat().st_mtime_ns
    train(tmp_path / "still", "unet3d", stores, epochs=9, patience=2, overrides=still)
    assert (tmp_path / "still" / "checkpoint.safetensors").stat().st_mtime_ns == checkpoint, "it stays stopped"


@pytest.mark.parametrize(("last", "kept"), [(True, 3), (False, 1)])
def test_the_last_epoch_is_kept_where_a_method_wants_that(last, kept, stores, tmp_path, monkeypatch):
    """The error rises from epoch to epoch; patience counts from the lowest all the same."""
    monkeypatch.setitem(SMALL, "upfield", {"preset": "default", "base": 2, "levels": 2})
    monkeypatch.setitem(SIZES, "upfield", SIZES["unet3d"])
    errors = iter([0.1, 0.2, 0.3])
    monkeypatch.setattr(Validation, "measure", lambda self: {"val_mae": next(errors), "val_psnr": 20.0})
    train(tmp_path, "upfield", stores, epochs=9, patience=2, overrides={"keep_last": last})
    card = read_json(tmp_path / "model.json")
    assert (card["best_epoch"], card["epochs"], card["best_val_mae"]) == (kept, 3, kept / 10)
    final = checkpoint.load(tmp_path / "checkpoint.safetensors")["method"]
    same = all(torch.equal(final[name], value) for name, value in load_file(tmp_path / "model.safetensors").items())
    assert same is last


# -- a trained start -----------------------------------------------------------------------------------------------


def test_training_starts_from_a_trained_model(stores, tmp_path):
    still = {"lr": 0.0, "lr_discriminator": 0.0, "norm": "group"}
    train(tmp_path / "start", "unet3d", stores, epochs=1, overrides={"norm": "group"})
    train(tmp_path / "next", "unet3d_patchgan", stores, epochs=1, overrides=still, start=tmp_path / "start")
    first, second = generator(tmp_path / "start"), generator(tmp_path / "next")
    assert first and all(torch.equal(value, second[name]) for name, value in first.items())
    origin = read_json(tmp_path / "next" / "model.json")["init_from"]
    assert (tmp_path / "start").match(origin["model"]) and len(origin["sha"]) == 16
    assert read_json(tmp_path / "start" / "model.json")["init_from"] is None


def test_another_start_is_another_run(stores, tmp_path):
    for seed in (1, 2):
        train(tmp_path / f"start-{seed}", "unet3d", stores, epochs=1, seed=seed)
    for folder in ("stale", "fresh"):
        for seed in (1, 2) if folder == "stale" else (2,):
            train(tmp_path / folder, "unet3d", stores, epochs=1, start=tmp_path / f"start-{seed}")
    assert_same(tmp_path / "stale", tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {"network.weight": torch.zeros(1)}, ["network", "expected any of generator"]),
        (lambda w: w | {"generator.head.bias": torch.zeros(9)}, ["generator.head.bias is (9,) there and (1,)"]),
        (lambda w: {k: v for k, v in w.items() if k != "generator.head.bias"}, ["generator.head.bias is absent there"]),
        (lambda w: w | {"generator.more": torch.zeros(2)}, ["generator.more is (2,) there and absent"]),
    ],
)
def test_a_start_that_does_not_fit_is_named(change, words, refused, tmp_path):
    weights = {name: value.clone() for name, value in small().state_dict().items()}
    save_file(change(weights), tmp_path / "model.safetensors")
    with refused("model.safetensors", *words):
        model.transfer(small(), tmp_path)


# -- learning rates by layer ---------------------------------------------------------------------------------------


def test_layers_learn_at_their_own_rates(stores, tmp_path):
    rates = {"generator": 0.0, "generator.head": 1.0}
    train(tmp_path, "unet3d", stores, epochs=1, layer_lr=rates)
    start, end = small().state_dict(), generator(tmp_path)
    learned = {name for name, _ in small().named_parameters() if not torch.equal(start[name], end[name])}
    assert learned == {"generator.head.weight", "generator.head.bias"}
    assert np.isclose(read_tsv(tmp_path / "history.tsv")["lr_generator"], 1e-2).all()


def test_unknown_layers_are_named(refused):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with refused("train.layer_lr", "'generator.hed'", "generator"):
        Optimisers(small(), scaler, {"generator.hed": 0.1}, 1)


# -- habits --------------------------------------------------------------------------------------------------------


def test_habits_change_no_weight_and_start_nothing_anew(stores, tmp_path, caplog):
    previews = []
    train(tmp_path / "usual", "unet3d", stores, epochs=2)
    habits = {"save_every": 2, "preview_every": 2, "log_every": 4, "workers": 1}
    # How several processes train: test_training_processes.py.
    assert {*habits, "processes", "threads"} == set(RUNTIME_OPTIONS)
    with caplog.at_level(logging.INFO):
        train(tmp_path / "own", "unet3d", stores, epochs=2, preview=lambda epoch, _: previews.append(epoch), **habits)
    assert_same(tmp_path / "own", tmp_path / "usual")
    assert previews == [2]
    lines = [record.getMessage() for record in caplog.records if "step" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["epoch 1, step 4", "epoch 2, step 8", "epoch 2, step 12"]


def test_processes_that_read_patches_need_not_be_forked(tmp_path):
    """Where they are started anew, as Python does from 3.14 on, stores are handed to them."""
    target = np.random.default_rng(0).uniform(0.2, 1, (16, 16, 16)).astype(np.float32)
    path = tmp_path / "store.safetensors"
    write_store(path, target * 0.5, target, np.ones_like(target, bool), 1.0)
    store, again = Store(path), pickle.loads(pickle.dumps(Store(path)))
    corner, shape = (2, 3, 4), (8, 8, 8)
    for side, image in store.read(corner, shape).items():
        assert torch.equal(image, again.read(corner, shape)[side])
