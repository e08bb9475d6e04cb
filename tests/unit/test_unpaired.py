"""Stores of one scan, draws across people, and training without a truth."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import wasserstein_distance
from upfield import methods
from upfield.files import read_json, read_tsv
from upfield.methods import model
from upfield.methods.augmentation import Augmentation
from upfield.patches import Patches, Sampling, Store, UnpairedPatches, draw, write_store
from upfield.study.config import method_settings
from upfield.training.data import Options
from upfield.training.run import fit_histogram, train_model
from upfield.training.unpaired import UnpairedValidation, laplacian

SAMPLING = Sampling((16, 16, 1), per_volume=6, foreground=0.9, seed=3)
SMALL = {"width": 4, "blocks": 1, "discriminator_width": 4, "batch_size": 4, "lr": 2e-3, "image_pool": 3}
TRAIN = {
    "epochs": 3, "seed": 7, "device": "cpu", "precision": "fp32", "max_steps": None, "patience": None, "accumulate": 1,
    "ema": 0.0, "layer_lr": {}, "save_every": 1, "preview_every": 1, "log_every": None, "workers": None, "processes": 1,
}  # fmt: skip
PATCHES = {
    "size": 32,
    "per_volume": 4,
    "slices": 8,
    "slice_size": None,
    "per_volume_val": 4,
    "foreground": 0.9,
    "brain_share": 0.0,
}


def head(number, bright):
    """A textured ball and its mask; the target's scanner is brighter where the texture is bright."""
    random = np.random.default_rng(number)
    where = np.indices((32, 32, 12)) - np.array([15.5, 15.5, 5.5])[:, None, None, None]
    mask = np.sqrt((where**2 / np.array([4, 4, 1])[:, None, None, None]).sum(axis=0)) < 6
    texture = 0.5 + 0.3 * np.sin(where[number % 3]) + random.normal(0, 0.02, mask.shape)
    return np.where(mask, texture**0.5 if bright else texture, -0.05).astype(np.float32), mask


@pytest.fixture
def stores(tmp_path):
    """Two people of the source scanner, two of the target scanner and one seen by both; paths by name."""
    paths = {}
    for number, name in enumerate(("sub-source1", "sub-source2", "sub-target1", "sub-target2", "pair-source2-target3")):
        (dark, mask), (bright, _) = head(number, False), head(number, True)
        paths[name] = str(tmp_path / f"{name}.safetensors")
        source = None if "sub-target" in name else dark
        target = None if "sub-source" in name else bright
        write_store(paths[name], source, target, mask, 1.0)
    return paths


def opened(stores, *names):
    return [Store(stores[name]) for name in names]


def test_store_of_one_scan_holds_one_side(stores):
    source, target, both = opened(stores, "sub-source1", "sub-target1", "pair-source2-target3")
    assert (source.sides, target.sides, both.paired) == (("source",), ("target",), True)
    assert set(source.whole()) == {"source", "mask"} and set(target.whole()) == {"target", "mask"}
    beyond = target.read((-2, 0, 0), (4, 4, 4))["target"][0]
    assert (beyond[:2] == np.float32(-0.05)).all(), "background beyond the edge"


def test_source_and_target_of_a_draw_are_independent(stores):
    names = ("sub-source1", "sub-source2", "sub-target1", "sub-target2")
    patches = draw(opened(stores, *names), SAMPLING, 0)
    assert isinstance(patches, UnpairedPatches) and len(patches) == 2 * SAMPLING.per_volume
    sources = [patches.place(index) for index in range(len(patches))]
    targets = [patches.counterpart(index) for index in range(len(patches))]
    assert {which for which, _ in sources} == {which for which, _ in targets} == {0, 1}
    assert [which for which, _ in sources] != [which for which, _ in targets]
    assert [corner[2] for _, corner in sources] != [corner[2] for _, corner in targets]
    for index, ((a, low), (b, high)) in enumerate(zip(sources, targets, strict=True)):
        item = patches[index]
        here, there = Store(stores[names[a]]), Store(stores[names[2 + b]])
        assert torch.equal(item["source"], here.read(low, SAMPLING.shape)["source"])
        assert torch.equal(item["target"], there.read(high, SAMPLING.shape)["target"])
        assert torch.equal(item["target_mask"], there.read(high, SAMPLING.shape)["mask"])
        assert item["paired"] == 0


def test_draws_depend_on_seed_epoch_and_index_alone(stores):
    names = ("sub-source1", "sub-source2", "sub-target1", "sub-target2", "pair-source2-target3")
    once, again, later = (UnpairedPatches(opened(stores, *names), SAMPLING, epoch) for epoch in (1, 1, 2))
    order = range(len(once))
    assert [once.counterpart(index) for index in order] == [again.counterpart(index) for index in reversed(order)][::-1]
    assert [once.counterpart(index) for index in order] != [later.counterpart(index) for index in order]


def test_pair_of_a_semi_paired_study_is_drawn_at_one_place(stores):
    names = ("sub-source1", "sub-target1", "pair-source2-target3")
    patches = draw(opened(stores, *names), SAMPLING, 0)
    items = [patches[index] for index in range(len(patches))]
    paired = [item for item in items if item["paired"] == 1]
    assert len(items) == 2 * SAMPLING.per_volume and len(paired) == SAMPLING.per_volume
    for item in paired:
        inside = item["mask"] > 0
        assert torch.allclose(item["target"][inside], item["source"][inside].clamp(min=0).sqrt(), atol=1e-5)
        assert torch.equal(item["mask"], item["target_mask"])


def test_a_side_that_is_missing_is_named(stores, refused):
    with refused("no usable target"):
        draw(opened(stores, "sub-source1", "sub-source2"), SAMPLING, 0)
    with refused("no usable source"):
        draw(opened(stores, "sub-target1"), SAMPLING, 0)


def test_augmentation_moves_each_image_with_its_mask(stores):
    patches = draw(opened(stores, "sub-source1", "sub-target1"), SAMPLING, 0)
    batch = {name: value[None] for name, value in patches[0].items()}
    flipped = Augmentation(flip=1.0)(batch, (1,))
    for name in ("source", "target", "mask", "target_mask"):
        assert torch.equal(flipped[name], batch[name].flip(2))
    assert torch.equal(flipped["paired"], batch["paired"])


# Training


def train(folder, stores, names, preview=None, **overrides):
    train_model(
        folder,
        method="cyclegan",
        version=1,
        settings=method_settings({"method_overrides": {"cyclegan": SMALL | overrides}}, "cyclegan"),
        train=TRAIN,
        patches=PATCHES,
        stores={"train": [stores[name] for name in names], "val": [stores["sub-source1"], stores["sub-target1"]]},
        card={"fold": "0", "split_sha": "abc"},
        preview=preview,
    )
    return read_json(folder / "model.json"), read_tsv(folder / "history.tsv")


def test_laplacian_is_measured_where_all_neighbours_are_brain():
    image, mask = torch.zeros(1, 1, 5, 6), torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    image[0, 0, 2, 2] = 3.0
    mask[0, 0, 1:4, 1:] = True
    detail, interior = laplacian(image, mask)
    assert detail[0, 0].tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 3, 0, 0, 0],
        [0, 3, 12, 3, 0, 0],
        [0, 0, 3, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert interior.nonzero()[:, 2:].tolist() == [[2, 2], [2, 3], [2, 4]]


def check(stores, held_out, taught):
    """What is measured of a method that has learned nothing: its outputs are its inputs."""
    method = methods.build(method_settings({"method_overrides": {"cyclegan": SMALL}}, "cyclegan"), 1)
    options = Options(
        **TRAIN,
        patch=(16, 16, 1),
        patch_val=(32, 32, 1),
        per_volume=6,
        per_volume_val=4,
        foreground=0.9,
        brain_share=0.0,
    )
    return UnpairedValidation(
        method, opened(stores, *held_out), options, torch.device("cpu"), torch.float32, opened(stores, *taught)
    )


def test_distances_are_between_cohorts_of_everybody_known(stores):
    held_out, taught = ("sub-source1", "sub-target1"), ("sub-source2", "sub-target2", "pair-source2-target3")
    found = check(stores, held_out, taught).measure()

    def pooled(side):
        people = [store for store in opened(stores, *held_out, *taught) if side in store.sides]
        sampling = Sampling((32, 32, 1), 4, 1.0, TRAIN["seed"])
        drawn = [item for store in people for item in map(Patches([store], sampling, 0).__getitem__, range(4))]
        return torch.cat([item[side][item["mask"] > 0] for item in drawn]).numpy()

    distance = wasserstein_distance(pooled("source"), pooled("target"))
    assert found["val_cycle"] == pytest.approx(0, abs=1e-6)
    assert found["val_intensity"] == pytest.approx(distance, rel=0.02)
    assert check(stores, held_out, []).measure()["val_intensity"] != pytest.approx(found["val_intensity"], rel=0.01)


def test_a_cohort_without_validation_participants_is_named(stores, refused):
    with refused("no usable target"):
        check(stores, ["sub-source1"], ["sub-target1"])


@pytest.mark.usefixtures("one_thread")
def test_training_across_people_keeps_the_epoch_with_the_best_score(stores, tmp_path):
    previews = []
    names = ("sub-source1", "sub-source2", "sub-target1", "sub-target2")
    card, history = train(tmp_path / "m", stores, names, lambda epoch, panels: previews.append(panels))
    parts = history[["val_intensity", "val_sharpness"]]
    assert np.allclose(parts.sum(axis=1), history["val_score"]) and (parts > 0).all(axis=None)
    assert (history["val_cycle"] > 0).all()
    best = history.loc[history["val_score"].idxmin()]
    assert (card["best_epoch"], card["best_val_score"]) == (best["epoch"], pytest.approx(best["val_score"]))
    assert history["step"].tolist() == [4, 8, 12], "8 slices of each of two sources, 4 at a time"
    assert (history["train_matching"] == 0).all(), "nobody was seen by both scanners"
    assert list(previews[-1]) == ["A", "A→B", "A→B→A", "B", "B→A", "B→A→B"]
    assert all(panel.shape == (32, 32) for panel in previews[-1].values())


@pytest.mark.usefixtures("one_thread")
def test_pairs_add_the_matching_loss(stores, tmp_path):
    names = ("sub-source1", "sub-target1", "sub-target2", "pair-source2-target3")
    _, history = train(tmp_path / "m", stores, names)
    assert (history["train_matching"] > 0).all()
    _, without = train(tmp_path / "n", stores, names, oml_weight=0.0)
    assert (without["train_matching"] == 0).all()


@pytest.mark.usefixtures("one_thread")
def test_saved_model_holds_no_slice_of_anybody(stores, tmp_path):
    names = ("sub-source1", "sub-source2", "sub-target1", "sub-target2")
    train(tmp_path, stores, names)
    kept = set(load_file(tmp_path / "model.safetensors"))
    assert kept and not [name for name in kept if "pool" in name]
    network, _ = model.load(tmp_path)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(image), image) and not torch.equal(network.reverse(image), network(image))


def test_histogram_is_fitted_on_targets_alone(stores, tmp_path):
    fit_histogram(tmp_path, stores=[stores[name] for name in ("sub-source1", "sub-target1")], card={})
    target = Store(stores["sub-target1"]).whole()
    expected = np.quantile(target["target"][target["mask"] > 0].numpy(), np.linspace(0, 1, 1001))
    assert np.allclose(load_file(tmp_path / "model.safetensors")["quantiles"].numpy(), expected, atol=1e-6)
    assert read_json(tmp_path / "model.json")["participants"]["train"] == ["sub-target1"]
