"""The segmenter: structures and their numbers, what it is shown, its loss, and how it is trained on label maps."""

import re

import numpy as np
import pytest
import torch
from upfield.catalogue import structures
from upfield.errors import UpfieldError
from upfield.files import merged, read_json, read_tsv, read_yaml
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.methods import anatomy as network
from upfield.methods.anatomy import SETTINGS, Segmenter, losses
from upfield.patches.positions import positions
from upfield.simulation import shapes
from upfield.study import anatomy, config, kinds
from upfield.training import segmenting
from upfield.training import structures as drawing
from upfield.training.loop import Stopped, Trainer
from upfield.training.redraw import Settings
from upfield.training.segmenting import Agreement, train_segmenter
from upfield.training.structures import Structures, closed

CPU = torch.device("cpu")
CLEAN = {
    "noise": 0.0, "readout": 1.0, "phase": 1.0, "thickness": 1.0, "gap": 0.0, "bias": 0.0, "phase_range": 0.0,
    "partial_fourier": 1.0, "readout_filter": 0.0, "phase_filter": 0.0, "volume": 1, "zero_filling": 1.0,
}  # fmt: skip
TRAIN = {
    "max_steps": None, "device": "cpu", "precision": "fp32", "save_every": 1, "workers": None, "log_every": None,
}  # fmt: skip


def index(name):
    return structures.NAMES.index(name) + 1


def head(size=60):
    """Both halves: cortex around white matter, a thalamus in each, fluid, bone; the left is at low X (R goes up)."""
    where = np.indices((size,) * 3) - (size - 1) / 2
    radius, left = np.sqrt((where**2).sum(axis=0)), where[0] < 0
    thalamus = np.sqrt((np.abs(where[0]) - 6) ** 2 + where[1] ** 2 + where[2] ** 2) < 4
    found = np.select(
        [thalamus & (radius < 15), radius < 12, radius < 16, radius < 18, radius < 20],
        [np.where(left, 10, 49), np.where(left, 2, 41), np.where(left, 3, 42), 24, 515],
    )
    return found.astype(np.int16)


@pytest.fixture
def maps(tmp_path):
    found = []
    for number in range(3):
        found.append(tmp_path / f"map-{number}.nii.gz")
        nifti.save(Volume(head(), np.eye(4)), found[-1], np.int16)
    return found


@pytest.fixture
def unbent(monkeypatch):
    """Heads keep their shape."""
    monkeypatch.setattr(drawing, "warped", lambda both, spacing, generator: both)


def settings(**others):
    usual = {"ranges": CLEAN, "contrast": 1.0, "contrasts": 0.0, "lesions": 0, "boxes": 4, "keeps_contrast": False}
    return Settings(**{**usual, "normalize": "percentile", "seed": 3, **others})


# -- structures --------------------------------------------------------------------------------------------------------


def test_every_number_is_of_one_structure_and_sides_are_mirrored():
    numbers = [number for structure in structures.STRUCTURES for number in structure.numbers]
    assert len(set(numbers)) == len(numbers)
    assert len(set(structures.NAMES)) == structures.COUNT - 1 == 28
    assert (structures.MIRRORED[structures.MIRRORED] == np.arange(structures.COUNT)).all()
    for name in structures.NAMES:
        there = structures.NAMES[structures.MIRRORED[index(name)] - 1]
        swapped = {"left": name.replace("left", "right"), "right": name.replace("right", "left")}
        assert there == swapped.get(name.split()[0], name)


def test_numbers_of_maps_become_indices():
    found = structures.indices(np.array([[[0, 2, 57, 47, 7, 5, 163, 14, 72, 24, 999, 30, 85]]]))
    names = ["" if value == 0 else structures.NAMES[value - 1] for value in found.ravel()]
    assert names == [
        "", "left white matter", "right white matter", "right cerebellum", "left cerebellum", "left lateral ventricle",
        "right lateral ventricle", "third ventricle", "third ventricle", "cerebrospinal fluid", "", "", "",
    ]  # fmt: skip
    assert (structures.indices(structures.NUMBERS) == np.arange(structures.COUNT)).all(), "what is written is read"


def test_white_matter_without_a_side_has_that_of_its_neighbours():
    row = np.zeros((12, 3, 3), dtype=int)
    row[:4], row[4], row[7], row[8:] = 2, 77, 77, 41
    found = structures.indices(row)[:, 1, 1]
    assert found.tolist() == [index("left white matter")] * 5 + [0] * 2 + [index("right white matter")] * 5


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_positions_run_from_edge_to_edge_of_the_brain():
    found = positions((10, 6, 4), np.array([2, 0, 0]), np.array([8, 6, 2]))
    assert found.shape == (3, 10, 6, 4) and found.dtype == np.float32
    assert found[0, :, 0, 0] == pytest.approx((2 * (np.arange(10) + 0.5) - 10) / 6)
    assert found[1, 0, [0, -1], 0] == pytest.approx([-5 / 6, 5 / 6]) and found[2, 0, 0, 3] == pytest.approx(2.5)


def test_boxes_show_image_places_and_structures_and_sides_are_right_in_a_mirror(maps, unbent):
    draws = Structures(settings(boxes=6), maps[:1], CPU, 16)
    mirrored = []
    for epoch in range(4):
        for box in draws.drawn(epoch):
            whole = {name: value.numpy() for name, value in box.whole().items()}
            assert whole["source"].shape == (4, 24, 24, 24) and whole["target"].shape == (1, 24, 24, 24)
            target, right, inside = whole["target"][0], whole["source"][1], whole["mask"][0] > 0
            for sign, side in ((-1, "left"), (1, "right")):
                there = np.isin(target, [index(f"{side} {name}") for name in ("cortex", "white matter", "thalamus")])
                # The edges of the brain are misjudged by a few voxels, of 32.
                assert (sign * right[there & inside] > -0.3).all()
            assert set(np.unique(target)) <= {0, 28, *(index(f"{s} {n}") for s in structures.SIDES for n in (
                "cortex", "white matter", "thalamus"))}  # fmt: skip
        state = np.random.default_rng([0x5EED, 3, epoch, 0]).random()
        mirrored.append(state < 0.5)
    assert {True, False} == set(mirrored)


def test_every_epoch_has_heads_of_its_own_and_the_same_seed_the_same(maps):
    def seen(epoch, seed=3):
        return torch.cat([box.whole()["source"] for box in Structures(settings(seed=seed), maps, CPU, 16).drawn(epoch)])

    first = seen(0)
    assert torch.equal(first, seen(0))
    assert not torch.equal(first, seen(1)) and not torch.equal(first, seen(0, seed=4))


def test_a_mask_covers_furrows_and_is_larger():
    brain = np.zeros((40, 40, 40), dtype=bool)
    brain[10:30, 10:30, 10:30] = True
    furrowed = brain.copy()
    furrowed[18:21, 10:30, 20:30] = False
    assert (closed(furrowed, 0) == brain).all()
    assert closed(furrowed, 2).sum() == 24**3


def test_warped_heads_are_other_heads_whose_maps_still_agree():
    tissues = torch.from_numpy(head()).to(torch.uint8)
    both = torch.stack([tissues, tissues + 1])
    one, other = (shapes.warped(both, 1.0, np.random.default_rng(seed)) for seed in (0, 1))
    inside = one[0] > 0
    assert torch.equal(one[1][inside], one[0][inside] + 1) and one.dtype == torch.uint8
    assert set(one[0].unique().tolist()) <= set(tissues.unique().tolist())
    for found in (one, other):
        share = float(((found[0] == tissues) & (tissues > 0)).sum() / (tissues > 0).sum())
        assert 0.3 < share < 0.97
        assert 0.6 < float((found[0] > 0).sum() / (tissues > 0).sum()) < 1.6
    assert not torch.equal(one, other)


def test_a_head_that_is_not_warped_stays(monkeypatch):
    for name, value in (("ANGLE", 0.0), ("SIZE", 0.0), ("SHEAR", 0.0), ("BENDS", ())):
        monkeypatch.setattr(shapes, name, value)
    both = torch.from_numpy(head()).to(torch.uint8)[None]
    assert torch.equal(shapes.warped(both, 1.0, np.random.default_rng(0)), both)


# -- what is learned ---------------------------------------------------------------------------------------------------


def logits(target, certain=30.0):
    """Logits (1, K, X, Y, Z) that are sure of a target (1, 1, X, Y, Z)."""
    return certain * torch.nn.functional.one_hot(target[:, 0].long(), structures.COUNT).movedim(-1, 1).float()


def test_small_nuclei_count_as_much_as_the_cortex():
    target = torch.full((1, 1, 8, 8, 8), 1.0)
    target[0, 0, 0, 0, :2] = 5
    mask = torch.ones_like(target)
    right = losses(logits(target), target, mask)
    assert float(right["entropy"]) < 1e-3 and float(right["overlap"]) < 1e-3
    missed = losses(logits(torch.ones_like(target)), target, mask)
    assert float(missed["overlap"]) == pytest.approx(0.5, abs=0.01), "one of two structures is lost"
    assert float(missed["entropy"]) == pytest.approx(30 * 2 / 512, rel=0.01)


def test_what_lies_outside_the_brain_does_not_count():
    target, mask = torch.ones((1, 1, 8, 8, 8)), torch.zeros((1, 1, 8, 8, 8))
    mask[..., :4] = 1
    wrong = target.clone()
    wrong[..., 4:] = 7
    found = losses(logits(wrong), target, mask)
    assert float(found["entropy"]) < 1e-3 and float(found["overlap"]) < 1e-3
    given = logits(target).requires_grad_()
    nothing = losses(given, target, torch.zeros_like(mask))
    (nothing["entropy"] + nothing["overlap"]).backward()
    assert nothing["entropy"].item() == 0 and not given.grad.any()


def test_the_network_learns_a_patch_and_its_sizes_are_those_of_the_patch():
    torch.manual_seed(0)
    method = Segmenter(**SETTINGS | {"base": 8, "blocks": 1, "width": 16})
    target = torch.zeros((1, 1, 16, 16, 16))
    target[..., :8, :, :], target[..., 8:, :, :] = 1, 13
    places = positions((16, 16, 16), np.zeros(3), np.full(3, 16))
    source = torch.cat([torch.rand((1, 16, 16, 16)), torch.from_numpy(places)])[None]
    assert method(source).shape == (1, structures.COUNT, 16, 16, 16)
    optimiser = torch.optim.Adam(method.parameters(), lr=5e-3)

    def update(network):
        optimiser.zero_grad()
        network.backward()
        optimiser.step()

    batch = {"source": source, "target": target, "mask": torch.ones_like(target)}
    first = method.training_step(batch, update)
    for _ in range(60):
        last = method.training_step(batch, update)
    assert float(first["overlap"]) > 0.8 and float(last["overlap"]) < 0.2
    assert (method(source).argmax(dim=1) == target[:, 0]).float().mean() > 0.95
    plan = method.plans()["network"]
    assert all(weight.ndim == 5 for weight in plan.matrices) and len(plan.matrices) > 8
    assert all(weight is not method.network.last.weight for weight in plan.matrices)


class Oracle(torch.nn.Module):
    """Names every voxel by the first channel, which holds indices."""

    def forward(self, source):
        return logits(source[:, :1].clamp(min=0))


@pytest.mark.parametrize("wrong", [False, True])
def test_validation_is_the_mean_dice_of_the_structures(maps, unbent, monkeypatch, wrong):
    held_out = Structures(settings(), maps[:1], CPU, 16).drawn(0)
    for box in held_out:
        shown = box._held["target"].float()
        if wrong:
            shown = torch.from_numpy(structures.MIRRORED.astype(np.float32))[shown.long()]
        box._held["source"][:1] = shown
    monkeypatch.setattr(network.Segmenter, "forward", lambda self, source: Oracle()(source))
    seen = []

    def fit(self, preview=None):
        seen.append(self.validation.measure())
        raise Stopped("enough")

    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.setattr(segmenting.Structures, "drawn", lambda self, epoch: held_out)
    with pytest.raises(Stopped):
        run(maps[0].parent / "model", maps)
    (found,) = seen
    assert found["val_cerebrospinal_fluid"] == 1 and "val_brainstem" not in found
    sided = [value for name, value in found.items() if name.startswith(("val_left", "val_right"))]
    assert len(sided) >= 4 and set(sided) == {0.0 if wrong else 1.0}
    assert found[Agreement.criterion] == pytest.approx(1 - np.mean([1, *sided]))


def run(folder, maps, epochs=2):
    """Train a small one, one map held out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = SETTINGS | {"base": 2, "blocks": 1, "width": 4}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segmenting, "SETTINGS", small)
            train_segmenter(
                folder,
                version=1,
                anatomy={"epochs": epochs, "boxes": 2, "patch": 16, "seed": 5},
                ranges=CLEAN,
                train=TRAIN,
                maps={"train": maps[:2], "val": maps[2:]},
                card={"upfield": "0"},
            )
    finally:
        torch.set_num_threads(threads)


def test_a_training_that_was_stopped_goes_on_as_if_it_never_was(maps, tmp_path):
    run(tmp_path / "once", maps)
    original, calls = Trainer._close_epoch, []

    def close(self, *arguments):
        original(self, *arguments)
        calls.append(1)
        self._stop = len(calls) == 1

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Trainer, "_close_epoch", close)
        run(tmp_path / "stopped", maps)
    run(tmp_path / "stopped", maps)
    once, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("once", "stopped"))
    assert once == stopped
    # Those may be of the first epoch; what was learned after it stands in the history.
    others = [read_tsv(tmp_path / name / "history.tsv").drop(columns="seconds") for name in ("once", "stopped")]
    assert others[0].equals(others[1])
    card, history = read_json(tmp_path / "once" / "model.json"), read_tsv(tmp_path / "once" / "history.tsv")
    assert card["maps"] == {"train": ["map-0.nii.gz", "map-1.nii.gz"], "val": ["map-2.nii.gz"]}
    assert card["structures"]["right hippocampus"] == 53 and card["upfield"] == "0"
    assert card["best_val_error"] == pytest.approx(history["val_error"].min()) and len(history) == card["epochs"] == 2
    assert set(card["dice"]) == {name for name in history if name.startswith("val_")} - {"val_error"}


def test_a_map_without_structures_is_named(tmp_path):
    bone = np.zeros((20, 20, 20), dtype=np.int16)
    bone[4:] = 515
    nifti.save(Volume(bone, np.eye(4)), tmp_path / "map.nii.gz", np.int16)
    with pytest.raises(UpfieldError, match=r"map.nii.gz: the mask is empty; anatomy.labels takes .* FreeSurfer"):
        Structures(settings(), [tmp_path / "map.nii.gz"], CPU, 16)


# -- the block of a study ----------------------------------------------------------------------------------------------


def study(folder, **others):
    example = read_yaml(config.ROOT / "config" / "examples" / "anatomy.yaml")
    found = merged(merged(config.defaults(), example), others)
    return merged(found, {"anatomy": {"labels": str(folder)}})


def test_label_maps_alone_are_a_study(maps, tmp_path):
    found = kinds.of(study(tmp_path))
    assert isinstance(found, anatomy.Maps)
    assert found.paths("anatomy_model") == "results/anatomy/models/anatomy/model.safetensors"
    block = anatomy.of(found.config)
    assert block.maps() == {"train": list(map(str, maps[:2])), "val": [str(maps[2])]}
    assert block.trained == {"epochs": 60, "boxes": 6, "patch": 40, "seed": 42}


def test_acquisitions_are_those_of_restore():
    examples = [read_yaml(config.ROOT / "config" / "examples" / f"{name}.yaml") for name in ("anatomy", "restore")]
    assert examples[0]["simulate"]["ranges"] == examples[1]["simulate"]["ranges"]


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.34, 1), (0.5, 2), (0.99, 2)])
def test_a_map_is_left_to_train_on_and_one_to_validate(maps, tmp_path, share, count):
    found = anatomy.Anatomy(str(tmp_path), held_out=share).maps()
    assert len(found["val"]) == count and len(found["train"]) == 3 - count


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"anatomy": {"epoch": 3}}, "anatomy.epoch"),
        ({"anatomy": {"held_out": 1.0}}, "anatomy.held_out"),
        ({"simulate": {"ranges": [{"blur": 1}]}}, "simulate.ranges has 'blur'"),
    ],
)
def test_what_cannot_be_trained_is_named_when_planning(maps, tmp_path, over, message):
    with pytest.raises(UpfieldError, match=re.escape(message)):
        kinds.of(study(tmp_path, **over))


def test_a_folder_with_fewer_than_two_maps_is_named(tmp_path):
    with pytest.raises(UpfieldError, match=r"anatomy.labels is .*, where no label map"):
        kinds.of(study(tmp_path))
    nifti.save(Volume(head(), np.eye(4)), tmp_path / "map.nii.gz", np.int16)
    with pytest.raises(UpfieldError, match="with one label map; expected two or more"):
        kinds.of(study(tmp_path))
