import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from scipy import ndimage
from upfield import bids
from upfield.files import merged, read_json, write_json
from upfield.image import identity, intensity, nifti
from upfield.image.nifti import Grid, Volume
from upfield.methods import model
from upfield.predict.apply import enhance_alone
from upfield.preprocess import derivatives, standardize
from upfield.study import application, config
from upfield.study.application import Application, resolve

ON_CPU = {"overlap": 0.5, "tta": False, "device": "cpu", "precision": "fp32"}

PREPROCESS = {
    "spacing": 1.0, "n4": False, "brain": {"method": "none"}, "registration": {"transform": "none", "seed": 42},
    "normalize": {"method": "percentile"},
}  # fmt: skip


@pytest.fixture
def dataset(bids_tree):
    return bids_tree(
        {
            "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz": None,
            "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz": None,
            "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz": None,
            "sub-02/anat/sub-02_run-1_T2w.nii.gz": None,
            "sub-02/anat/sub-02_run-2_T2w.nii.gz": b"this is not an image",
        }
    )


@pytest.fixture
def resolved(dataset, tmp_path):
    """The configuration of a run, from what the user gives."""

    def make(**given):
        given = {"bids_dir": str(dataset), "output_dir": str(tmp_path / "out"), **given}
        defaults = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
        return resolve(merged(defaults, given), given)

    return make


# What the card decides


def test_card_says_how_scans_are_prepared_and_the_user_which(resolved, trained):
    found = resolved(model=trained())
    assert found["study"] == "apply-unet3d"
    assert found["preprocess"]["n4"] is False and found["preprocess"]["brain"]["method"] == "none"
    assert found["source"]["entities"] == {"suffix": ["T2w"]}
    mine = resolved(model=trained(), study="mine", source={"entities": {"session": "1"}, "brain": {"method": "none"}})
    assert mine["study"] == "mine"
    assert mine["source"]["entities"] == {"suffix": ["T2w"], "session": "1"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"preprocess": {"n4": True}}, ["preprocess has no effect with model"]),
        ({"source": {"bids_dir": "/data"}}, ["source.bids_dir has no effect", "bids_dir"]),
        ({"train": {"epochs": 3}}, ["train.epochs has no effect"]),
        ({"bids": "/data"}, ["bids is not a known key", "bids_dir"]),
        ({"out_of_range": "ignore"}, ["out_of_range", "'ignore'", "warn, refuse"]),
    ],
)
def test_contradictions_are_named(resolved, trained, refused, given, words):
    with refused("config", *words):
        resolved(model=trained(), **given)


def test_dataset_must_be_given(resolved, trained, refused):
    with refused("bids_dir is not set"):
        Application(resolved(model=trained(), bids_dir=None))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), ["no model.safetensors", "results/"]),
        (lambda folder: (folder / "model.json").unlink(), ["no model.json"]),
        (lambda folder: (folder / "model.json").write_text("{"), ["model.json", "not a JSON file"]),
        (lambda folder: (folder / "model.json").write_text('{"a": 1}'), ["model.json", "is missing"]),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), ["model.safetensors cannot be read"]),
    ],
)
def test_folder_that_holds_no_usable_model(resolved, trained, refused, tmp_path, damage, words):
    folder = trained()
    damage(tmp_path / "model")
    with refused(*words):
        resolved(model=folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "toy"}, ["toy", "config/methods/"]),
        # A card must not choose which code is run.
        ({"module": "/tmp/other.py"}, ["unet3d has other code in /tmp/other.py"]),
        ({"settings": {"base": 2}}, ["unet3d has other settings", "levels", "Upfield 0.1.0"]),
        ({"scale": [2, 2]}, ["model.json: scale"]),
        ({"domain": {"source": {}}}, ["domain", "is missing"]),
    ],
)
def test_foreign_or_incompatible_card(resolved, trained, refused, changes, words):
    folder = trained()
    write_json(f"{folder}/model.json", read_json(f"{folder}/model.json") | changes)
    with refused(*words):
        resolved(model=folder)


@pytest.mark.parametrize(
    ("block", "value"),
    [
        ("spacing", 1e-6), ("spacing", -1), ("spacing", "1; rm -rf ."), ("spacing", float("nan")), ("spacing", None),
        ("n4", "yes"), ("n4", 1), ("other", 1),
        ("brain", {"method": "/bin/sh"}), ("brain", {"method": ["bet"]}), ("brain", {}), ("brain", None),
        ("brain", {"method": "none", "program": "/bin/sh"}),
        ("brain", {"method": "template", "template": "/etc/passwd", "mask": "/etc/passwd"}),
        ("brain", {"method": "template", "template": "a\n.nii", "mask": "b.nii"}),
        ("brain", {"method": "none", "derivatives": "a\0b"}),
        ("registration", {"transform": "none"}), ("registration", {"transform": "$(id)", "seed": 1}),
        ("registration", {"transform": "rigid", "seed": 1.5}), ("registration", {"transform": "rigid", "seed": -1}),
        ("template", {"name": "../../x", "image": None, "mask": None, "transform": "affine"}),
        ("template", {"name": None, "image": "/etc/shadow", "mask": "/etc/shadow", "transform": "affine"}),
        ("template", {"image": "a.nii"}),
        ("normalize", {"method": "__import__('os')"}), ("normalize", {"method": "nyul", "file": "x"}),
    ],
)  # fmt: skip
def test_a_card_says_of_preprocessing_what_a_configuration_may_say(resolved, trained, refused, block, value):
    folder = trained()
    path = f"{folder}/model.json"
    card = read_json(path)
    card["preprocess"][block] = value
    Path(path).write_text(json.dumps(card))
    with refused(path, f"preprocess.{block}"):
        resolved(model=folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pairing": "os.system"}, ["pairing"]),
        ({"simulate": {"kind": "lowfield", "run": "sh"}}, ["simulate"]),
        ({"settings": {"base": -1}}, ["base"]),
        ({"settings": {"base": "__import__('os')"}}, ["base"]),
        ({"domain": {"target": {"scale": float("inf")}}}, ["scale", "inf"]),
        ({"domain": {"source": {"intensity": {"low": float("nan")}}}}, ["low", "nan"]),
        ({"domain": {"target": {"offset": 10**400}}}, ["offset"]),
        ({"domain": {"target": {"voxel": [0, 1, 1]}}}, ["voxel"]),
        ({"scale": [10**9, 1, 1]}, ["scale"]),
        ({"best_val_mae": float("nan")}, ["best_val_mae", "nan"]),
    ],
)
def test_other_values_of_a_card_are_plausible(resolved, trained, refused, change, words):
    folder = trained()
    path = f"{folder}/model.json"
    Path(path).write_text(json.dumps(merged(read_json(path), change)))
    with refused(path, *words):
        resolved(model=folder)


def test_a_card_that_is_nested_without_end_is_one_line(resolved, trained, refused):
    folder = trained()
    Path(f"{folder}/model.json").write_text("[" * 100_000)
    with refused("not a JSON file"):
        resolved(model=folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_applied(resolved, trained, refused, value):
    folder = trained()
    weights = load_file(f"{folder}/model.safetensors")
    next(tensor for tensor in weights.values() if tensor.is_floating_point()).view(-1)[0] = value
    save_file(weights, f"{folder}/model.safetensors")
    card = read_json(f"{folder}/model.json")
    write_json(f"{folder}/model.json", {key: value for key, value in card.items() if key != "weights_sha"})
    with refused("not finite", "model.safetensors"):
        Application(resolved(model=folder))
    with refused("not finite"):
        model.load(folder)


def test_models_that_are_averaged_must_go_together(resolved, trained, refused):
    first, second = trained(name="a"), trained(name="b", seed=43)
    assert config.folders_of(resolved(model=[first, second])["model"]) == [first, second]
    other = merged(read_json(f"{first}/model.json")["preprocess"], {"spacing": 1.0})
    with refused("differ in preprocess", first):
        resolved(model=[first, trained(name="c", preprocess=other)])


# Which scans


def test_every_matching_scan_is_enhanced_and_the_others_say_why_not(resolved, trained):
    study = Application(resolved(model=trained()))
    assert sorted(study.scans) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_run-1"]
    assert study.enhanced(study.scans["sub-01_ses-1"]).endswith(
        "apply-unet3d/sub-01/ses-1/anat/sub-01_ses-1_desc-unet3d_T1w.nii.gz"
    )
    (broken,) = study.excluded
    assert "run-2" in broken.path and "cannot be read" in broken.reason


def test_two_contrasts_of_one_name_cannot_both_be_enhanced(resolved, trained):
    study = Application(resolved(model=trained(), source={"entities": {"suffix": ["T1w", "T2w"]}}))
    reasons = [row.reason for row in study.excluded if "sub-01" in row.path]
    assert reasons == ["sub-01_ses-2_T1w.nii.gz has the same entities"]


def test_a_model_of_several_contrasts_is_shown_those_of_one_session(resolved, trained):
    study = Application(resolved(model=trained(channels=["T2w", "T1w"])))
    (group,) = study.groups
    assert [(scan.name, scan.suffix) for scan in group] == [("sub-01_ses-2", "T2w"), ("sub-01_ses-2_rec-T1w", "T1w")]
    reasons = {Path(row.path).name: row.reason for row in study.excluded}
    assert "contrast T1w" in reasons["sub-01_ses-1_T2w.nii.gz"] and "contrast T1w" in reasons["sub-02_run-1_T2w.nii.gz"]
    assert "cannot be read" in reasons["sub-02_run-2_T2w.nii.gz"]
    like = {
        "RobustRange": [0.0, 250.0], "IntensityProfile": [0.15, 0.35, 0.55, 0.75, 0.85],
        "NativeVoxelSize": [2.0, 2.0, 4.0], "BrainVolume": 110.0, "IntensityOffset": 0.0, "IntensityScale": 250.0,
    }  # fmt: skip
    for scan in group:
        write_json(bids.sidecar(study.preprocessed(scan)), like | {"BrainVolume": 500.0 if scan.channel else 110.0})
    table = study.screened().set_index("scan")
    assert set(table.index) == {"sub-01_ses-1_T2w", "sub-01_ses-2_T2w", "sub-02_run-1_T2w", "sub-02_run-2_T2w"}
    warnings = table.loc["sub-01_ses-2_T2w", "warnings"]
    assert table.loc["sub-01_ses-2_T2w", "status"] == "applied"
    assert "sub-01_ses-2_rec-T1w_T1w: brain of 500 cm3" in warnings and "contrast T1w" in warnings
    write_json(bids.sidecar(study.preprocessed(group[1])), {"Excluded": "no brain"})
    assert study.screened().set_index("scan").loc["sub-01_ses-2_T2w", "reason"] == "no brain"


def test_an_unusable_contrast_leaves_its_whole_group_out(resolved, trained, bids_tree):
    names = ("T2w", "T1w")
    root = bids_tree(
        {f"sub-0{n}/anat/sub-0{n}_{name}.nii.gz": b"no image" if (n, name) == (1, "T1w") else None
         for n in (1, 2) for name in names} | {"sub-03/anat/sub-03_T1w.nii.gz": None}, "contrasts"
    )  # fmt: skip
    study = Application(resolved(model=trained(channels=list(names)), bids_dir=str(root)))
    assert [group[0].participant for group in study.groups] == ["sub-02"]
    reasons = {Path(row.path).name: row.reason for row in study.excluded}
    assert reasons["sub-01_T2w.nii.gz"] == reasons["sub-03_T1w.nii.gz"] == "the scan it belongs with cannot be used"
    assert "cannot be read" in reasons["sub-01_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("channels", "given", "words"),
    [
        (["T1w", "T2w"], [{"suffix": "T1w"}], ["names 1 contrasts", "2 contrasts, T1w, T2w"]),
        (["T1w"], [{"suffix": "T1w"}, {"suffix": "T2w"}], ["names 2 contrasts", "one contrast"]),
        (["T2w axi", "T2w cor"], [], ["say in source.channels", "'T2w axi' is no suffix"]),
    ],
)
def test_contrasts_are_as_many_as_the_model_takes(resolved, trained, refused, channels, given, words):
    with refused("config", *words):
        resolved(model=trained(channels=channels), source={"channels": given})


def test_acquisitions_are_enhanced_each_or_as_one(resolved, trained, bids_tree, refused):
    root = bids_tree({f"sub-01/anat/sub-01_run-{n}_T2w.nii.gz": None for n in (1, 2)}, "runs")
    given = {"model": trained(), "bids_dir": str(root)}
    assert len(Application(resolved(**given)).groups) == 2
    study = Application(resolved(**given, duplicates="average"))
    ((scan,),) = study.groups
    assert len(scan.further) == 1 and "desc-average" in study.native(scan)
    with refused("duplicates is newest", "every scan is enhanced"):
        resolved(**given, duplicates="newest")


def test_no_scan_at_all_is_a_mistake(resolved, trained, refused):
    with refused("source.entities.session is 9, which no scan has; there is 1, 2"):
        Application(resolved(model=trained(), source={"entities": {"session": "9"}}))


@pytest.mark.parametrize(("choice", "expected"), [("warn", "applied"), ("refuse", "excluded")])
def test_scans_out_of_range_are_kept_or_refused_as_asked(resolved, trained, choice, expected):
    study = Application(resolved(model=trained(), out_of_range=choice))
    like = {
        "RobustRange": [0.0, 250.0],
        "IntensityProfile": [0.15, 0.35, 0.55, 0.75, 0.85],
        "NativeVoxelSize": [2.0, 2.0, 4.0],
        "BrainVolume": 110.0,
        "IntensityOffset": 0.0,
        "IntensityScale": 250.0,
    }
    sidecars = {
        "sub-01_ses-1": like,
        "sub-01_ses-2": {**like, "NativeVoxelSize": [1.0, 1.0, 1.0]},
        "sub-02_run-1": {"Excluded": "brain extraction found 3 cm3"},
    }
    for name, content in sidecars.items():
        write_json(bids.sidecar(study.preprocessed(study.scans[name])), content)
    table = study.screened().set_index("scan")
    assert table.columns.tolist() == [name for name in application.COLUMNS if name != "scan"]
    assert table.loc["sub-01_ses-1_T2w", "status"] == "applied"
    assert table.loc["sub-01_ses-1_T2w", "warnings"] is None
    other = table.loc["sub-01_ses-2_T2w"]
    assert other["status"] == expected and "voxels of 1 x 1 x 1 mm" in other["warnings"]
    assert (other["output"] is None) == (choice == "refuse")
    assert table.loc["sub-02_run-1_T2w", ["status", "reason"]].tolist() == ["excluded", "brain extraction found 3 cm3"]
    assert "cannot be read" in table.loc["sub-02_run-2_T2w", "reason"]


def test_scans_that_the_model_has_seen_are_enhanced_with_a_warning(resolved, trained):
    folder = trained()
    study = Application(resolved(model=folder))
    card = read_json(Path(folder) / "model.json")
    path = study.scans["sub-01_ses-2"].path
    card["seen"] = {"participants": {"other": ["sub-01"]}, "images": [identity.digest(path)], "complete": True}
    write_json(Path(folder) / "model.json", card)
    study = Application(resolved(model=folder, out_of_range="refuse"))
    for name, scan in study.scans.items():
        like = {
            "RobustRange": [0.0, 250.0], "IntensityProfile": [0.15, 0.35, 0.55, 0.75, 0.85],
            "NativeVoxelSize": [2.0, 2.0, 4.0], "BrainVolume": 110.0, "IntensityOffset": 0.0, "IntensityScale": 250.0,
        }  # fmt: skip
        write_json(bids.sidecar(study.preprocessed(scan)), like if name != "sub-02_run-1" else {"Excluded": "no brain"})
    table = study.screened().set_index("scan")
    assert "has seen this participant or scan" in table.loc["sub-01_ses-2_T2w", "warnings"]
    assert table.loc["sub-01_ses-2_T2w", "status"] == "applied"
    assert table.loc["sub-01_ses-1_T2w", "warnings"] is None and table.loc["sub-02_run-1_T2w", "warnings"] is None
    card["seen"] |= {"participants": {"study": ["sub-01"]}, "images": []}
    write_json(Path(folder) / "model.json", card)
    table = Application(resolved(model=folder)).screened().set_index("scan")
    assert all("sub-01 of dataset study" in table.loc[f"sub-01_ses-{n}_T2w", "warnings"] for n in (1, 2))


# How scans are prepared, and where outputs lie


@pytest.fixture
def scan(tmp_path):
    """A textured ball of 20 mm on an oblong grid, 2 x 1.5 x 4 mm, with axes in another order; files of it."""

    def write():
        affine = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -30], [0, 0, 4.0, -40], [0, 0, 0, 1]])
        shape = (40, 32, 20)
        where = np.tensordot(affine[:3, :3], np.indices(shape), axes=1) + affine[:3, 3][:, None, None, None]
        inside = (where**2).sum(0) < 20**2
        data = np.where(inside, 200 + 5 * where[0] + 3 * where[1], 0).astype(np.float32)
        nifti.save(Volume(data, affine), tmp_path / "scan.nii.gz")
        nifti.save(Volume(inside.astype(np.uint8), affine), tmp_path / "mask.nii.gz", np.uint8)
        write_json(tmp_path / "mask.json", {})
        return str(tmp_path / "scan.nii.gz"), str(tmp_path / "mask.nii.gz"), str(tmp_path / "preproc.nii.gz")

    return write


@pytest.mark.parametrize(
    ("spacing", "typical", "scale", "expected"),
    [
        (3.0, [1, 1, 1], (1, 1, 1), [3, 3, 3]),
        ("native", [1.0, 1.5, 2.0], (1, 1, 1), [1, 1.5, 2]),
        # Alike is good enough: nothing is interpolated.
        ("native", [2.05, 1.5, 4.1], (1, 1, 1), [2, 1.5, 4]),
        ("native", [1.0, 1.0, 1.0], (2, 2, 1), [2, 1.5, 4]),
        # Thick slices are kept, by the measure of the voxels that the network takes.
        (1.0, [1, 1, 1], (2, 2, 1), [2, 2, 4]),
        (1.0, [1, 1, 1], (2, 2, 2), [2, 2, 2]),
        (0.5, [1, 1, 1], (2, 2, 2), [1, 1, 4]),
    ],
)
def test_scan_is_prepared_on_the_voxels_that_the_model_takes(scan, spacing, typical, scale, expected):
    image, mask, output = scan()
    settings = {"spacing": spacing, "normalize": {"method": "percentile"}}
    standardize.prepare(image, mask, output, settings, typical, scale)
    made, native = nifti.load(output), nifti.reorient(nifti.load(image))
    np.testing.assert_allclose(made.grid.spacing, expected)
    if expected == [2, 1.5, 4]:
        assert nifti.cut_out(native, made.grid) is not None, "its own voxels, copied"
    facts = read_json(bids.sidecar(output))
    assert facts["NativeVoxelSize"] == [2, 1.5, 4]
    # 4/3 pi 20^3 mm3, in voxels.
    assert abs(facts["BrainVolume"] - 33.5) < 1
    assert facts["IntensityProfile"] == sorted(facts["IntensityProfile"])


@pytest.mark.parametrize(
    ("spacing", "method", "scale", "over", "parts"),
    [
        (2.0, "unet3d", (1, 1, 1), {"base": 2, "levels": 1}, (1, 1, 2)),
        (4.0, "unet3d", (1, 1, 1), {"base": 2, "levels": 1}, (1, 1, 1)),
        ("native", "srdcgan", (4, 4, 1), {"width": 2, "factor": 4}, (4, 4, 1)),
    ],
)
def test_output_lies_on_the_native_grid_divided_to_the_models_resolution(
    scan, trained, tmp_path, spacing, method, scale, over, parts
):
    torch.manual_seed(0)
    image, mask, prepared = scan()
    settings = {"spacing": spacing, "normalize": {"method": "percentile"}}
    standardize.prepare(image, mask, prepared, settings, [1, 1, 1], scale)
    folder = trained(method=method, scale=scale, over=over)
    output = tmp_path / "out.nii.gz"
    weights = [f"{folder}/model.safetensors"] * 2
    enhance_alone(image, mask, [prepared], weights, str(output), ON_CPU, adds_change=False)
    made, native = nifti.load(output), nifti.load(image)
    assert made.grid.matches(nifti.refine(native.grid, parts))
    # In its place, on the scale of the card: networks start near interpolation. Far from the brain there is nothing.
    brain = nifti.load_mask(mask)
    share = nifti.resample(brain.with_data(brain.data.astype(np.float32)), made.grid).data
    assert 50 < np.median(made.data[share > 0.99]) < 450
    far = nifti.mask_on(brain.with_data(~nifti.dilated(brain, 8.0)), made.grid)
    assert far.any() and not made.data[far].any()
    facts = read_json(bids.sidecar(output))
    assert (facts["IntensityOffset"], facts["IntensityScale"]) == (50, 400)
    # Which model it is, without where the machine keeps it.
    assert all(Path(folder).match(entry["Folder"]) and entry["Folder"] != folder for entry in facts["Models"])
    assert len(facts["Models"][0]["Digest"]) == 16 and facts["Models"][0]["TrainingParticipants"] == 2


def test_what_keeps_the_contrast_gives_thin_slices_on_the_scale_of_the_scan(scan, trained, tmp_path):
    """`restore`, which starts as the identity: what comes back is the scan, with slices as thin as the model's."""
    image, mask, prepared = scan()
    settings = {"spacing": [1.0, 1.0, 1.0], "normalize": {"method": "percentile"}}
    standardize.prepare(image, mask, prepared, settings, [1, 1, 1], (1, 1, 1))
    assert nifti.load(prepared).grid.spacing == pytest.approx([1, 1, 1])
    assert read_json(bids.sidecar(prepared))["Resolution"] == "1.0 x 1.0 x 1.0 mm"
    folder = trained(method="restore", over={"base": 2, "blocks": 1}, keeps_contrast=True)
    output = str(tmp_path / "out.nii.gz")
    enhance_alone(image, mask, [prepared], [f"{folder}/model.safetensors"], output, ON_CPU, adds_change=False)
    made, native = nifti.load(output), nifti.load(image)
    assert made.grid.matches(nifti.refine(native.grid, (2, 2, 4)))
    inside = nifti.load_mask(mask).data
    back = nifti.resample(made, native.grid, order=1).data
    assert np.abs(back - native.data)[inside].mean() < 0.1 * np.ptp(native.data[inside])
    facts = read_json(bids.sidecar(output))
    own = read_json(bids.sidecar(prepared))
    assert (facts["IntensityOffset"], facts["IntensityScale"]) == (own["IntensityOffset"], own["IntensityScale"])
    assert "scale of the scan itself" in facts["Intensity"]


def test_what_keeps_the_contrast_names_its_outputs_after_the_scan_and_works_on_cubes(resolved, trained):
    over = {"base": 2, "blocks": 1}
    domain = read_json(Path(trained()) / "model.json")["domain"]
    domain["target"] = {**domain["target"], "suffix": ["T1w"]}
    names, spacings = {}, {}
    for kept in (True, False):
        folder = trained("restore", str(kept), over=over, keeps_contrast=kept, preprocess=PREPROCESS, domain=domain)
        run = Application(resolved(model=folder, source={"entities": {"suffix": "T2w"}}))
        names[kept] = {Path(run.enhanced(scan)).name for scan in run.scans.values()}
        spacings[kept] = run.grid_alone["spacing"]
    assert "sub-01_ses-2_desc-restore_T2w.nii.gz" in names[True]
    assert "sub-01_ses-2_desc-restore_T1w.nii.gz" in names[False], "with the contrast of what was learned"
    assert spacings == {True: [1.0, 1.0, 1.0], False: 1.0}


def test_a_model_of_heads_leaves_nothing_of_the_head_out(scan, trained, tmp_path):
    torch.manual_seed(0)
    image, mask, prepared = scan()
    brain = nifti.load_mask(mask)
    head = str(tmp_path / "head.nii.gz")
    nifti.save(brain.with_data(nifti.dilated(brain, 10.0)), head, np.uint8)
    settings = {"spacing": 2.0, "normalize": {"method": "percentile"}}
    standardize.prepare(image, mask, prepared, settings, [1, 1, 1], (1, 1, 1), region=head)
    weights, output = [f"{trained(over={'base': 2, 'levels': 1})}/model.safetensors"], str(tmp_path / "out.nii.gz")
    enhance_alone(image, mask, [prepared], weights, output, ON_CPU, adds_change=False, region=head)
    made = nifti.load(output)
    far = nifti.mask_on(brain.with_data(~nifti.dilated(brain, 18.0)), made.grid)
    rim = nifti.mask_on(brain.with_data(nifti.dilated(brain, 9.0) & ~nifti.dilated(brain, 7.0)), made.grid)
    assert made.data[rim].all() and not made.data[far].any()
    assert read_json(bids.sidecar(output))["SkullStripped"] is False


def test_a_model_that_works_in_the_space_of_a_template_gives_the_same_at_its_place(scan, trained, tmp_path):
    """Turned by a quarter and 50 mm aside, where the template has the same brain: the same output, on the same grid."""
    torch.manual_seed(0)
    image, mask, prepared = scan()
    aside = np.array([[0, -1.0, 0, 50], [1, 0, 0, -20], [0, 0, 1, 10], [0, 0, 0, 1]])  # from the scan to the template
    brain = nifti.load(mask)
    nifti.save(Volume(brain.data, aside @ brain.affine), tmp_path / "template_mask.nii.gz", np.uint8)
    ways = [str(tmp_path / f"{name}.txt") for name in ("to_template", "from_template")]
    for path, matrix in zip(ways, (np.linalg.inv(aside), aside), strict=True):
        nifti.write_transform(path, matrix)
    settings = {"spacing": 2.0, "normalize": {"method": "percentile"}}
    folder, made = trained(over={"base": 2, "levels": 1}), []
    for template_mask, there, back in ((None, None, None), (str(tmp_path / "template_mask.nii.gz"), *ways)):
        standardize.prepare(image, mask, prepared, settings, [1, 1, 1], (1, 1, 1), template_mask, there)
        output = str(tmp_path / "out.nii.gz")
        weights = [f"{folder}/model.safetensors"]
        enhance_alone(image, mask, [prepared], weights, output, ON_CPU, adds_change=False, from_template=back)
        made.append(nifti.load(output))
    assert nifti.load(prepared).affine[0, 3] > 10, "on the grid of the template"
    assert made[0].grid.matches(made[1].grid)
    core = nifti.mask_on(nifti.load_mask(mask), made[0].grid)
    # Networks start near interpolation, so two grids differ by little.
    assert np.corrcoef(made[0].data[core], made[1].data[core])[0, 1] > 0.99


def test_a_model_of_unpaired_scans_adds_its_change_and_interpolates_no_scan(scan, trained, tmp_path):
    image, mask, prepared = scan()
    settings = {"spacing": 3.0, "normalize": {"method": "percentile"}}
    standardize.prepare(image, mask, prepared, settings, [1, 1, 1], (1, 1, 1))
    over = {"width": 2, "blocks": 1, "discriminator_width": 2}
    folder = trained(method="cyclegan", over=over, pairing="unpaired")
    weights = load_file(f"{folder}/model.safetensors")
    last = max(name for name in weights if name.startswith("generator_a_to_b") and weights[name].shape == (1,))
    weights[last] = torch.full((1,), 0.2)  # of [-1, 1], so 0.1 of the robust range, everywhere
    model.save(Path(folder), weights, read_json(f"{folder}/model.json"))
    output = str(tmp_path / "out.nii.gz")
    enhance_alone(image, mask, [prepared], [f"{folder}/model.safetensors"], output, ON_CPU, adds_change=True)
    made, native, brain = nifti.load(output), nifti.load(image), nifti.load_mask(mask)
    assert made.grid.matches(native.grid) and not made.data[~brain.data].any()
    core = ndimage.binary_erosion(brain.data, iterations=3)
    expected = 50 + 400 * (derivatives.scaling_of(prepared).apply(native.data) + 0.1)
    np.testing.assert_allclose(made.data[core], expected[core], atol=2)


def test_refining_undoes_coarsening():
    grid = Grid((8, 6, 4), np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -30], [0, 0, 4.0, -40], [0, 0, 0, 1]]))
    for scale in ((1, 1, 1), (2, 3, 4)):
        assert nifti.coarsen(nifti.refine(grid, scale), scale).matches(grid, 1e-9)
        assert nifti.refine(nifti.coarsen(grid, (2, 2, 2)), (2, 2, 2)).matches(grid, 1e-9)
    assert nifti.world_axes(grid.affine) == (1, 0, 2)


def test_profile_does_not_depend_on_units():
    data = np.random.default_rng(0).gamma(4, 50, (20, 20, 20)).astype(np.float32)
    mask = np.ones(data.shape, dtype=bool)
    expected = intensity.profile(data, mask)
    np.testing.assert_allclose(intensity.profile(data * 7 + 100, mask), expected, atol=2e-4)
    assert intensity.profile(np.arange(10001.0).reshape(73, 137, 1), np.ones((73, 137, 1), dtype=bool))[2] == 0.5
