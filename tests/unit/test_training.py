"""Checkpoints, patches and the loop: above all, that an interrupted run ends as if nothing had happened."""

import json
import math
import os
import signal
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from upfield.files import read_json, read_tsv
from upfield.methods import model
from upfield.methods.unet3d import SupervisedUNet
from upfield.patches import Patches, Sampling, Store, usable, write_store
from upfield.study.config import method_settings
from upfield.training import checkpoint
from upfield.training.run import train_model
from upfield.training.validation import Validation

from tests import forked

SMALL = {
    "unet3d": {"base": 2, "levels": 1, "lr": 1e-2},
    "unet3d_patchgan": {"base": 2, "levels": 1, "lr": 1e-2, "discriminator_base": 2},
}
SAMPLER = {"rectified_flow": {"preset": "default", "base": 2, "levels": 1, "blocks": 1, "sampling_steps": 2}}
# The smallest patch that the discriminator's five convolutions leave anything of.
SIZES = {"unet3d": 12, "unet3d_patchgan": 24, "rectified_flow": 12}
PATCHES = {"per_volume": 4, "per_volume_val": 2, "foreground": 0.9, "brain_share": 0.0}
# 3 training volumes, batches of 2: 6 steps an epoch, 24 in all.
TRAIN = {
    "epochs": 4, "seed": 7, "device": "cpu", "precision": "fp32", "max_steps": None, "patience": None, "accumulate": 1,
    "ema": 0.0, "layer_lr": {}, "save_every": 1, "preview_every": 1, "log_every": None, "workers": None,
    "processes": 1,
}  # fmt: skip
STEPS_PER_EPOCH = 6
# Seconds until a test gives up on another process.
PATIENCE = 120


def train(folder, name, stores, *, version=1, start=None, preview=None, overrides=None, maps=(), **options):
    """Train a small model on one thread (the published promise: same machine, same number of threads)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_model(
            Path(folder),
            method=name,
            version=version,
            settings=method_settings({"method_overrides": {name: (SMALL | SAMPLER)[name] | (overrides or {})}}, name),
            train=TRAIN | options,
            patches=PATCHES | {"size": SIZES[name]},
            stores=stores,
            card={"fold": "0", "split_sha": "abc"},
            start=start,
            maps=maps,
            preview=preview,
        )
    finally:
        torch.set_num_threads(threads)


def appears(path):
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def train_in_pieces(folder, name, stores, hold=-1):
    """Train, note every step in steps.txt, and wait in step `hold` until the file `go` appears."""
    original = SupervisedUNet.augment

    def augment(self, batch, seed):
        step = seed[-1]
        with (folder / "steps.txt").open("a") as file:
            file.write(f"{step}\n")
        if step == hold:
            (folder / "waiting").touch()
            appears(folder / "go")
        return original(self, batch, seed)

    with mock.patch.object(SupervisedUNet, "augment", augment):
        train(folder, name, stores)


def start(folder, name, stores, hold=-1):
    """Train one small model in a process of its own, to be interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    return forked.start(train_in_pieces, (folder, name, stores, hold), folder / "errors.txt")


def steps_of(folder):
    return [int(line) for line in (folder / "steps.txt").read_text().split()]


def volume(seed, shape=(16, 16, 16)):
    """Source, target and mask of a made-up participant: a textured ball and what a poor scanner makes of it."""
    generator = np.random.default_rng(seed)
    where = np.indices(shape) - np.array(shape)[:, None, None, None] / 2 + 0.5
    mask = np.sqrt((where**2).sum(axis=0)) < min(shape) * 0.4
    target = mask * (0.6 + 0.3 * np.sin(where[seed % 3] / 2)) - 0.05
    source = 0.6 * target + 0.1 + generator.normal(0, 0.02, shape)
    return source.astype(np.float32), target.astype(np.float32), mask


def write(path, seed, **options):
    write_store(path, *volume(seed, **options), 1.0)
    return str(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = [write(folder / f"sub-{number}.safetensors", number) for number in range(4)]
    return {"train": paths[:3], "val": paths[3:]}


@pytest.fixture(scope="module")
def finished(stores, tmp_path_factory):
    """Folder of an uninterrupted run of each method, and the previews that it made."""
    results = {}
    for name in SMALL:
        folder, previews = tmp_path_factory.mktemp(name), []
        train(folder, name, stores, preview=lambda epoch, panels, to=previews: to.append((epoch, panels)))
        results[name] = (folder, previews)
    return results


def assert_same(folder, reference):
    """Same weights to the bit, best and last, same optimisers, and the same history but for the clock."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        found, expected = load_file(folder / name), load_file(reference / name)
        assert found.keys() == expected.keys()
        assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
    found, expected = (read_tsv(path / "history.tsv").drop(columns="seconds") for path in (folder, reference))
    assert found.to_dict("records") == expected.to_dict("records")
    timeless = [read_json(path / "model.json") | {"train_seconds": 0} for path in (folder, reference)]
    assert timeless[0] == timeless[1]


# -- checkpoints ---------------------------------------------------------------------------------------------------


def same(a, b):
    if isinstance(a, torch.Tensor):
        # Bytes, because a NaN differs from itself.
        raw = [value.contiguous().flatten().view(torch.uint8).tolist() for value in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and raw[0] == raw[1]
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(x) is type(y) and same(a[x], b[x]) for x, y in zip(a, b, strict=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_checkpoint_gives_back_what_it_was_given(tmp_path):
    shared = torch.arange(6.0)
    state = {
        "optimiser": {0: {"step": torch.tensor(3.0), "betas": (0.5, 0.999)}, 12: {}, "12": "text is another key"},
        "half": torch.tensor([1.0, -2.5, float("nan")], dtype=torch.bfloat16),
        "kinds": [
            torch.tensor([True, False]),
            torch.zeros(0, 3),
            torch.tensor(2**60),
            torch.arange(4, dtype=torch.uint8),
        ],
        "views": (shared, shared[2:], shared.reshape(2, 3).T),
        "plain": [None, True, 7, 0.1, -1e-300, float("inf"), "Größe", [], (), {}],
    }
    path = tmp_path / "deep" / "state.safetensors"
    checkpoint.save(path, state)
    loaded = checkpoint.load(path)
    assert same(loaded, state)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_checkpoint_is_json_and_raw_numbers_only(tmp_path):
    path = tmp_path / "state.safetensors"
    tensors = [torch.randn(5, 7), torch.randn(11).to(torch.bfloat16)]
    checkpoint.save(path, {"a": tensors[0], 3: (tensors[1], "text")})
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert len(header) == 3 and isinstance(json.loads(header["__metadata__"]["skeleton"]), dict)
    assert len(raw) - 8 - length == 5 * 7 * 4 + 11 * 2


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", np.float32(1), np.zeros(3)])
def test_checkpoint_refuses_what_it_could_not_give_back(tmp_path, value):
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"good": 1})
    with pytest.raises(TypeError, match=type(value).__name__):
        checkpoint.save(path, {"nested": [value]})
    assert checkpoint.load(path) == {"good": 1}


def test_random_state_continues_after_a_checkpoint(tmp_path):
    torch.manual_seed(3)
    torch.rand(5)
    checkpoint.save(tmp_path / "state.safetensors", checkpoint.random_state())
    expected = torch.rand(4)
    torch.manual_seed(99)
    checkpoint.restore_random_state(checkpoint.load(tmp_path / "state.safetensors"))
    assert torch.equal(torch.rand(4), expected)


# -- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_training_learns_and_tells_what_it_did(name, finished, stores):
    folder, _ = finished[name]
    history, card = read_tsv(folder / "history.tsv"), read_json(folder / "model.json")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["step"].tolist() == [6, 12, 18, 24]
    assert history["train_l1"].iloc[-1] < 0.8 * history["train_l1"].iloc[0]
    # Of the epoch that is kept: with a discriminator the last of so few may be any, and another on another processor.
    assert history["val_mae"].min() < 0.8 * history["val_mae"].iloc[0]
    assert history["val_psnr"].max() > history["val_psnr"].iloc[0]
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    best = history.loc[history["val_mae"].idxmin()]
    assert card["best_epoch"] == best["epoch"]
    assert math.isclose(card["best_val_mae"], best["val_mae"], rel_tol=1e-6)
    assert (card["steps"], card["epochs"], card["method"]) == (24, 4, name)
    assert card["participants"] == {part: [Path(path).stem for path in paths] for part, paths in stores.items()}


@pytest.mark.parametrize("name", SMALL)
def test_one_preview_an_epoch(name, finished):
    previews = finished[name][1]
    assert [epoch for epoch, _ in previews] == [1, 2, 3, 4]
    for _, panels in previews:
        assert list(panels) == ["input", "output", "target"]
        assert {panel.shape for panel in panels.values()} == {(16, 16)}
    first, last = previews[0][1], previews[-1][1]
    source, target, _ = volume(3)
    np.testing.assert_array_equal(last["input"], source[:, :, 8])
    np.testing.assert_array_equal(last["target"], target[:, :, 8])
    assert not np.array_equal(first["output"], last["output"])


@pytest.mark.parametrize("name", SMALL)
def test_killed_run_ends_as_if_nothing_had_happened(name, finished, stores, tmp_path):
    folder = tmp_path / "run"
    hold = 2 * STEPS_PER_EPOCH + 3
    first = start(folder, name, stores, hold)
    appears(folder / "waiting")
    os.kill(first.pid, signal.SIGKILL)
    first.join(PATIENCE)
    assert first.exitcode == -signal.SIGKILL
    assert (folder / "checkpoint.safetensors").is_file()
    assert not (folder / "model.json").exists()
    second = start(folder, name, stores)
    second.join(PATIENCE)
    assert second.exitcode == 0, (folder / "errors.txt").read_text()
    # The epoch that was cut short is repeated, nothing before it.
    assert steps_of(folder) == [*range(hold + 1), *range(2 * STEPS_PER_EPOCH, 24)]
    assert_same(folder, finished[name][0])


@pytest.mark.parametrize("name", SMALL)
def test_scheduler_can_stop_a_run_amid_an_epoch(name, finished, stores, tmp_path):
    folder = tmp_path / "run"
    hold = STEPS_PER_EPOCH + 2
    first = start(folder, name, stores, hold)
    appears(folder / "waiting")
    os.kill(first.pid, signal.SIGTERM)
    (folder / "go").touch()
    first.join(PATIENCE)
    assert first.exitcode > 0, "the scheduler must see that the job is not done"
    assert f"stopped by the scheduler after step {hold + 1}" in (folder / "errors.txt").read_text()
    assert not (folder / "model.json").exists()
    train_in_pieces(folder, name, stores)
    assert steps_of(folder) == list(range(24)), "every step once"
    assert_same(folder, finished[name][0])


def test_kill_while_a_checkpoint_is_written_leaves_the_last_one(stores, finished, tmp_path, monkeypatch):
    """A write that breaks off halfway must not count: the run goes on from the checkpoint before it."""
    real, calls = checkpoint.save_file, []

    def broken(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half of a checkpoint")
            raise KeyboardInterrupt
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", broken)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "unet3d", stores)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")["run"]["epoch"] == 2
    train(tmp_path, "unet3d", stores)
    assert_same(tmp_path, finished["unet3d"][0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        # Bits that flipped on the disk: a valid file with other numbers in it.
        lambda path: path.write_bytes(flipped(path.read_bytes(), -3000)),
        lambda path: path.unlink(),
    ],
    ids=["empty", "last byte cut", "header cut", "zeros", "other numbers", "gone"],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(damage, stores, finished, tmp_path, monkeypatch, caplog):
    stop_after_checkpoints(monkeypatch, tmp_path, stores, 3)
    damage(tmp_path / "checkpoint.safetensors")
    lying = (tmp_path / "checkpoint.safetensors").exists()
    train(tmp_path, "unet3d", stores)
    assert_same(tmp_path, finished["unet3d"][0])
    assert ("damaged" in caplog.text) == lying


def test_with_both_checkpoints_damaged_the_training_starts_again(stores, finished, tmp_path, monkeypatch, caplog):
    stop_after_checkpoints(monkeypatch, tmp_path, stores, 3)
    for path in tmp_path.glob("checkpoint*"):
        path.write_bytes(b"cut")
    train(tmp_path, "unet3d", stores)
    assert_same(tmp_path, finished["unet3d"][0])
    assert caplog.text.count("cut or damaged") == 2


def flipped(content, where):
    """Bytes with ten of them inverted."""
    return content[:where] + bytes(255 - byte for byte in content[where : where + 10]) + content[where + 10 :]


def stop_after_checkpoints(monkeypatch, folder, stores, number, name="unet3d"):
    """Train until so many checkpoints are written, and break off while the next is."""
    real, calls = checkpoint.save_file, []

    def limited(tensors, path, metadata):
        calls.append(path)
        if len(calls) > number:
            raise KeyboardInterrupt
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", limited)
    with pytest.raises(KeyboardInterrupt):
        train(folder, name, stores)
    monkeypatch.undo()


def test_a_sampler_goes_on_as_if_nothing_had_happened_and_keeps_what_validation_said(stores, tmp_path, monkeypatch):
    train(tmp_path / "whole", "rectified_flow", stores)
    stop_after_checkpoints(monkeypatch, tmp_path / "cut", stores, 2, "rectified_flow")
    train(tmp_path / "cut", "rectified_flow", stores)
    assert_same(tmp_path / "cut", tmp_path / "whole")
    assert 0 < float(load_file(tmp_path / "whole/model.safetensors")["factor"]) != 1


def measuring(monkeypatch, values):
    """Let validation find these errors, one an epoch."""
    found = iter(values)
    monkeypatch.setattr(Validation, "measure", lambda self: {"val_mae": next(found), "val_psnr": 0.0})


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([math.nan, 0.5, 0.1, 0.2], 3),
        ([math.inf, math.nan, 0.3, math.nan], 3),
        ([0.4, math.nan, -math.inf, 0.5], 1),
    ],
)
def test_an_error_that_is_not_finite_is_never_the_best(values, best, stores, tmp_path, monkeypatch):
    measuring(monkeypatch, values)
    train(tmp_path, "unet3d", stores)
    card = read_json(tmp_path / "model.json")
    assert card["best_epoch"] == best and card["best_val_mae"] == values[best - 1]


def test_without_a_finite_epoch_there_is_no_model(stores, tmp_path, monkeypatch, refused):
    measuring(monkeypatch, [math.nan] * 4)
    with refused("diverged", "epoch 4", "step 24", "val_mae", "learning rate"):
        train(tmp_path, "unet3d", stores)
    assert not (tmp_path / "model.safetensors").exists()


def diverging(monkeypatch, step, what):
    """Let the training break in a step: its losses, or one weight after losses that are finite."""
    real = SupervisedUNet.training_step
    steps = []

    def training_step(self, batch, update):
        losses = real(self, batch, update)
        steps.append(None)
        if len(steps) == step:
            if what == "weight":
                next(self.parameters()).data.view(-1)[0] = math.nan
            else:
                losses = dict.fromkeys(losses, what)
        return losses

    monkeypatch.setattr(SupervisedUNet, "training_step", training_step)


@pytest.mark.parametrize("what", [math.nan, math.inf, "weight"])
@pytest.mark.parametrize(("step", "epoch"), [(2, 1), (12, 2), (24, 4)])
def test_a_training_that_diverges_says_so_and_keeps_its_best(what, step, epoch, stores, tmp_path, monkeypatch, refused):
    diverging(monkeypatch, step, what)
    # What a broken weight does is seen in the next loss, or at the end of the epoch.
    with refused("diverged", f"epoch {epoch}", "learning rate", "lr in method_overrides"):
        train(tmp_path, "unet3d", stores)
    assert not (tmp_path / "model.json").exists()
    best = tmp_path / "best.safetensors"
    assert best.is_file() == (epoch > 1)
    for path in [best] if epoch > 1 else []:
        assert all(torch.isfinite(value).all() for value in load_file(path).values())
    # Nothing that diverged is continued from.
    monkeypatch.undo()
    train(tmp_path, "unet3d", stores)
    assert read_json(tmp_path / "model.json")["epochs"] == 4 and not best.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_models_hold_finite_weights_alone(value, tmp_path, refused):
    weights = {"a": torch.zeros(3), "counts": torch.arange(2), "b": torch.tensor([1.0, value])}
    with refused("b holds values that are not finite"):
        model.save(tmp_path, weights, {})
    assert list(tmp_path.iterdir()) == []
    save_file(weights, tmp_path / "model.safetensors")
    with refused("b holds values that are not finite"):
        model.read_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"cut", b"\xff" * 100, None])
def test_damaged_weights_are_one_line(content, tmp_path, refused):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with refused("cannot be read"):
        model.read_weights(path)


def test_signal_handlers_are_put_back(stores, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    train(tmp_path, "unet3d", stores, epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_max_steps_ends_within_an_epoch(stores, tmp_path):
    train(tmp_path, "unet3d", stores, max_steps=8)
    history = read_tsv(tmp_path / "history.tsv")
    assert history["step"].tolist() == [6, 8]
    assert read_json(tmp_path / "model.json")["steps"] == 8


@pytest.mark.parametrize("change", ["setting", "seed", "epochs", "data"])
def test_another_run_does_not_continue_a_stale_checkpoint(change, stores, tmp_path):
    paths = [write(tmp_path / f"sub-{number}.safetensors", number) for number in range(4)]
    own = {"train": paths[:3], "val": paths[3:]}
    stale, fresh = tmp_path / "stale", tmp_path / "fresh"
    train(stale, "unet3d", own, epochs=2)
    changed = {"epochs": 2}
    if change == "setting":
        changed["overrides"] = {"lambda_l1": 2.0}
    elif change == "seed":
        changed["seed"] = 8
    elif change == "epochs":
        # Learning rates may depend on how many there are.
        changed["epochs"] = 3
    else:
        # The same participants, preprocessed in another way.
        for number, path in enumerate(paths):
            write(path, number + 10)
    train(stale, "unet3d", own, **changed)
    train(fresh, "unet3d", own, **changed)
    assert_same(stale, fresh)


@pytest.mark.parametrize(("version", "repeated"), [(1, False), (2, True)])
def test_a_finished_run_is_repeated_for_a_new_version_of_the_code_only(
    version, repeated, stores, tmp_path, monkeypatch
):
    train(tmp_path, "unet3d", stores, epochs=1)
    steps = []
    monkeypatch.setattr(SupervisedUNet, "augment", lambda self, batch, seed: steps.append(seed) or batch)
    train(tmp_path, "unet3d", stores, epochs=1, version=version)
    assert bool(steps) == repeated


# -- patches -------------------------------------------------------------------------------------------------------


def read_all(stores, epoch=0, **changes):
    sampling = Sampling(**{"shape": (8, 8, 8), "per_volume": 5, "foreground": 0.9, "seed": 1} | changes)
    return Patches(list(map(Store, stores)), sampling, epoch)


def test_patch_is_a_function_of_seed_epoch_and_index(stores):
    first = read_all(stores["train"])
    forwards = [first[index] for index in range(len(first))]
    again = read_all(stores["train"])
    backwards = [again[index] for index in reversed(range(len(again)))][::-1]
    assert all(torch.equal(a[key], b[key]) for a, b in zip(forwards, backwards, strict=True) for key in a)
    assert {name: tuple(value.shape) for name, value in forwards[0].items()} == {
        "source": (1, 8, 8, 8),
        "target": (1, 8, 8, 8),
        "mask": (1, 8, 8, 8),
        "range": (),
    }


def test_no_epoch_repeats_the_places_of_another(stores):
    # One volume, so that the order of the volumes cannot make the difference.
    draws = [read_all(stores["train"][:1], epoch, seed=seed) for epoch, seed in ((0, 1), (1, 1), (2, 1), (0, 2))]
    places = [[tuple(patches.place(index)[1]) for index in range(len(patches))] for patches in draws]
    for number, first in enumerate(places):
        assert len(set(first)) > 1
        assert all(set(first) != set(other) for other in places[number + 1 :])


def test_every_volume_gives_its_share_of_every_epoch(stores):
    for epoch in range(3):
        patches = read_all(stores["train"], epoch)
        drawn = [patches.place(index)[0] for index in range(len(patches))]
        assert sorted(drawn) == [0] * 5 + [1] * 5 + [2] * 5
        assert drawn != sorted(drawn), "shuffled"


def test_patch_holds_the_voxels_of_its_place(stores):
    patches = read_all(stores["train"])
    for index in range(len(patches)):
        which, corner = patches.place(index)
        source, target, mask = volume(which)
        box = tuple(slice(c, c + 8) for c in corner)
        for key, whole in (("source", source), ("target", target), ("mask", mask)):
            np.testing.assert_array_equal(patches[index][key][0].numpy(), whole[box])


def test_small_volume_is_centred_in_background(tmp_path):
    shape = (5, 16, 8)
    source, target, mask = volume(0, shape)
    write_store(tmp_path / "sub-1.safetensors", source, target, mask, 1.5)
    (patch,) = read_all([tmp_path / "sub-1.safetensors"], per_volume=1)
    expected = [np.full((8, 8, 8), value, np.float32) for value in (source.flat[0], target.flat[0], 0)]
    corner = read_all([tmp_path / "sub-1.safetensors"], per_volume=1).place(0)[1]
    assert -3 <= corner[0] <= 0 and 0 <= corner[1] <= 8 and corner[2] == 0
    for key, whole, padded in zip(("source", "target", "mask"), (source, target, mask), expected, strict=True):
        padded[-corner[0] : 5 - corner[0]] = whole[:, corner[1] : corner[1] + 8]
        np.testing.assert_array_equal(patch[key][0].numpy(), padded)
    assert patch["range"] == 1.5


def test_foreground_patches_are_as_full_of_brain_as_asked_or_the_fullest_found(tmp_path):
    source, target, _ = volume(0, (24, 24, 24))
    mask = np.zeros((24, 24, 24), bool)
    mask[4:18, 6:20, 5:19] = True
    write_store(tmp_path / "sub-1.safetensors", source, target, mask, 1.0)

    def shares(shape, **changes):
        patches = read_all([tmp_path / "sub-1.safetensors"], shape=shape, per_volume=40, **changes)
        return np.array([float(patches[index]["mask"].mean()) for index in range(40)])

    anything, full = (shares((8, 8, 8), foreground=1.0, brain_share=least) for least in (0.0, 0.9))
    assert anything.min() < 0.5 and full.min() >= 0.9
    # No box of this size can be full: the best of 50 places, which is better than any place.
    large, fullest = (shares((16, 16, 1), foreground=1.0, brain_share=least) for least in (0.0, 1.0))
    assert fullest.mean() > large.mean() + 0.05 and fullest.max() <= 14 * 14 / 256
    # The others may still be anywhere.
    assert shares((8, 8, 8), foreground=0.5, brain_share=0.9).min() < 0.5


def test_foreground_patches_have_their_centre_in_the_brain(tmp_path):
    source, target, _ = volume(0, (24, 24, 24))
    mask = np.zeros((24, 24, 24), bool)
    mask[6:9, 12:14, 15] = True
    write_store(tmp_path / "sub-1.safetensors", source, target, mask, 1.0)
    inside = {}
    for share in (0.0, 0.5, 1.0):
        patches = read_all([tmp_path / "sub-1.safetensors"], per_volume=200, foreground=share)
        inside[share] = sum(float(patches[index]["mask"][0, 4, 4, 4]) for index in range(200)) / 200
    assert inside[1.0] == 1
    assert 0.35 < inside[0.5] < 0.65
    assert inside[0.0] < 0.05


def test_excluded_pairs_are_never_drawn(tmp_path, refused):
    good = write(tmp_path / "sub-1.safetensors", 0)
    source, target, mask = volume(1)
    for name in ("sub-2", "sub-3"):
        write_store(tmp_path / f"{name}.safetensors", source, target, np.zeros_like(mask), 1.0)
    bad = [str(tmp_path / f"{name}.safetensors") for name in ("sub-2", "sub-3")]
    assert [store.name for store in usable([bad[0], good, bad[1]])] == ["sub-1"]
    with refused("no usable pair", "excluded.tsv"):
        usable(bad)


def test_store_is_the_same_bytes_every_time(tmp_path):
    first, second = (Path(write(tmp_path / f"{name}.safetensors", 5)) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
