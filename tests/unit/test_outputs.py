"""What a study writes, what is left over in its folder, and what it may not read because it writes it itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from upfield import files
from upfield.bids import sidecar
from upfield.bids.layout import holds, kind_of
from upfield.files import merged, read_tsv, write_json
from upfield.quality import judging
from upfield.study import outputs
from upfield.study.study import Study

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("sub-01/anat/sub-01_desc-brain_mask.nii.gz", "mask"),
        ("sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.json", "mask"),
        ("sub-01/anat/sub-01_from-source_to-target_mode-image_xfm.json", "transform"),
        ("sub-01/anat/sub-01_from-source_to-MNI_mode-image_xfm.nii.gz", "transform"),
        ("sub-01/anat/sub-01_space-target_desc-unet3d_T1w.nii.gz", "prediction"),
        ("models/unet3d/fold-0_seed-42/model.json", "card"),
        ("metrics/participants/sub-01_truth.tsv", "reference_values"),
        ("metrics/leaderboard.tsv", "table"),
        ("metrics/mine.tsv", None),
        ("models/unet3d/fold-0_seed-42/notes.txt", None),
        ("sub-01/anat/notes.txt", None),
        ("review/decisions.tsv", None),
    ],
)
def test_kind_of_a_file_is_known_by_its_path(path, kind):
    assert kind_of(path, {}) == kind


def test_values_that_a_name_can_have_may_be_given():
    card = "models/unet3d/fold-0_seed-42/model.json"
    assert kind_of(card, {"method": ["unet3d"], "seed": ["42"]}) == "card"
    assert kind_of(card, {"method": ["unet3d"], "seed": ["1", "4"]}) is None
    assert kind_of(card, {"method": []}) is None
    assert holds("models/unet3d", {}) and holds("sub-01/ses-1", {}) and not holds("rawdata", {})
    assert not holds("models/unet3d", {"method": ["unet"]})


# -- a study -----------------------------------------------------------------------------------------------------


@pytest.fixture
def configured(bids_tree, tmp_path):
    """The configuration of a study of two sessions of six people, with changes of the defaults."""
    root = bids_tree({f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None for n in range(1, 7) for s in (1, 2)})

    def make(**changes):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        sides = {
            side: {"bids_dir": str(root), "entities": {"session": str(number)}}
            for number, side in enumerate(("source", "target"), start=1)
        }
        return merged(merged(config, sides | {"study": "mine", "output_dir": str(tmp_path / "out")}), changes)

    return make


def write(study, path, **said):
    """A file of a study's folder, by its path below it, with the sidecar that Upfield writes."""
    whole = Path(study.root) / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(b"")
    if said:
        write_json(sidecar(whole), said)


def test_left_over_is_what_upfield_wrote_and_would_not_write_now(configured):
    study = Study(configured())
    tested = next(iter(study.tested))
    trained = next(name for name in study.contents if name not in study.tested)
    images = {
        f"{person}/ses-1/anat/{person}_ses-1_space-target_desc-{name}_T1w.nii.gz": {"Sources": ["bids::x"], **said}
        for person, name, said in (
            (tested, "unet3d", {"Method": "unet3d"}),
            (tested, "preproc", {}),
            # Of another split, of a participant that is gone, and of a method that is gone.
            (trained, "unet3d", {"Method": "unet3d"}),
            ("sub-99", "preproc", {}),
            (tested, "mymethod", {"Method": "my_method"}),
            # The user's own.
            (tested, "lesion", {}),
            (tested, "atlas", {"Method": "by hand"}),
        )
    }
    for path, said in images.items():
        write(study, path, **said)
    write(study, f"{tested}/ses-1/anat/{tested}_ses-1_space-target_desc-other_T1w.nii.gz")
    write(study, "sub-99/ses-1/anat/sub-99_ses-1_desc-brain_mask.nii.gz", Author="by hand")
    gone = ["models/cyclegan/fold-0_seed-42/model.json", "models/unet3d/fold-0_seed-7/model.safetensors",
            "models/unet3d/fold-3_seed-42/history.tsv", f"metrics/participants/{trained}_truth.tsv",
            "metrics/calibration.tsv", "patches/sub-99.safetensors", "qc/figures/sub-99_before.webp"]  # fmt: skip
    kept = ["models/unet3d/fold-0_seed-42/model.json", f"metrics/participants/{tested}.tsv", "metrics/leaderboard.tsv",
            "metrics/mine.tsv", "review/decisions.tsv", "models/cyclegan/notes.md", "logs/train/old.log",
            f"patches/{trained}.safetensors", "notes.txt", ".upfield/aside/1/patches/sub-99.safetensors"]  # fmt: skip
    for path in [*gone, *kept]:
        write(study, path)
    write(study, f"metrics/audit/{trained}/map.nii.gz")
    found = outputs.left_over(study, outputs.find(study))
    by_images = [path for path, said in list(images.items())[2:5]]
    expected = [*gone, *by_images, *(str(sidecar(path)) for path in by_images), f"metrics/audit/{trained}"]
    assert sorted(found) == sorted(expected)
    line = outputs.notice(study.root, found)
    assert str(len(expected)) in line and "put_aside" in line and "\n" not in line and len(line) < 600
    # What the configuration reads stays, such as a model to start from.
    config = configured(splits={"file": None}, train={"init_from": {}})
    config["evaluate"]["atlas"]["names"] = f"{study.root}/patches/sub-99.safetensors"
    again = Study.__new__(Study)
    again.__dict__.update(study.__dict__, config=config)
    assert "patches/sub-99.safetensors" not in outputs.left_over(again, outputs.find(again))
    assert outputs.notice(study.root, []) == ""

    listing = Path(study.root) / ".upfield/aside/2/files.tsv"
    outputs.put_aside(str(listing), study.config)
    assert sorted(read_tsv(listing)["path"]) == sorted(expected)
    assert all((listing.parent / path).exists() and not (Path(study.root) / path).exists() for path in expected)
    assert all((Path(study.root) / path).is_file() for path in kept)
    assert not (Path(study.root) / "models/unet3d/fold-3_seed-42").exists(), "no empty folders"
    assert outputs.left_over(study, outputs.find(study)) == []


def test_sidecars_that_were_lost_are_known(configured):
    study = Study(configured())
    scan = study.scans["sub-1_ses-1"]
    for path in (study.paths("mask", scan), study.transform(scan), study.preprocessed(scan)):
        write(study, Path(path).relative_to(study.root), Sources=["bids::x"])
    assert outputs.without_sidecar(outputs.find(study)) == []
    sidecar(study.paths("mask", scan)).unlink()
    sidecar(study.transform(scan)).unlink()
    lost = outputs.without_sidecar(outputs.find(study), outputs.OF_SCANS)
    assert lost == [str(sidecar(path).relative_to(study.root)) for path in sorted(
        map(Path, (study.paths("mask", scan), study.transform(scan))))]  # fmt: skip
    assert outputs.without_sidecar(outputs.find(study), ["prediction"]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"init_from": {"unet3d": "{root}/models/unet3d/fold-0_seed-42"}}},
        {"train": {"init_from": {"unet3d": "{root}/../mine/models/unet3d/fold-1_seed-42/"}}},
        {"source": {"bids_dir": "{root}"}},
        {"target": {"bids_dir": "{root}/sub-1"}},
        {"target": {"brain": {"method": "mask", "derivatives": "{root}"}}},
        {"preprocess": {"brain": {"mask": "{root}/sub-1/ses-1/anat/sub-1_ses-1_desc-brain_mask.nii.gz"}}},
        {"preprocess": {"template": {"image": "{root}/sub-1/anat/sub-1_space-target_desc-preproc_T1w.nii.gz"}}},
        {"splits": {"file": "{root}/splits.tsv"}},
        {"pairs": "{root}/pairs.tsv"},
        {"samples": "{root}/inventory.tsv"},
        {"evaluate": {"lpips_weights": "{root}/patches/sub-1.safetensors"}},
        {"evaluate": {"atlas": {"images": "{root}/{participant}/anat/{participant}_desc-tissues_dseg.nii.gz"}}},
        {
            "method_overrides": {
                "unet3d": {"perceptual_weights": "{root}/models/unet3d/fold-0_seed-42/model.safetensors"}
            }
        },
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_what_a_study_writes_it_must_not_read(configured, changes, refused):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return value.replace("{root}", f"{configured()['output_dir']}/mine")

    from upfield.study import places

    with refused("config: ", "which this study writes itself"):
        places.check(configured(**filled(changes)))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("splits", "{root}/review/splits.tsv"),
        ("splits", "{root}/my-splits.tsv"),
        ("splits", "{root}/../other/splits.tsv"),
        ("init", "{root}/../other/models/unet3d/fold-0_seed-42"),
        # Of a seed and of a method that the study has no more.
        ("init", "{root}/models/unet3d/fold-0_seed-7"),
        ("init", "{root}/models/cyclegan/fold-0_seed-42"),
        ("init", "{root}-2/models/unet3d/fold-0_seed-42"),
        ("atlas", "{root}/sub-1/anat/{participant}_desc-atlas_dseg.nii.gz"),
    ],
)
def test_other_files_may_lie_in_the_folder_of_a_study(configured, key, path):
    from upfield.study import places

    path = path.replace("{root}", f"{configured()['output_dir']}/mine")
    changes = {
        "splits": {"splits": {"file": path}},
        "init": {"train": {"init_from": {"unet3d": path}}},
        "atlas": {"evaluate": {"atlas": {"images": path}}},
    }
    places.check(configured(**changes[key]))


def test_a_link_to_what_a_study_writes_is_seen_through(configured, tmp_path, refused):
    from upfield.study import places

    folder = tmp_path / "out/mine/models/unet3d/fold-0_seed-42"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    with refused("train.init_from.unet3d", "writes itself"):
        places.check(configured(train={"init_from": {"unet3d": str(tmp_path / "link")}}))


# -- QC decisions ------------------------------------------------------------------------------------------------


def test_a_decision_stands_if_limits_leave_the_verdict_as_it_is():
    warn = {"mask_dice": {"min": 0.7, "action": "warn"}}
    strict = {"mask_dice": {"min": 0.7, "action": "exclude"}}
    measured = {"source": {"snr": None}, "target": {}, "pair": {"mask_dice": 0.6}}
    kept, lost = (
        {**measured, **judging.verdict(judging.judge(measured_numbers(measured), limit))} for limit in (warn, strict)
    )
    assert judging.stands(kept, warn) and judging.stands(kept, {}) and judging.stands(lost, strict)
    assert not judging.stands(kept, strict) and not judging.stands(lost, warn) and not judging.stands(lost, {})
    # The reason names the limit.
    assert not judging.stands(lost, {"mask_dice": {"min": 0.8, "action": "exclude"}})


def measured_numbers(measured):
    return {role: {k: float("nan") if v is None else v for k, v in values.items()} for role, values in measured.items()}


def test_what_a_decision_judged_must_know_of_it(configured):
    study = Study(configured(qc={"thresholds": {"mask_dice": {"min": 0.5, "action": "exclude"}}}))
    pair = study.pairs["sub-1"]
    path = Path(study.paths("quality", store="sub-1"))
    images = [Path(study.preprocessed(scan)) for scan in (pair.source, pair.target)]
    assert not study.stands("sub-1"), "nothing was judged"
    measured = {"source": {}, "target": {}, "pair": {"mask_dice": 0.6}}
    write_json(path, measured)
    for image in images:
        write(study, image.relative_to(study.root), Sources=["bids::x"])
    assert study.stands("sub-1")
    # It was judged again, and is newer than what follows from it.
    os.utime(images[0], ns=(10**18, 10**18))
    study.put_back(["sub-1"])
    assert path.stat().st_mtime_ns == 10**18
    # Excluded, but one image does not know it yet.
    study.config["qc"]["thresholds"]["mask_dice"]["min"] = 0.8
    write_json(path, measured | judging.verdict(judging.judge(measured, study.config["qc"]["thresholds"])))
    reason = judging.judge(measured, study.config["qc"]["thresholds"])[0]["reason"]
    write_json(sidecar(images[0]), {"Sources": ["bids::x"], "Excluded": reason})
    assert not study.stands("sub-1")
    time_of = path.stat().st_mtime_ns
    study.put_back(["sub-1"])
    assert path.stat().st_mtime_ns == time_of
    write_json(sidecar(images[1]), {"Sources": ["bids::x"], "Excluded": "the brain mask is empty"})
    assert study.stands("sub-1"), "a reason of its own comes first"


# -- half-written files ------------------------------------------------------------------------------------------


def test_files_of_writers_that_cannot_live_any_more_are_removed(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead = int(done.stdout)
    with files.atomic(tmp_path / "image.nii.gz") as mine:
        mine.write_bytes(b"half")
        old, day = time.time() - 2 * files.OLD, files.OLD
        names = {
            f".tmp-{files.PLACE}-{dead}-image.nii.gz": True,
            f".tmp-{files.PLACE}-{os.getpid()}-other.nii.gz": False,
            # On another machine, or as older versions called them: nobody knows, for a day.
            f".tmp-00000000-{dead}-image.nii.gz": False,
            f".tmp-{dead}-image.nii.gz": False,
            f".tmp-{dead}-old.nii.gz": True,
        }
        for name in names:
            (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / f".tmp-{dead}-old.nii.gz", (old, old))
        paths = [*map(tmp_path.joinpath, names), mine, tmp_path / ".tmp-gone"]
        removed = files.remove_abandoned(paths)
        assert {path.name for path in removed} == {name for name, gone in names.items() if gone} and day > 0
        assert mine.is_file()
    assert (tmp_path / "image.nii.gz").read_bytes() == b"half"


def test_half_written_files_of_a_study_are_found(configured):
    study = Study(configured())
    for name in ("models/unet3d/fold-0_seed-42/.tmp-1-model.json", ".upfield/.tmp-1-index.json", ".tmp-1-splits.tsv"):
        write(study, name)
    found = outputs.find(study)
    assert len(found.temporary) == 3 and outputs.left_over(study, found) == []
