"""Predictions as files: what an excluded pair has in their place, and what their sidecars may claim."""

import numpy as np
import pytest
from upfield import methods
from upfield.bids import sidecar
from upfield.evaluate import audit, calibration, harmonized, subject, tissues
from upfield.evaluate.case import Case
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.methods import model
from upfield.predict.enhance import enhance
from upfield.predict.harmonize import harmonize
from upfield.predict.interpolate import interpolate
from upfield.study.config import method_settings

REASON = "quality: source and target are mirror images"
SCALE = {"IntensityOffset": 10.0, "IntensityScale": 100.0, "SkullStripped": True}
ON_CPU = {"overlap": 0.5, "tta": False, "device": "cpu", "precision": "fp32"}


@pytest.fixture
def pair(tmp_path):
    """Files of a pair of scans, usable: a head of two shells, its source half as bright."""
    axes = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    head = (
        100 * (radius < 0.8)
        + 80 * (radius < 0.5)
        + 60 * (radius < 0.3)
        + np.random.default_rng(0).normal(0, 3, radius.shape)
    )
    images = {"source": head / 2, "target": head, "mask": radius < 0.8}
    images |= {f"{name}_preprocessed": (images[name] - 10) / 100 for name in ("source", "target")}
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in images}
    for name, data in images.items():
        nifti.save(Volume(data.astype(np.float32), np.diag([2.0, 2, 2, 1])), paths[name])
        write_json(sidecar(paths[name]), SCALE if name.endswith("preprocessed") else {})
    paths["transform"] = str(tmp_path / "from-source_to-target_xfm.txt")
    nifti.write_transform(paths["transform"], np.eye(4))
    return paths


@pytest.fixture
def weights(tmp_path):
    """Files of weights of two small networks."""
    settings = method_settings({"method_overrides": {"unet3d": {"base": 2, "levels": 1}}}, "unet3d")
    values = {key: value for key, value in settings.items() if key not in ("module", "preset")}
    for seed in "12":
        model.save(
            tmp_path / seed, methods.build(settings).state_dict(), {"module": settings["module"], "settings": values}
        )
    return [str(tmp_path / seed / "model.safetensors") for seed in "12"]


def exclude(pair, name="source_preprocessed"):
    """As preprocessing does where quality control excludes the pair."""
    write_json(sidecar(pair[name]), {"Excluded": REASON})


def judged_by(pair):
    return [str(sidecar(pair[f"{side}_preprocessed"])) for side in ("source", "target")]


def predicted(pair, weights, folder):
    """Every file that prediction and evaluation make of a pair, by what it is."""
    native = {name: pair[name] for name in ("source", "target", "transform")}
    made = {name: str(folder / f"made_{name}.nii.gz") for name in ("identity", "net", "std", "tissues")}
    interpolate(
        **native, source_mask=pair["mask"], source_preprocessed=pair["source_preprocessed"],
        target_preprocessed=pair["target_preprocessed"], prediction=made["identity"], method="identity",
        judged_by=judged_by(pair),
    )  # fmt: skip
    enhance(
        **native, target_preprocessed=pair["target_preprocessed"], network_input=[pair["source_preprocessed"]],
        models=weights, prediction=made["net"], std=made["std"], method="unet3d", inference=ON_CPU,
        judged_by=judged_by(pair),
    )  # fmt: skip
    tissues.segment_reference(pair["target"], pair["mask"], made["tissues"], "T1w", judged_by(pair))
    return made


def case(pair, made):
    return Case(
        participant="sub-01", mask=pair["mask"], outputs={name: made[name] for name in ("identity", "net")},
        uncertainties={"net": made["std"]}, reference=pair["target"], source=pair["source_preprocessed"],
        judged_by=judged_by(pair), suffix="T1w",
    )  # fmt: skip


def test_files_of_a_usable_pair_say_what_they_are(pair, weights, tmp_path):
    made = predicted(pair, weights, tmp_path)
    for name in ("identity", "net", "std"):
        said = read_json(sidecar(made[name]))
        assert "Excluded" not in said and said["Intensity"] == "intensities on the scale of the target image"
    assert "Excluded" not in read_json(sidecar(made["tissues"]))
    values, _ = subject.measured(case(pair, made), {}, ["psnr"])
    assert set(values["method"]) == {"identity", "net"}


@pytest.mark.parametrize("side", ["source", "target"])
def test_files_of_an_excluded_pair_carry_the_reason_and_claim_nothing(pair, weights, tmp_path, side):
    exclude(pair, f"{side}_preprocessed")
    made = predicted(pair, weights, tmp_path)
    for path in made.values():
        said = read_json(sidecar(path))
        assert said["Excluded"] == REASON
        assert "Intensity" not in said and "Models" not in said and "Samples" not in said
    # An image nevertheless, on the grid of the target: the source as it is.
    grid = nifti.load(pair["target"]).grid
    assert all(nifti.load_mask(path).grid.matches(grid) for path in made.values())
    for name in ("identity", "net"):
        np.testing.assert_allclose(nifti.load(made[name]).data, nifti.load(pair["source"]).data, atol=1e-3)
        assert read_json(sidecar(made[name]))["SkullStripped"] is False


def test_nothing_is_measured_of_an_excluded_pair(pair, weights, tmp_path):
    exclude(pair)
    excluded = case(pair, predicted(pair, weights, tmp_path))
    tables = [*subject.measured(excluded, {}, ["psnr"]), *audit.audited(excluded, str(tmp_path / "maps"))]
    assert all(table.empty for table in [*tables, calibration.calibrated(excluded)])


def test_a_harmonized_scan_of_an_excluded_one_carries_the_reason(pair, tmp_path):
    output = str(tmp_path / "out.nii.gz")
    targets = [str(sidecar(pair["target_preprocessed"]))]
    arguments = pair["source"], pair["mask"], pair["source_preprocessed"], [], targets, output
    harmonize(*arguments, method="identity", inference={})
    assert "Excluded" not in read_json(sidecar(output))
    exclude(pair)
    harmonize(*arguments, method="identity", inference={})
    said = read_json(sidecar(output))
    assert said["Excluded"] == REASON and "Intensity" not in said
    assert harmonized.measured(case(pair, {"identity": output, "net": output, "std": output}), []).empty


def test_a_scan_without_any_usable_target_to_be_like_says_so(pair, tmp_path):
    output = str(tmp_path / "out.nii.gz")
    exclude(pair, "target_preprocessed")
    targets = [str(sidecar(pair["target_preprocessed"]))]
    harmonize(
        pair["source"], pair["mask"], pair["source_preprocessed"], [], targets, output, method="identity", inference={}
    )
    assert "no usable target" in read_json(sidecar(output))["Excluded"]
