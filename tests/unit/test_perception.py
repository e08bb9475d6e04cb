"""How near and how sharp outputs and samples are."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from upfield.evaluate import perception
from upfield.evaluate.case import Case
from upfield.files import write_json, write_tsv
from upfield.image.nifti import Volume, save
from upfield.report.sections import uncertainty

METHODS = ["spline", "unet3d", "rectified_flow"]


@pytest.fixture
def made(tmp_path):
    """A target, its mask, outputs that are smooth, and a sample as rough as the target and as far away again."""
    random = np.random.default_rng(0)
    smooth = 200 + 40 * ndimage.gaussian_filter(random.normal(size=(20, 20, 20)), 3)
    details = 20 * random.normal(size=(2, 20, 20, 20))
    mask = np.zeros(smooth.shape, dtype=np.uint8)
    mask[3:17, 3:17, 3:17] = 1
    images = {
        "target": smooth + details[0], "spline": smooth + details[0] + 40, "unet3d": smooth, "rectified_flow": smooth,
        "sample": smooth + details[1],
    }  # fmt: skip
    for name, data in images.items():
        # What lies outside the brain must not count.
        save(Volume(np.where(mask, data, 1e5).astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    save(Volume(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    write_json(tmp_path / "good.json", {})
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})

    def case(sidecar):
        return Case(
            participant="sub-01", fold="0", mask=str(tmp_path / "mask.nii.gz"),
            outputs={name: str(tmp_path / f"{name}.nii.gz") for name in METHODS},
            reference=str(tmp_path / "target.nii.gz"), samples={"rectified_flow": str(tmp_path / "sample.nii.gz")},
            judged_by=[str(tmp_path / f"{sidecar}.json")],
        )  # fmt: skip

    return case


def test_a_sample_is_as_sharp_as_the_target_and_farther_from_it(made):
    table = perception.perceived(made("good"))
    assert list(table.columns) == perception.COLUMNS
    found = table.set_index(["method", "image"])
    assert list(found.index) == [*((name, "output") for name in METHODS), ("rectified_flow", "sample")]
    mean, sample = (found.loc[("rectified_flow", image)] for image in ("output", "sample"))
    assert sample["sharpness"] == pytest.approx(1, rel=0.15) and mean["sharpness"] < 0.1
    # Twice the squared error.
    assert mean["psnr"] - sample["psnr"] == pytest.approx(10 * np.log10(2), abs=0.3)
    # A shift of brightness is not a matter of sharpness.
    assert found.loc[("spline", "output"), "sharpness"] == pytest.approx(1, rel=1e-3)
    assert perception.perceived(made("bad")).empty


def test_the_report_shows_outputs_and_samples(made, tmp_path):
    table = pd.concat([perception.perceived(made("good")).assign(participant_id=f"sub-{n}") for n in range(3)])
    write_tsv(tmp_path / "perception.tsv", table)
    shown = uncertainty.perception(table, [*METHODS, "absent"])
    assert [(row["method"], row["image"], row["n"]) for row in shown["rows"]] == [
        *((name, "output", 3) for name in METHODS), ("rectified_flow", "sample", 3),
    ]  # fmt: skip
    assert shown["chart"][:4] == b"\x89PNG"
    assert uncertainty.perception(table.iloc[:0], METHODS) is None
