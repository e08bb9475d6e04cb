"""The baseline `denoise`: what is chosen, on whom, and that its prediction is what was chosen."""

import numpy as np
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict.interpolate import interpolate
from upfield.report.sections import methods
from upfield.training import curves, denoising

SHAPE = (24, 24, 24)


@pytest.fixture
def pair(tmp_path):
    """Makes a pair whose source is the target, half as bright, with noise."""

    def make(number, noise=0.3, reason=None):
        random = np.random.default_rng(number)
        target = 100 + 40 * ndimage.gaussian_filter(random.normal(size=SHAPE), 3) / 0.03
        source = 0.5 * target + 20 * noise * random.normal(size=SHAPE)
        mask = np.zeros(SHAPE)
        mask[3:-3, 3:-3, 3:-3] = 1
        files = {"participant": f"sub-{number:02d}"}
        for name, data in (("source", source), ("target", target), ("mask", mask)):
            files[name] = str(tmp_path / f"{number}_{name}.nii.gz")
            nifti.save(Volume(data.astype(np.float32), np.eye(4)), files[name])
        for side, data in (("source", source), ("target", target)):
            low, high = map(float, np.percentile(data[mask > 0], (0.5, 99.5)))
            files[f"{side}_preprocessed"] = str(tmp_path / f"{number}_{side}preproc.nii.gz")
            said = {"IntensityOffset": low, "IntensityScale": high - low, "RobustRange": [low, high]}
            write_json(sidecar(files[f"{side}_preprocessed"]), said | ({"Excluded": reason} if reason else {}))
        files["transform"] = str(tmp_path / f"{number}_xfm.txt")
        nifti.write_transform(files["transform"], np.eye(4))
        return denoising.Pair(**files)

    return make


def psnr(pair, path):
    target, found, inside = nifti.load(pair.target).data, nifti.load(path).data, nifti.load_mask(pair.mask).data
    low, high = np.percentile(target[inside], (0.5, 99.5))
    return 10 * np.log10((high - low) ** 2 / np.square(found - target)[inside].mean())


def predicted(pair, method, path, models=()):
    interpolate(pair.source, pair.mask, pair.target, pair.transform, pair.source_preprocessed,
                pair.target_preprocessed, str(path), method, models)  # fmt: skip
    return psnr(pair, path)


def test_the_best_candidate_of_validation_is_kept_and_its_prediction_has_that_psnr(pair, tmp_path):
    train, val, bad = [pair(1), pair(2)], [pair(3)], pair(4, reason="no brain")
    denoising.fit_denoise(tmp_path / "model", train=[*train, bad], val=val, card={"fold": "0"})
    card = read_json(tmp_path / "model" / "model.json")
    best = max(card["candidates"], key=lambda found: found["psnr"])
    assert {key: best[key] for key in ("kind", "strength", "curve")} == card["settings"]
    assert card["psnr"] == best["psnr"] and card["tuned_on"] == "val" and card["fold"] == "0"
    assert card["participants"] == {"train": ["sub-01", "sub-02"], "val": ["sub-03"]}
    kinds = {(found["kind"], found["curve"]) for found in card["candidates"]}
    assert kinds == {(kind, curve) for kind in ("gaussian", "nlm") for curve in ("linear", "monotone")}
    assert (card["settings"]["kind"], card["settings"]["strength"]) != ("gaussian", 0.0)
    reached = predicted(val[0], "denoise", tmp_path / "out.nii.gz", [str(tmp_path / "model" / "model.safetensors")])
    # The edge of the box that is tuned on is not that of the image.
    assert reached == pytest.approx(card["psnr"], abs=0.2)
    assert reached > predicted(val[0], "spline", tmp_path / "spline.nii.gz") + 3


def test_without_noise_nothing_is_smoothed(pair, tmp_path):
    denoising.fit_denoise(tmp_path / "model", train=[pair(1, noise=0)], val=[pair(2, noise=0)], card={})
    settings = read_json(tmp_path / "model" / "model.json")["settings"]
    assert (settings["kind"], settings["strength"]) == ("gaussian", 0.0)


def test_validation_participants_decide_and_training_ones_where_there_are_none(pair, tmp_path):
    chosen = {}
    for name, val in (("noisy", [pair(3, noise=0.6)]), ("none", []), ("bad", [pair(4, reason="no brain")])):
        denoising.fit_denoise(tmp_path / name, train=[pair(1, noise=0)], val=val, card={})
        chosen[name] = read_json(tmp_path / name / "model.json")
    assert chosen["noisy"]["tuned_on"] == "val" and chosen["noisy"]["settings"]["strength"] > 0
    assert all(chosen[name]["tuned_on"] == "train" for name in ("none", "bad"))
    assert chosen["none"]["settings"]["strength"] == 0


def test_no_usable_training_pair_is_one_line(pair, tmp_path):
    with pytest.raises(UpfieldError, match="denoise: no usable pair among the training participants"):
        denoising.fit_denoise(tmp_path / "model", train=[pair(1, reason="no brain")], val=[pair(2)], card={})


def test_a_falling_curve_is_found():
    shown = np.linspace(0, 1, 1000)
    before, after = curves.fitted([(shown, 1 - shown**2)], "monotone")
    assert np.abs(denoising.denoising.curved(shown, before, after) - (1 - shown**2)).max() < 0.01
    before, after = curves.fitted([(shown, 3 - 2 * shown)], "linear")
    assert np.allclose(denoising.denoising.curved(np.array([0.25]), before, after), 2.5)


def test_the_methods_text_says_what_was_chosen():
    card = {"method": "denoise", "fold": "0", "tuned_on": "val", "psnr": 16.6,
            "settings": {"kind": "gaussian", "strength": 1.4, "curve": "linear"}}  # fmt: skip
    said = methods.tuned([{"method": "histogram_match"}, card])
    assert "gaussian 1.4 mm, linear curve (fold 0, 16.60 dB PSNR on validation participants)" in said
    assert methods.tuned([{"method": "histogram_match"}]) == ""
