"""Sources that are drawn anew in every epoch: from targets, with other contrasts and lesions, and from label maps."""

import re

import numpy as np
import pytest
import torch
from upfield.errors import UpfieldError
from upfield.files import merged, read_json, read_tsv, read_yaml
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.patches import Sampling, Store, draw, write_store
from upfield.simulation import contrast, labels
from upfield.study import config, requirements
from upfield.training.loop import Trainer
from upfield.training.redraw import Redraw, Settings

from tests.unit.test_training import train

SIZE = 32
CPU = torch.device("cpu")
CLEAN = {
    "noise": 0.0, "readout": 1.0, "phase": 1.0, "thickness": 1.0, "gap": 0.0, "bias": 0.0, "phase_range": 0.0,
    "partial_fourier": 1.0, "readout_filter": 0.0, "phase_filter": 0.0, "volume": 1, "zero_filling": 1.0,
}  # fmt: skip
NOISY = CLEAN | {"noise": [0.02, 0.2]}


def settings(ranges=NOISY, **others):
    usual = {
        "contrast": 1.0,
        "contrasts": 0.0,
        "lesions": 0,
        "boxes": 0,
        "keeps_contrast": False,
        "normalize": "percentile",
    }
    return Settings(ranges=ranges, **{**usual, "seed": 3, **others})


def head(seed):
    """Magnitudes of a made-up head, and its brain: a ball with stripes in a shell of another ball."""
    where = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    radius = np.sqrt((where**2).sum(axis=0))
    brain = radius < 10
    image = np.where(brain, 100 + 40 * np.sin(where[seed % 3] / 2), np.where(radius < 13, 60.0, 0.0))
    return image.astype(np.float32), brain


def store(path, seed=0, anatomy=True):
    image, brain = head(seed)
    low, high = np.percentile(image[brain], (0.5, 99.5))
    target = (np.where(brain, image, 0) - low) / (high - low)
    write_store(path, target, target, brain, 1.0, anatomy=(image, 1.0) if anatomy else None)
    return Store(path)


@pytest.fixture
def stores(tmp_path):
    return [store(tmp_path / f"sub-0{number}.safetensors", number) for number in range(2)]


def label_map(path, shift=0):
    """White matter in cortex in fluid in bone, left and right with numbers of their own."""
    where = np.indices((56,) * 3) - 27.5
    radius = np.sqrt((where**2).sum(axis=0))
    left = where[0] < shift
    found = np.select(
        [radius < 8, radius < 11, radius < 13, radius < 15],
        [np.where(left, 2, 41), np.where(left, 3, 42), 24, 515],
    )
    nifti.save(Volume(found.astype(np.int16), np.eye(4)), path, np.int16)
    return path


def whole(one):
    return {name: value[0].numpy() for name, value in one.whole().items()}


def test_every_epoch_has_sources_of_its_own_and_targets_stay(stores):
    redraw = Redraw(settings(), stores, [], CPU)
    first, again, second = redraw.drawn(0), redraw.drawn(0), redraw.drawn(1)
    for a, b, c, kept in zip(first, again, second, stores, strict=True):
        a, b, c, kept = map(whole, (a, b, c, kept))
        assert np.array_equal(a["source"], b["source"])
        assert np.abs(a["source"] - c["source"])[kept["mask"] > 0].mean() > 0.005
        assert np.array_equal(a["target"], kept["target"]) and np.array_equal(a["mask"], kept["mask"])
    assert Redraw(settings(seed=4), stores, [], CPU).drawn(0)[0].whole()["source"].ne(first[0].whole()["source"]).any()


def test_without_a_fault_the_source_is_the_target_with_what_is_around_it(stores):
    drawn = whole(Redraw(settings(CLEAN), stores, [], CPU).drawn(0)[0])
    inside = drawn["mask"] > 0
    assert np.abs(drawn["source"] - drawn["target"])[inside].mean() < 0.05
    # The shell is left, as it is around the sources of a study; the air has the value of intensity 0.
    image, _ = head(0)
    assert drawn["source"][image == 60].mean() > drawn["source"][0, 0, 0] + 0.3
    assert drawn["target"][image == 60].max() <= drawn["target"][0, 0, 0] + 1e-3


def test_less_contrast_is_of_the_source_alone(stores):
    """The spread of tissues by the mean: normalization takes the rest away."""
    plain, flat = (whole(Redraw(settings(CLEAN, contrast=value), stores, [], CPU).drawn(0)[0]) for value in (1.0, 0.4))
    assert np.array_equal(plain["target"], flat["target"])
    # Where 0 lies below the brain is what tells how much of a signal the contrast is.
    assert flat["source"][0, 0, 0] < plain["source"][0, 0, 0] - 1


def test_other_contrasts_are_of_source_and_target(stores):
    redraw = Redraw(settings(CLEAN, contrasts=1.0, keeps_contrast=True), stores, [], CPU)
    kinds = []
    for epoch in range(6):
        drawn = whole(redraw.drawn(epoch)[0])
        inside = drawn["mask"] > 0
        assert np.abs(drawn["source"] - drawn["target"])[inside].mean() < 0.08, "on one scale"
        own = whole(stores[0])["target"][inside]
        kinds.append(np.corrcoef(own, drawn["target"][inside])[0, 1])
    assert min(kinds) < 0.6 < max(kinds), "some fall where others rise"


def test_lesions_are_of_source_and_target(stores):
    redraw = Redraw(settings(CLEAN, lesions=3, keeps_contrast=True), stores, [], CPU)
    changed = 0
    for epoch in range(4):
        drawn, own = whole(redraw.drawn(epoch)[0]), whole(stores[0])
        inside = drawn["mask"] > 0
        lesion = np.abs(np.corrcoef(drawn["target"][inside], own["target"][inside])[0, 1]) < 0.995
        changed += lesion
        assert np.abs(drawn["source"] - drawn["target"])[inside].mean() < 0.08
    assert changed


def test_maps_are_drawn_beside_the_scans(stores, tmp_path):
    maps = [label_map(tmp_path / "map-1.nii.gz")]
    redraw = Redraw(settings(CLEAN, keeps_contrast=True), stores, maps, CPU)
    assert len(redraw) == 3
    first, second = (whole(redraw.drawn(epoch)[2]) for epoch in (0, 1))
    assert max(first["mask"].shape) < 48 and first["mask"].sum() > 5000, "cut to the brain"
    inside = first["mask"] > 0
    assert np.abs(first["source"] - first["target"])[inside].mean() < 0.1
    assert np.abs(first["target"] - second["target"])[inside].mean() > 0.05
    patches = draw(redraw.drawn(0), Sampling((16, 16, 16), 4, 0.9, 0), 0)
    assert len(patches) == 12 and {tuple(patch["source"].shape) for patch in patches} == {(1, 16, 16, 16)}


def test_boxes_are_parts_of_the_brain_with_an_acquisition_each(tmp_path):
    image, brain = (np.pad(array, 24) for array in head(0))
    write_store(tmp_path / "sub-01.safetensors", image / 140, image / 140, brain, 1.0, anatomy=(image, 1.0))
    given = [Store(tmp_path / "sub-01.safetensors")]
    plain = Redraw(settings(CLEAN, boxes=3, keeps_contrast=True), given, [], CPU, patch=16)
    boxes = plain.drawn(0)
    assert len(plain) == len(boxes) == 3
    places = []
    for box in map(whole, boxes):
        inside = box["mask"] > 0
        assert box["mask"].shape == (24, 24, 24), "eight voxels more than a patch"
        assert inside.mean() > 0.1
        assert np.abs(box["source"] - box["target"])[inside].mean() < 0.05, "its edges are as right as its middle"
        # Of a brain of which it is a part: narrower than the whole.
        assert np.ptp(box["target"][inside]) < 1.2
        places.append(np.argwhere(inside).mean(axis=0))
    assert np.ptp(places, axis=0).max() > 1, "elsewhere each time"
    noisy = Redraw(settings(boxes=3, keeps_contrast=True), given, [], CPU, patch=16)
    first, again, later = noisy.drawn(0), noisy.drawn(0), noisy.drawn(1)
    assert all(np.array_equal(whole(a)["source"], whole(b)["source"]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(whole(first[0])["source"], whole(later[0])["source"])
    noise = [np.std((one["source"] - one["target"])[one["mask"] > 0]) for one in map(whole, first)]
    assert max(noise) > 1.2 * min(noise)


def test_boxes_keep_the_targets_where_contrasts_are_learned(stores):
    (box,) = Redraw(settings(boxes=1), stores[:1], [], CPU, patch=4).drawn(0)
    target, kept = whole(box)["target"], whole(stores[0])["target"]
    assert target.shape == (12, 12, 12)
    places = np.lib.stride_tricks.sliding_window_view(kept, target.shape)
    assert (places == target).all(axis=(3, 4, 5)).any()
    assert float(box.read((-1, 0, 0), (1, 1, 1))["target"]) == kept[0, 0, 0]


def test_a_map_that_is_none_is_named(stores, tmp_path):
    path = tmp_path / "map.nii.gz"
    for data, words in (
        (np.full((20, 20, 20), 0.5), "not whole numbers"),
        (np.zeros((20, 20, 20)), "the mask is empty"),
    ):
        nifti.save(Volume(data.astype(np.float32), np.eye(4)), path)
        with pytest.raises(UpfieldError, match=rf"map.nii.gz: .*{words}.*FreeSurfer's numbers"):
            Redraw(settings(keeps_contrast=True), stores, [path], CPU)


def test_a_contrast_without_any_is_drawn_again(stores, monkeypatch):
    flat = iter([True, True, False, False])
    monkeypatch.setattr(
        contrast, "recoloured", lambda image, generator: torch.full_like(image, 0.5) if next(flat) else image
    )
    (drawn, _) = Redraw(settings(CLEAN, contrasts=1.0, keeps_contrast=True), stores, [], CPU).drawn(0)
    assert whole(drawn)["target"].std() > 0.1


def test_stores_without_anatomy_are_named(tmp_path):
    with pytest.raises(UpfieldError, match=r"holds no anatomy .* rerun the stage patches"):
        Redraw(settings(), [store(tmp_path / "sub-01.safetensors", anatomy=False)], [], CPU)


def test_a_training_that_draws_anew_goes_on_as_if_never_stopped(tmp_path):
    files = {part: [tmp_path / f"{part}.safetensors"] for part in ("train", "val")}
    for number, paths in enumerate(files.values()):
        store(paths[0], number)
    drawn = {
        name: value
        for name, value in vars(settings(contrasts=0.5, lesions=1, keeps_contrast=True)).items()
        if name != "seed"
    }
    maps = [label_map(tmp_path / "map-1.nii.gz")]

    def run(name, epochs):
        folder = tmp_path / name
        train(folder, "unet3d", files, maps=maps, redraw=drawn, epochs=epochs)
        return folder

    once = run("once", 2)
    # As many epochs at a constant rate: the first of two is what one epoch is.
    stopped = tmp_path / "stopped"
    original, calls = Trainer._close_epoch, []

    def close(self, *arguments):
        original(self, *arguments)
        calls.append(1)
        self._stop = len(calls) == 1

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="stopped by the scheduler"):
        patch.setattr(Trainer, "_close_epoch", close)
        train(stopped, "unet3d", files, maps=maps, redraw=drawn, epochs=2)
    train(stopped, "unet3d", files, maps=maps, redraw=drawn, epochs=2)
    assert (stopped / "model.safetensors").read_bytes() == (once / "model.safetensors").read_bytes()
    card = read_json(once / "model.json")
    assert card["redrawn"]["maps"] == ["map-1.nii.gz"] and card["redrawn"]["contrasts"] == 0.5
    assert card["keeps_contrast"] is True
    # Validated on what it learns: the source's own scale, and not that of the study's targets, which are the sources.
    history = read_tsv(once / "history.tsv")
    assert (history["val_mae"] > 0.01).all()
    assert card["steps"] == 2 * (2 * 4 // 2), "one scan and one map, four patches of each, in twos"


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"pairing": "paired"}, "pairing is paired; simulate.redraw needs simulated"),
        ({"simulate": {"kind": "lowfield"}}, "simulate.kind is lowfield; simulate.redraw needs acquisition"),
        ({"preprocess": {"region": "head"}}, "preprocess.region is head; simulate.redraw needs brain"),
        ({"preprocess": {"normalize": {"method": "nyul"}}}, "needs percentile or minmax or zscore"),
        ({"preprocess": {"spacing": "native"}}, "preprocess.spacing is native; simulate.redraw needs a number of mm"),
        ({"methods": ["srgan3d"]}, "methods names srgan3d, which enlarges"),
        ({"source": {"channels": [{"suffix": "T1w"}, {"suffix": "T2w"}]}}, "simulate.redraw draws one"),
        ({"simulate": {"redraw": {"labels": "nowhere"}}}, "labels is nowhere, where no label map"),
        ({"simulate": {"ranges": [{}, {"blur": 1}]}}, "simulate.ranges has 'blur'"),
    ],
)
def test_what_cannot_be_drawn_anew_is_named_when_planning(over, message):
    example = read_yaml(config.ROOT / "config" / "examples" / "restore.yaml")
    whole = merged(merged(read_yaml(config.ROOT / "config" / "config.yaml"), example), {"methods": ["unet3d"]})
    whole["simulate"]["redraw"]["labels"] = None
    requirements.check_data(whole)
    with pytest.raises(UpfieldError, match=re.escape(message)):
        requirements.check_data(merged(whole, over))


# -- what is drawn ----------------------------------------------------------------------------------------------------


def tissues(*names):
    return torch.tensor([labels.NAMES.index(name) for name in names], dtype=torch.uint8)


def test_both_halves_of_the_brain_are_alike(tmp_path):
    found = labels.indices(nifti.load_labels(label_map(tmp_path / "map.nii.gz")).data)
    assert np.array_equal(found, found[::-1])
    assert set(np.unique(found)) == set(
        tissues("air", "white matter", "cortex", "cerebrospinal fluid", "cortical bone").tolist()
    )
    assert labels.brain(found).sum() == np.isin(found, tissues("white matter", "cortex", "cerebrospinal fluid")).sum()


def test_numbers_that_are_not_known_are_soft_tissue():
    found = labels.indices(np.array([[[0, 2, 999, 5000, 17]]]))
    assert [labels.NAMES[index] for index in found.ravel()] == [
        "air", "white matter", "soft tissue", "soft tissue", "hippocampus",
    ]  # fmt: skip


def test_images_of_a_map_have_every_contrast_and_dark_air():
    box = torch.zeros((36, 36, 36), dtype=torch.uint8)
    box[6:18, 6:30, 6:30], box[18:30, 6:30, 6:30] = tissues("white matter", "cortex")
    brighter = []
    for seed in range(12):
        image = labels.drawn(box, 1.0, np.random.default_rng(seed))
        assert image.min() >= 0 and float(image[:3].max()) < 0.02
        white, grey = (float(part.mean()) for part in (image[9:15, 9:27, 9:27], image[21:27, 9:27, 9:27]))
        brighter.append(white > grey)
    assert 2 <= sum(brighter) <= 10


@pytest.mark.parametrize("seed", range(6))
def test_a_curve_keeps_air_dark_and_says_one_intensity_one_value(seed):
    image = torch.linspace(0, 2, 1000).reshape(10, 10, 10)
    found = contrast.recoloured(image, np.random.default_rng(seed))
    assert found.min() >= 0 and float(found[0, 0, 0]) == 0 and found.max() < 2.5
    again = contrast.recoloured(image.flip(0), np.random.default_rng(seed))
    assert torch.equal(again.flip(0), found)


def test_lesions_lie_in_the_mask_and_are_as_large_as_they_should_be():
    image, mask = torch.ones((40, 40, 40)), torch.zeros((40, 40, 40), dtype=torch.bool)
    mask[18:22, 18:22, 18:22] = True
    sizes = []
    for seed in range(20):
        found = contrast.with_lesions(image, mask, 1.0, 1, np.random.default_rng(seed))
        changed = (found - 1).abs() > 0.05
        sizes.append(int(changed.sum()))
        if sizes[-1]:
            middle = torch.nonzero(changed).float().mean(dim=0)
            assert (middle >= 17).all() and (middle <= 23).all()
            assert float(found.min()) > 0.25 and float(found.max()) < 1.85
    largest = max(sizes)
    assert min(sizes) == 0 and 100 < largest < 4 / 3 * np.pi * (8 * 1.3 + 1) ** 3
    assert torch.equal(contrast.with_lesions(image, mask, 1.0, 0, np.random.default_rng(0)), image)
