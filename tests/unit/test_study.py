from pathlib import Path

import pytest
from upfield.bids import sidecar
from upfield.catalogue.methods import BUILT_IN
from upfield.files import read_json, write_json
from upfield.study.card import card_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(two_sessions):
    return two_sessions()


def test_a_side_may_have_brains_of_its_own_kind(study):
    made = study(target={"brain": {"method": "none"}})
    methods = {scan.role: made.brain(scan)["method"] for scan in made.scans.values()}
    assert methods == {"source": "deepbet", "target": "none"}


def test_unknown_brain_method_of_a_side_is_named(study, refused):
    with refused("source.brain.method", "deepbet"):
        study(source={"brain": {"method": "magic"}})


@pytest.mark.parametrize("fault", [None, "source", "target"])
def test_model_card_is_about_the_training_participants_alone(study, fault):
    made = study(source={"brain": {"method": "none"}})
    train, others = made.folds.members("0", "train"), made.folds.members("0", "val", "test")
    for person, volume in [(name, 1300.0) for name in train] + [(name, 9999.0) for name in others]:
        for scan in (made.pairs[person].source, made.pairs[person].target):
            facts = {
                "RobustRange": [0.0, volume],
                "IntensityProfile": [0.1, 0.3, 0.5, 0.7, 0.9],
                "NativeVoxelSize": [1.0, 2.0, 3.0],
                "BrainVolume": volume,
                "IntensityOffset": 0.0,
                "IntensityScale": volume,
            }
            write_json(sidecar(made.preprocessed(scan)), facts)
    if fault is not None:
        # The other scan of the pair is as good as any, but nobody learns from it.
        path = sidecar(made.preprocessed(getattr(made.pairs[train[0]], fault)))
        write_json(path, read_json(path) | {"Excluded": "no brain"})
    card = card_of(made, "0")
    learned = len(train) - (fault is not None)
    assert card["domain"]["source"]["scans"] == card["domain"]["target"]["scans"] == learned > 0
    assert card["domain"]["source"]["brain_volume"] == {"low": 1300.0, "high": 1300.0}
    assert card["domain"]["target"]["scale"] == 1300.0
    assert card["preprocess"]["brain"]["method"] == "none", "of the source, whose scans the model takes"
    assert (card["pairing"], card["simulate"], card["phantom"]) == ("paired", None, False)


def test_masks_of_a_derivative_dataset_are_found(study, tmp_path, refused):
    made = study(preprocess={"brain": {"method": "mask"}})
    scan = made.scans["sub-1_ses-1"]
    assert made.brain_files(scan) == []
    root = Path(scan.path).parents[3]
    for place in (root / "derivatives/other", tmp_path / "mine"):
        path = place / "sub-1/ses-1/anat/sub-1_ses-1_desc-brain_mask.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    assert [Path(path).parents[3].name for path in made.brain_files(scan)] == ["other"]
    chosen = study(preprocess={"brain": {"method": "mask", "derivatives": str(tmp_path / "mine")}})
    assert [Path(path).parents[3].name for path in chosen.brain_files(scan)] == ["mine"]
    # The simulated twin of a scan has the same head.
    twin = study(pairing="simulated", preprocess={"brain": {"method": "mask"}}).pairs["sub-1"].source
    with refused("preprocess.brain.derivatives"):
        study(preprocess={"brain": {"method": "mask", "derivatives": "/nowhere"}})
    assert twin.simulated


def test_a_simulated_source_of_a_stripped_target_takes_its_mask(study):
    made = study(pairing="simulated", preprocess={"brain": {"method": "none"}})
    pair = made.pairs["sub-1"]
    assert made.brain_files(pair.source) == [made.paths("mask", pair.target)]
    assert made.brain_files(pair.target) == []
    other = study(pairing="simulated", preprocess={"brain": {"method": "deepbet"}})
    assert other.brain_files(other.pairs["sub-1"].source) == []


@pytest.mark.parametrize("pairing", ["paired", "simulated"])
@pytest.mark.parametrize(
    ("marked", "named"),
    [(["source"], "source"), (["source", "target"], "target"), (["target"], "target"), ([], None)],
)
def test_the_scan_at_fault_is_named(study, pairing, marked, named):
    """A source inherits what is wrong with its target."""
    made = study(pairing=pairing, preprocess={"brain": {"method": "none"}})
    for pair in made.pairs.values():
        write_json(made.paths("quality", store=made.decided(pair.source)), {})
        for scan in (pair.source, pair.target):
            bad = pair.participant == "sub-3" and scan.role in marked
            write_json(sidecar(made.preprocessed(scan)), {"Excluded": "no brain"} if bad else {})
    used, left_out = made.design.cohort(
        made.index, (made.preprocessed, made.preprocessed), lambda store: made.paths("quality", store=store)
    )
    assert len(used) == 6 - bool(named)
    assert [(row.participant, row.role, row.reason) for row in left_out] == [("sub-3", named, "no brain")][
        : len(left_out)
    ]
    if named:
        assert left_out[0].path == getattr(made.pairs["sub-3"], named).path


def test_template_of_brain_extraction_must_be_there(study, refused):
    with refused("target.brain.template", "path of an image"):
        study(target={"brain": {"method": "template"}})


def test_absent_program_is_named_at_parse_time(study, refused, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with refused("preprocess.brain.method", "mri_synthstrip", "FreeSurfer"):
        study(preprocess={"brain": {"method": "synthstrip"}})


def test_a_sampler_has_a_sample_and_as_many_passes_as_it_takes_steps(study):
    over = {"rectified_flow": {"sampling_steps": 4}, "unet3d_patchgan": {"dropout": 0.1}, "unet3d": {"dropout": 0.1}}
    options = {"predict": {"uncertainty": 3}, "train": {"seeds": [1, 2]}, "method_overrides": over}
    made = study(methods=["rectified_flow", "unet3d_patchgan"], **options)
    assert made.methods.samplers == ["rectified_flow"] and "perception" in made.tables
    assert made.methods.passes("rectified_flow") == 2 * (1 + 3 * 4) + 4
    assert made.methods.passes("unet3d_patchgan") == made.methods.outputs("unet3d_patchgan") == 6
    assert made.methods.passes("spline") == 1
    (participant, *_) = made.tested
    assert made.sample("rectified_flow", participant).endswith("_space-target_desc-rectifiedflowsample_T1w.nii.gz")
    # Several seeds alone are a standard deviation, and no sample.
    seeds = study(methods=["rectified_flow"], train={"seeds": [1, 2]}).methods
    assert seeds.samplers == [] and "rectified_flow" in seeds.uncertain and seeds.passes("rectified_flow") == 2


def test_no_method_is_called_as_what_is_written_beside_another(study, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config/methods"
    folder.mkdir(parents=True)
    for name in ("unet3d_sample", "unet3dstd"):
        (folder / f"{name}.yaml").write_text((BUILT_IN / "unet3d.yaml").read_text())
        with refused("would write the same files", name):
            study(methods=[name])
