"""As applied: what is known of a target is not used, and the rest is what `apply` does and evaluation measures."""

import numpy as np
import pandas as pd
import pytest
from upfield.bids import sidecar
from upfield.evaluate import subject
from upfield.evaluate.case import Case
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict.apply import move, prepare_tested, rescale
from upfield.predict.interpolate import interpolate
from upfield.preprocess.standardize import prepare, standardize
from upfield.report.context import StudyContext
from upfield.report.sections import as_applied
from upfield.study.designs import known
from upfield.study.designs.narrative import Narrative

SETTINGS = {"spacing": "native", "normalize": {"method": "zscore"}}
# Of the training targets: voxels (mm), and what 0 and 1 of the normalized images are as intensities.
TYPICAL = {"voxel": [2.0, 2.0, 2.0], "offset": 200.0, "scale": 50.0}


@pytest.fixture
def pair(tmp_path):
    """A pair in one world on one grid: in the brain, the source has 10 and 30, the target 100 and 200, half of each.

    Normalized (mean and standard deviation of the brain) both have -1 and 1. So on the target's scale the source is the
    target, and on the training targets' scale it has 150 and 250.
    """
    brain = np.zeros((24, 24, 24), bool)
    brain[4:20, 4:20, 4:20] = True
    left = np.arange(24)[:, None, None] < 12
    images = {
        "source": np.where(brain, np.where(left, 10.0, 30.0), 0),
        "target": np.where(brain, np.where(left, 100.0, 200.0), 0),
        "mask": brain,
    }
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in images}
    for name, data in images.items():
        nifti.save(Volume(data.astype(np.float32), np.diag([2.0, 2, 2, 1])), paths[name])
        write_json(sidecar(paths[name]), {})
    paths |= {name: str(tmp_path / f"{name}_T1w.nii.gz") for name in ("on_pair", "target_on_pair", "alone", "applied")}
    paths |= {"known": str(tmp_path / "known.nii.gz"), "typical": str(tmp_path / "typical.json")}
    paths["transform"] = str(tmp_path / "xfm.txt")
    nifti.write_transform(paths["transform"], np.eye(4))
    write_json(paths["typical"], TYPICAL)
    standardize(paths["source"], paths["mask"], paths["mask"], paths["on_pair"], SETTINGS, paths["transform"])
    standardize(paths["target"], paths["mask"], paths["mask"], paths["target_on_pair"], SETTINGS)
    prepare_tested(
        paths["typical"], image=paths["source"], mask=paths["mask"], preprocessed=paths["alone"], settings=SETTINGS,
        scale=[1, 1, 1],
    )  # fmt: skip
    return paths


def applied(pair, **others):
    rescale(
        pair["source"], pair["mask"], pair["alone"], pair["typical"], pair["applied"], "identity",
        judged_by=[str(sidecar(pair[name])) for name in ("on_pair", "target_on_pair", "alone")],
    )  # fmt: skip
    return case(pair, "applied", transform=pair["transform"], **others)


def case(pair, output, **others):
    return Case(
        participant="sub-01", mask=pair["mask"], outputs={"identity": pair[output]}, reference=pair["target"],
        judged_by=[str(sidecar(pair[name])) for name in ("on_pair", "target_on_pair", "alone")], **others,
    )  # fmt: skip


def values(of_case):
    table, _ = subject.measured(of_case, {}, ["mae", "mse", "psnr", "pearson"])
    return table[table["region"] == "brain"].set_index("metric")["value"]


def test_identity_as_applied_differs_from_identity_on_target_by_the_intensity_scale_alone(pair):
    interpolate(
        pair["source"], pair["mask"], pair["target"], pair["transform"], pair["on_pair"], pair["target_on_pair"],
        pair["known"], "identity",
    )  # fmt: skip
    on_target, alone = values(case(pair, "known")), values(applied(pair))
    # By hand: on the target's scale the output is the target, on the training targets' 150 for 100 and 250 for 200.
    assert on_target["mae"] == pytest.approx(0, abs=1e-3)
    assert alone["mae"] == pytest.approx(50, abs=1e-3) and alone["mse"] == pytest.approx(2500, rel=1e-4)
    # Range of the target in the brain: 100.
    assert alone["psnr"] == pytest.approx(20 * np.log10(100 / 50), abs=1e-3)
    assert alone["pearson"] == pytest.approx(on_target["pearson"]) == pytest.approx(1)
    # Were the target like those of training, nothing would differ.
    target = read_json(sidecar(pair["target_on_pair"]))
    own = {"voxel": [2.0] * 3, "offset": target["IntensityOffset"], "scale": target["IntensityScale"]}
    write_json(pair["typical"], own)
    assert values(applied(pair)).to_dict() == pytest.approx(on_target.to_dict(), abs=1e-3, rel=1e-3)


def test_an_output_as_applied_is_moved_to_the_target_with_the_registration(pair):
    applied(pair)
    shift = np.eye(4)
    shift[0, 3] = 4.0
    nifti.write_transform(pair["transform"], shift)
    moved = applied(pair).output("identity")
    own = nifti.load(pair["applied"]).data
    np.testing.assert_allclose(moved[:-2], own[2:], atol=1e-3)


def moved(pair, method, transform=None):
    path = pair["known"].replace("known", f"moved_{method}")
    move(
        pair["applied"], pair["source"], pair["target"], transform or pair["transform"], pair["target_on_pair"], path,
        method, judged_by=[str(sidecar(pair[name])) for name in ("on_pair", "target_on_pair", "alone")],
    )  # fmt: skip
    return path


def test_on_other_data_an_output_as_applied_is_compared_on_the_scale_of_its_target(pair):
    applied(pair)
    path = moved(pair, "identity")
    # By hand: 150 and 250 on the scale of the training targets are 0 +- 1, which this target has as 100 and 200.
    assert values(case(pair | {"moved": path}, "moved"))["mae"] == pytest.approx(0, abs=1e-3)
    said = read_json(sidecar(path))
    assert (
        said["Method"] == "identity" and said["SkullStripped"] is False and said["Intensity"].endswith("target image")
    )
    # The training targets' scale went in and out: the numbers are those of a study with the same pair.
    shift = np.eye(4)
    shift[:3, 3] = 0.7, -1.1, 0.4
    nifti.write_transform(pair["transform"], shift)
    standardize(pair["source"], pair["mask"], pair["mask"], pair["on_pair"], SETTINGS, pair["transform"])
    for method in ("identity", "spline"):
        interpolate(
            pair["source"], pair["mask"], pair["target"], pair["transform"], pair["on_pair"], pair["target_on_pair"],
            pair["known"], method,
        )  # fmt: skip
        found = moved(pair, method)
        inside = nifti.load(pair["mask"]).data > 0
        np.testing.assert_allclose(
            nifti.load(found).data[inside], nifti.load(pair["known"]).data[inside], rtol=1e-5, atol=1e-3
        )
        assert values(case(pair | {"moved": found}, "moved")).to_dict() == pytest.approx(
            values(case(pair, "known")).to_dict(), rel=1e-5, abs=1e-3
        )


def test_what_excludes_a_pair_leaves_its_source_in_the_place_of_an_output(pair):
    write_json(sidecar(pair["alone"]), {"Excluded": "no brain found"})
    applied(pair)
    path = moved(pair, "identity")
    assert read_json(sidecar(path))["Excluded"] == "no brain found"
    np.testing.assert_allclose(nifti.load(path).data, nifti.load(pair["source"]).data, atol=1e-3)


def test_a_tested_source_is_prepared_as_apply_prepares_it(pair, tmp_path):
    path = str(tmp_path / "prepare_T1w.nii.gz")
    prepare(pair["source"], pair["mask"], path, SETTINGS, TYPICAL["voxel"], (1, 1, 1))
    assert np.array_equal(nifti.load(path).data, nifti.load(pair["alone"]).data)
    assert read_json(sidecar(path)).keys() == read_json(sidecar(pair["alone"])).keys()


@pytest.mark.parametrize("judge", ["target_on_pair", "alone"])
def test_what_excludes_a_pair_or_its_source_alone_leaves_nothing_to_measure(pair, judge):
    write_json(sidecar(pair[judge]), {"Excluded": "no brain found"})
    excluded = applied(pair)
    said = read_json(sidecar(pair["applied"]))
    assert said["Excluded"] == "no brain found" and "Intensity" not in said and "Method" in said
    assert subject.measured(excluded, {}, ["mae"])[0].empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"evaluate": {"as_applied": False}}, "evaluate.as_applied is false"),
        ({"source": {"channels": [{"suffix": "T1w"}, {"suffix": "T2w"}]}}, ""),
    ],
)
def test_a_design_says_why_nothing_is_measured_as_applied(change, words):
    config = {
        "evaluate": {"as_applied": True, "as_others_count": False, "audit": False, "lesions": False},
        "source": {"channels": []},
    }
    for key, value in change.items():
        config[key] |= value
    reason = known()["paired"].not_applied(config)
    assert words in reason and bool(reason) == bool(words)
    tables = known()["paired"].tables(config)
    assert ("as_applied" in tables) is not bool(words)
    assert "as_applied" not in known()["unpaired"].tables(config)


def test_the_section_shows_both_means_and_names_who_and_what_is_missing(tmp_path):
    def board(name, mean, methods):
        rows = [(method, "test", "brain", "psnr", 1, mean, None, mean, mean) for method in methods]
        columns = ["method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"]
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / f"metrics/{name}.tsv", sep="\t", index=False)

    def people(name, who):
        rows = [(one, "identity", "0", "n/a", "test", "brain", "psnr", 20.0) for one in who]
        columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / f"metrics/{name}.tsv", sep="\t", index=False)

    (tmp_path / "metrics").mkdir()
    board("leaderboard", 22.0, ["identity", "spline"])
    board("as_applied_leaderboard", 20.0, ["identity"])
    people("per_subject", ["sub-01", "sub-02"])
    people("as_applied", ["sub-01"])
    context = StudyContext(tmp_path, {}, {}, Narrative())
    found = as_applied.build(context)["applied"]
    assert as_applied.applies(context) and found["lost"] == ["sub-02"] and found["left_out"] == ["spline"]
    ((cell,),) = [list(row["cells"].values()) for row in found["rows"]]
    assert (cell["alone"]["mean"], cell["known"]["mean"]) == (20.0, 22.0)
    empty = StudyContext(tmp_path / "none", {}, {}, Narrative())
    assert not as_applied.applies(empty)
    why = StudyContext(tmp_path / "none", {}, {}, Narrative(not_applied="evaluate.as_applied is false"))
    assert as_applied.applies(why) and as_applied.build(why)["applied"]["why"] == "evaluate.as_applied is false"
