"""Scans cut into structures: on their own grid, with sides right in any orientation, and by the command."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from upfield.bids import sidecar
from upfield.catalogue import structures
from upfield.catalogue.structures import MEASURED
from upfield.commands import alone
from upfield.commands.segment import segment as command
from upfield.errors import ScanError, UpfieldError
from upfield.evaluate import anatomy, tissues
from upfield.evaluate.case import Case
from upfield.evaluate.metrics.registry import KNOWN
from upfield.evaluate.tissues import label_names
from upfield.files import read_json, read_tsv, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.methods import model
from upfield.methods.anatomy import MODULE, SETTINGS, Segmenter
from upfield.predict import segment as segmenting
from upfield.predict.segment import read, segment, volumes

SMALL = SETTINGS | {"base": 2, "blocks": 1, "width": 4}
# mm of the ball that stands for a brain.
RADIUS = 24.0


def index(name):
    return structures.NAMES.index(name) + 1


class ByPlace(Segmenter):
    """Left and right cortex in front, cerebellum of each side behind, brainstem below: by position alone."""

    def __init__(self):
        super().__init__(**SMALL)

    def forward(self, source):
        right, front, up = source[:, 1], source[:, 2], source[:, 3]
        found = torch.zeros((len(source), structures.COUNT, *source.shape[2:]))
        for side, sign in (("left", -1), ("right", 1)):
            found[:, index(f"{side} cortex")] = 20 * sign * right + 20 * front
            found[:, index(f"{side} cerebellum")] = 20 * sign * right - 20 * front
        found[:, index("brainstem")] = 200 * (-0.5 - up)
        return found


@pytest.fixture
def by_place():
    return segmenting.Segmenter(ByPlace(), {})


@pytest.fixture
def weights(by_place, monkeypatch, tmp_path):
    """A file that stands for the weights of the segmenter that evaluation reads."""
    monkeypatch.setattr(anatomy, "read", lambda folder: by_place)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return str(tmp_path / "model.safetensors")


def ball(codes, spacing, size=64.0):
    """A scan of a textured ball about the origin, with array axes that run along `codes`, and its brain."""
    axes = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    shape = [int(size // step) for step in spacing]
    for axis, (code, step) in enumerate(zip(codes, spacing, strict=True)):
        world, sign = axes[code]
        affine[:3, axis] = 0
        affine[world, axis] = sign * step
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    places = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape)) + affine[:3, 3][:, None, None, None]
    radius = np.sqrt((places**2).sum(axis=0))
    image = np.where(radius < RADIUS, 100 + 20 * np.sin(places[1] / 3), 0).astype(np.float32)
    return Volume(image, affine), radius < RADIUS, places


@pytest.mark.parametrize(
    ("codes", "spacing"),
    [("RAS", (1, 1, 1)), ("LIA", (1, 1, 1)), ("PSR", (0.8, 1.1, 0.9)), ("LPS", (1, 1, 4)), ("ASL", (2.5, 2.5, 1))],
)
def test_sides_and_places_are_those_of_the_world_on_the_scans_own_grid(by_place, codes, spacing):
    volume, mask, places = ball(codes, spacing)
    found = segment(volume, mask, by_place, "cpu")
    assert found.data.shape == volume.data.shape and np.array_equal(found.affine, volume.affine)
    assert found.data.dtype == np.int16 and not found.data[~mask].any()
    # Away from where one becomes the other, by as much as a voxel.
    clear = mask & (np.abs(places[:2]) > max(spacing)).all(axis=0)
    for name, there in {
        "left cortex": (places[0] < 0) & (places[1] > 0) & (places[2] > 0),
        "right cortex": (places[0] > 0) & (places[1] > 0) & (places[2] > 0),
        "left cerebellum": (places[0] < 0) & (places[1] < 0) & (places[2] > 0),
        "brainstem": places[2] < -0.8 * RADIUS,
    }.items():
        where = clear & there
        assert where.any() and set(np.unique(found.data[where])) == {structures.numbered()[name]}, name
    table = volumes(found).set_index("name")["volume_ml"]
    ml = float(np.prod(spacing)) / 1000
    assert table.sum() == pytest.approx(mask.sum() * ml)
    assert table["left cortex"] == pytest.approx(table["right cortex"], rel=0.15) and table["left thalamus"] == 0


def test_slabs_and_windows_change_nothing(by_place, monkeypatch):
    volume, mask, _ = ball("RAS", (1, 1, 1))
    whole = segment(volume, mask, by_place, "cpu").data
    monkeypatch.setattr(segmenting, "SLAB", 7000)
    monkeypatch.setattr(segmenting, "WINDOW", 32)
    assert np.array_equal(segment(volume, mask, by_place, "cpu").data, whole)


def test_a_scan_without_a_brain_is_refused(by_place):
    volume, mask, _ = ball("RAS", (2, 2, 2))
    with pytest.raises(ScanError, match="the mask is empty"):
        segment(volume, np.zeros_like(mask), by_place, "cpu")


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A segmenter that has learned nothing."""
    torch.manual_seed(0)
    card = {"method": "anatomy", "module": MODULE, "settings": SMALL, "in_channels": 4, "upfield": "1.2.3"}
    model.save(tmp_path / "model", Segmenter(**SMALL).state_dict(), card | {"structures": structures.numbered()})
    return tmp_path / "model"


def test_a_model_is_read_with_its_card(folder):
    found = read(folder)
    assert found.network.in_channels == 4 and not found.network.training and found.card["upfield"] == "1.2.3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "restore"}, "its method is 'restore'; expected anatomy"),
        ({"module": "somewhere/evil.py"}, "expected anatomy"),
        ({"settings": SMALL | {"more": 1}}, "other settings or structures"),
        ({"settings": 3}, "other settings or structures"),
        ({"structures": {"left cortex": 3}}, "other settings or structures"),
    ],
)
def test_other_models_are_refused_in_one_line(folder, changes, message):
    card = read_json(folder / "model.json")
    write_json(folder / "model.json", card | changes)
    with pytest.raises(UpfieldError, match=message) as error:
        read(folder)
    assert "\n" not in str(error.value)


# -- evaluation --------------------------------------------------------------------------------------------------------


def test_every_structure_is_measured_once_or_left_out_by_name():
    measured = [number for numbers in MEASURED.values() for number in numbers]
    others = set(structures.numbered().values()) - set(measured)
    assert len(set(measured)) == len(measured) and all(MEASURED.values())
    assert others == {number for name, number in structures.numbered().items() if name.endswith(("accumbens", "lon"))}


def test_outputs_are_compared_with_what_is_found_in_the_target(weights, tmp_path):
    volume, mask, _ = ball("RAS", (2, 2, 2))
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in ("reference", "mask", "tissues", "same", "flat")}
    # Around the brain, where a network is shown nothing of either, outputs have a skull.
    images = {
        "reference": volume.data,
        "mask": mask.astype(np.float32),
        "flat": np.where(mask, 1, 9).astype(np.float32),
    }
    images["same"] = np.where(mask, volume.data, 300).astype(np.float32)
    for name, data in images.items():
        nifti.save(volume.with_data(data), paths[name])
        write_json(sidecar(paths[name]), {})
    anatomy.segment_reference(paths["reference"], paths["mask"], weights, paths["tissues"], "cpu")
    names = label_names(paths["tissues"])
    found = {names[label] for label in np.unique(nifti.load_labels(paths["tissues"]).data) if label}
    assert found == {"cortex", "cerebellum", "brainstem"}
    said = read_json(sidecar(paths["tissues"]))
    assert said["Segmentation"].startswith("anatomy")
    case = Case(
        participant="sub-01", mask=paths["mask"], reference=paths["reference"], judged_by=[paths["same"]],
        outputs={name: paths[name] for name in ("same", "flat")},
    )  # fmt: skip
    table = str(tmp_path / "table.tsv")
    anatomy.segment_outputs(case, paths["tissues"], weights, table, "cpu")
    rows = read_tsv(table).set_index(["method", "tissue"])
    assert (rows.dice["same"] == 1).all() and set(rows.loc["same"].index) == found
    # An output in which nothing can be found is told so, and the others are measured.
    assert rows.dice["flat"].isna().all()
    assert rows.truth_ml["same"].sum() == pytest.approx(mask.sum() * 8 / 1000)
    made = tissues.scores(read_tsv(table))
    assert {"dice_cortex", "volume_error_brainstem"} <= set(made.metric) <= set(KNOWN)


def test_a_target_without_structures_is_measured_as_a_whole(weights, tmp_path):
    volume, mask, _ = ball("RAS", (2, 2, 2))
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in ("reference", "mask", "tissues")}
    for name, data in {"reference": volume.data, "mask": np.zeros(mask.shape, np.float32)}.items():
        nifti.save(volume.with_data(data), paths[name])
    anatomy.segment_reference(paths["reference"], paths["mask"], weights, paths["tissues"], "cpu")
    assert label_names(paths["tissues"]) == {}
    assert "empty" in read_json(sidecar(paths["tissues"]))["NoLabels"]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path):
    """A skull-stripped scan."""
    volume, _, _ = ball("LAS", (3, 3, 3), 192.0)
    generator = np.random.default_rng(0)
    places = np.indices(volume.data.shape) - np.array(volume.data.shape)[:, None, None, None] / 2
    inside = np.sqrt((places**2).sum(axis=0)) < 21
    image = np.where(inside, 100 + 10 * generator.standard_normal(inside.shape), 0)
    path = tmp_path / "sub-01_T1w.nii.gz"
    nifti.save(volume.with_data(image.astype(np.float32)), path)
    return path


def run(*arguments):
    """The command as a shell runs it."""
    result = CliRunner().invoke(command, [*map(str, arguments), "--skull-stripped", "--device", "cpu"])
    if result.exception is not None and not isinstance(result.exception, UpfieldError | SystemExit):
        raise result.exception
    return result


def test_labels_tables_and_volumes_lie_beside_the_scan(scan, folder, by_place, monkeypatch, one_thread):
    monkeypatch.setattr(alone.segmenting, "read", lambda path: by_place)
    done = run(scan, "--model", folder)
    assert done.exception is None, done.output
    stem = scan.with_name("sub-01_desc-anatomy_dseg")
    assert {path.name for path in scan.parent.iterdir()} == {
        "model", scan.name, f"{stem.name}.nii.gz", f"{stem.name}.json", f"{stem.name}.tsv",
        "sub-01_desc-anatomy_morph.tsv",
    }  # fmt: skip
    labels = nifti.load_labels(f"{stem}.nii.gz")
    assert labels.grid.matches(nifti.load(scan).grid)
    table = read_tsv(f"{stem}.tsv")
    assert list(table) == ["index", "name"]
    assert dict(zip(table["name"], table["index"], strict=True)) == structures.numbered()
    measured = read_tsv(scan.with_name("sub-01_desc-anatomy_morph.tsv")).set_index("name")["volume_ml"]
    assert measured.sum() == pytest.approx((labels.data > 0).sum() * 0.027) and measured["left cortex"] > 10
    facts = read_json(f"{stem}.json")
    assert facts["Sources"] == [scan.name] and facts["Model"] == {
        "upfield": "1.2.3",
        "weights_sha": read_json(folder / "model.json")["weights_sha"],
    }


def test_what_goes_wrong_is_one_line_and_replaces_nothing(scan, folder, tmp_path, one_thread):
    output = tmp_path / "mine.nii.gz"
    output.write_bytes(b"mine")
    for arguments, message in (
        ((scan, "--model", folder, "-o", output), "mine.nii.gz is there already; give --overwrite"),
        ((scan, "--model", tmp_path / "none"), "none: no model.json is there"),
        ((folder, "--model", folder), "is no NIfTI file"),
    ):
        error = run(*arguments).exception
        assert message in str(error) and "\n" not in str(error)
    assert output.read_bytes() == b"mine"
    nifti.save(Volume(np.zeros((20, 20, 20), np.float32), np.eye(4)), tmp_path / "empty_T1w.nii.gz")
    assert str(run(tmp_path / "empty_T1w.nii.gz", "--model", folder).exception).startswith(
        "empty_T1w.nii.gz: the image"
    )
