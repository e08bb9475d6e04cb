"""The viewer's volumes: where a voxel lands on a sheet, and that nothing but the brain is on one."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from upfield.image.nifti import Volume, load, save
from upfield.report import subject, viewer
from upfield.report.subject import SubjectImages


@pytest.fixture
def images(tmp_path):
    """A bright block at the patient's right front top, stored left-posterior-superior, in a mask with a margin."""
    random = np.random.default_rng(0)
    target = 100 * random.random((20, 24, 16)).astype(np.float32)
    target[:10, :12, 8:] += 1000
    mask = np.zeros(target.shape, np.float32)
    mask[1:-1, 1:-1, 1:-1] = 1
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("target", "mask", "spread")}
    for name, data in (("target", target), ("mask", mask), ("spread", target / 10)):
        save(Volume(data, affine), paths[name])
    return SubjectImages(
        "sub-01", paths["target"], paths["target"], paths["mask"], {"net": paths["target"]}, {"net": paths["spread"]}
    )


def values(view, name):
    """Grey levels of a sheet as (X, Y, Z)."""
    width, height, depth = view["shape"]
    sheet = np.asarray(Image.open(io.BytesIO(view["sheets"][name])).convert("L"))
    columns = view["columns"]
    tiles = sheet.reshape(-1, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)[:depth]
    return tiles[:, ::-1].transpose(2, 1, 0)


def test_every_image_has_a_sheet_in_which_right_front_and_top_are_where_they_belong(images):
    view = viewer.view(subject.read(images), 1e6)
    assert set(view["sheets"]) == {"input", "target", "output net", "uncertainty net", "error net"}
    assert view["reduced"] is None and view["spacing"] == [2, 2, 3]
    shown = values(view, "target").astype(float)
    assert shown.shape == tuple(view["shape"]) == (20, 24, 16)
    assert shown[12:18, 14:22, 10:14].mean() > 200 > 60 > shown[2:8, 2:10, 2:6].mean()


def test_too_many_voxels_are_averaged_on_the_finest_axes_and_stay_in_place(images):
    volumes = subject.read(images)
    full, small = viewer.view(volumes, 1e6), viewer.view(volumes, 4 * 1500)
    assert np.prod(small["shape"]) <= 1500 and small["reduced"] == pytest.approx(min(small["spacing"]), abs=1e-3)
    extent = np.multiply(full["shape"], full["spacing"])
    assert np.multiply(small["shape"], small["spacing"]) == pytest.approx(extent, rel=1e-3)
    centre = [np.array(v["start"]) + (np.array(v["shape"]) - 1) / 2 * v["spacing"] for v in (full, small)]
    assert centre[0] == pytest.approx(centre[1], abs=0.02)
    assert small["spacing"][0] == pytest.approx(small["spacing"][2], rel=0.2), "the coarse axis is spared"
    shown = values(small, "target").astype(float)
    half = [n // 2 for n in shown.shape]
    assert shown[half[0] + 1 : -1, half[1] + 1 : -1, half[2] + 1 : -1].mean() > 200


def test_small_errors_have_sheets_that_compression_of_the_images_does_not_drown(images, tmp_path):
    """An output 1 % off in its right half: its own sheet shows a half at zero and a half that is too bright."""
    target = load(images.target)
    change = np.zeros(target.data.shape, np.float32)
    change[:10] = 10
    save(target.with_data(target.data + change), tmp_path / "close.nii.gz")
    close = replace(images, outputs={"net": tmp_path / "close.nii.gz"}, uncertainties={})
    view = viewer.view(subject.read(close), 1e6)
    assert view["error"] < viewer.SMALL and set(view["sheets"]) == {"input", "target", "output net", "error net"}
    shown = values(view, "error net").astype(float)
    assert shown[2:9, 2:-2, 2:-2].mean() == pytest.approx(127.5, abs=3) and shown[11:18, 2:-2, 2:-2].min() > 240


def test_only_a_report_that_asks_for_faces_has_voxels_from_outside_the_brain(images):
    before = [viewer.view(subject.read(images, faces), 1e6)["sheets"] for faces in (False, True)]
    outside = load(images.mask).data == 0
    for path in (images.target, images.uncertainties["net"]):
        volume = load(path)
        save(volume.with_data(np.where(outside, 2000, volume.data).astype(np.float32)), path)
    after = [viewer.view(subject.read(images, faces), 1e6)["sheets"] for faces in (False, True)]
    assert after[0] == before[0]
    assert all(after[1][name] != before[1][name] for name in before[1] if name != "error net")
