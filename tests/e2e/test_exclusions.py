"""One study with a bad scan for every row of the guide's table of exclusions: all others finish, to the report."""

import gzip
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from upfield.files import read_json, read_tsv
from upfield.image import nifti
from upfield.patches import Store

from tests.e2e.conftest import ROOT, grid_of, head, run_snakemake
from tests.images import nifti_bytes

pytestmark = pytest.mark.slow

FIELD = {"low": 0.064, "high": 3}
ROLE = {"low": "source", "high": "target"}
# Those whose scans are good, by part of the split.
GOOD = {"sub-01": "train", "sub-02": "train", "sub-03": "val", "sub-04": "test"}
# Rows of the guide that this study cannot have, and the tests of those.
ELSEWHERE = {
    "participants.include does not name": "unit/test_bids.py::test_unwanted_participants_are_left_out_with_the_reason",
    "the DICOM folder is empty": "unit/test_bids.py::test_a_table_names_scans_outside_bids",
    "the same voxels as": "unit/test_copies.py::test_a_scan_under_two_labels_is_excluded_and_names_the_other",
    "nearly the same image as": "unit/test_near_copies.py::test_a_near_copy_is_excluded_and_names_the_other",
    "is no BIDS name": "unit/test_bids.py::test_scans_with_odd_names_say_so",
    "voxels; no scan": "unit/test_nifti.py::test_what_no_scan_of_a_head_can_be_is_excluded_with_the_reason",
    "no source scan of contrast": "e2e/test_folds.py::test_who_lacks_a_contrast_is_left_out",
    "dcm2niix made": "unit/test_dicom.py::test_a_series_that_is_not_one_image_is_excluded",
    "a slice of the DICOM series": "unit/test_dicom.py::test_slices_that_are_missing_or_uneven_exclude_with_the_reason",
    "intensities down to": "unit/test_degrade.py::test_what_is_no_magnitude_is_not_simulated",
    "found no brain": "unit/test_brain.py::test_blank_image_is_refused",
    ": … failed (": "unit/test_brain.py::test_a_program_that_fails_costs_one_scan",
    "the brain mask is empty": "unit/test_preprocess.py::test_empty_mask_is_refused",
    "registration failed": "unit/test_registration.py::test_a_registration_that_ants_gives_up_excludes_the_pair",
    "a few slices cannot be registered": "unit/test_template.py::test_brains_that_the_template_cannot_hold_are_refused",
    "beyond the working grid": "unit/test_template.py::test_brains_that_the_template_cannot_hold_are_refused",
}
NOISE = np.random.default_rng(0).uniform(1, 100, (12, 11, 10)).astype(np.float32)


def scan(root, person, session):
    return root / f"{person}/ses-{session}/anat/{person}_ses-{session}_T1w.nii.gz"


def write(path, data=NOISE, affine=None, field=None, **header):
    """A small scan with its sidecar, and changes of its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(nifti_bytes(data, affine, **header)))
    sidecar_of(path).write_text(json.dumps({"MagneticFieldStrength": field}))


def sidecar_of(path):
    return path.with_name(path.name.replace(".nii.gz", ".json"))


def moved(affine=(4.0, 4, 4), **entries):
    result = np.diag([*affine, 1.0])
    for place, value in entries.items():
        result[int(place[1]), int(place[2])] = value
    return result


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s1--0.nii.gz")


def renamed(path, to):
    """A scan with its sidecar, elsewhere."""
    path.rename(to)
    sidecar_of(path).rename(sidecar_of(to))


# What a scan is replaced by; `field` is kept, and the participant's other scan is good.
IMAGES = {
    "4D": {"data": np.repeat(NOISE[..., None], 3, axis=3)},
    "no affine": {"sform_code": 1, "qform_code": 0, "srow_x": [0, 0, 0, 0]},
    "no way": {"sform_code": 0, "qform_code": 0},
    "large voxels": {"affine": moved((4000, 4000, 4000)), "xyzt_units": 3},
    "small head": {"affine": moved((0.3, 0.3, 0.3))},
    "sheared": {"affine": moved(a02=20, a12=20)},
    "far": {"affine": moved(a03=1e7)},
    "complex": {"data": NOISE.astype(np.complex64)},
    "beyond": {"data": NOISE.astype(np.float64) * 1e40},
    "tiny": {"data": NOISE * np.float32(1e-30)},
    "constant": {"data": np.full_like(NOISE, 7)},
}
FILES = {
    "annexed": link_to_nothing,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "upper case": lambda path: path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ"))),
    "copied": lambda path: renamed(path, path.with_name(re.sub("^sub-[0-9]+", "sub-77", path.name))),
    "no datatype": lambda path: renamed(path, path.parents[1] / path.name),
    "sidecar": lambda path: sidecar_of(path).write_text('{"MagneticFieldStrength": '),
    "twice": lambda path: shutil.copy(path, path.with_name(path.name.replace("_T1w", "_run-2_T1w"))),
    "absent": lambda path: path.unlink(),
}


def ball(grid, number, radius):
    """Where the ball of a participant is, or a larger one around it."""
    where = np.tensordot(grid.affine[:3, :3], np.indices(grid.shape), axes=1) + grid.affine[:3, 3][:, None, None, None]
    return np.sqrt(((where - number) ** 2).sum(0)) < radius


def bad_brains(root):
    """Participants whose scans are images, but not of a brain that can be used; who is at fault, by participant."""
    low, high = (
        {n: grid_of(n, s, f) for n in range(5, 13)} for s, f in (((2.5, 2.5, 4.0), False), ((2.0, 2.5, 2.5), True))
    )
    for number in range(5, 13):
        for session, grids, contrast in (("low", low, 0.5), ("high", high, 2.0)):
            nifti.save(head(number, grids[number], contrast), scan(root, f"sub-{number:02d}", session))

    def replaced(number, session, data):
        grid = (low if session == "low" else high)[number]
        nifti.save(nifti.Volume(data.astype(np.float32), grid.affine), scan(root, f"sub-{number:02d}", session))

    speck = np.zeros(high[5].shape)
    speck[10, 10, 10:12] = 5, 6
    replaced(5, "high", speck)
    replaced(6, "high", np.where(ball(high[6], 6, 37), 300, 0))
    replaced(7, "high", np.random.default_rng(0).uniform(50, 99, high[7].shape))
    # The target of somebody else, who is not in the dataset.
    nifti.save(head(13, grid_of(13, (2.0, 2.5, 2.5), True), 2.0), scan(root, "sub-11", "high"))
    usual = head(12, high[12], 2.0).data
    replaced(12, "high", np.where(ball(high[12], 12, 43) & (usual == 0), 400, usual))
    return {
        "sub-05": ("target", "found 0 cm3"), "sub-06": ("target", "constant in the brain mask"),
        "sub-07": ("target", "meets the edge"),
        "sub-08": ("source", "no *_desc-brain_mask.nii.gz"), "sub-09": ("source", "found 3 cm3"),
        "sub-10": ("source", "several pieces"), "sub-11": ("pair", "mirror image"),
        "sub-12": ("target", "Brain volume"),
    }  # fmt: skip


def masks(root):
    """Brain masks of the sources, a derivative dataset; one is lacking, one is tiny, and one is in pieces."""
    for number in range(1, 13):
        path = scan(root, f"sub-{number:02d}", "low")
        if number != 8:
            image = nib.load(path)
            data = ball(nifti.load(path).grid, number, {9: 9, 10: 43}.get(number, 37))
            if number == 10:
                data[data.shape[0] // 2 + 6] = False
            mask = (
                root
                / "derivatives/masks"
                / path.relative_to(root).parent
                / path.name.replace("_T1w", "_desc-brain_mask")
            )
            mask.parent.mkdir(parents=True)
            nib.save(nib.Nifti1Image(data.astype(np.uint8), image.affine), mask)


@pytest.fixture(scope="module")
def finished(study, balls):
    """The study after its run; `expected` has who is excluded on which side at ingestion."""
    root = balls(4)
    brains = bad_brains(root)
    masks(root)
    for path in root.glob("sub-*/ses-*/anat/*.nii.gz"):
        sidecar_of(path).write_text(json.dumps({"MagneticFieldStrength": FIELD[path.parts[-3].removeprefix("ses-")]}))
    expected, number = {}, 20
    for name in [*IMAGES, *FILES]:
        for session, other in (("low", "high"), ("high", "low")):
            person, number = f"sub-{number}", number + 1
            for one in FIELD:
                # Nobody has the image of another.
                write(scan(root, person, one), data=NOISE + len(expected) + FIELD[one], field=FIELD[one])
            if name in IMAGES:
                write(scan(root, person, session), field=FIELD[session], **IMAGES[name])
            elif name == "twice":
                # Of somebody whose scans are good, who stays.
                person = "sub-01" if session == "low" else "sub-02"
                shutil.rmtree(root / f"sub-{number - 1}")
                FILES[name](scan(root, person, session))
                continue
            else:
                FILES[name](scan(root, person, session))
            # Of whom a scan is absent, the other one is left out.
            expected[person] = ROLE[other if name == "absent" else session]
    for session in FIELD:
        write(scan(root, "sub-A-05", session), field=FIELD[session])
        write(scan(root, "sub-unwanted", session), field=FIELD[session])
    rows = [f"{person}\t0\t{part}" for person, part in GOOD.items()]
    # Somebody who is lost in every part.
    rows += [f"{person}\t0\t{part}" for person, part in zip(sorted(brains), ["test", "val", "train"] * 3, strict=False)]
    split = root.parent / f"{root.name}_splits.tsv"
    split.write_text("\n".join(["participant_id\tfold\tsplit", *rows]) + "\n")
    made = study(
        {
            "study": "exclusions",
            "source": {
                "bids_dir": str(root), "entities": {"session": "low"}, "metadata": {"MagneticFieldStrength": 0.064},
                "brain": {"method": "mask"},
            },
            "target": {
                "bids_dir": str(root), "entities": {"session": "high"}, "metadata": {"MagneticFieldStrength": 3},
            },
            "participants": {"exclude": ["unwanted"]},
            "preprocess": {
                "spacing": 2.5, "n4": False, "brain": {"method": "none"}, "registration": {"transform": "none"},
            },
            "qc": {"thresholds": {"volume_cm3": {"max": 280, "action": "exclude"}}},
            "splits": {"file": str(split)},
            "patches": {"size": 16, "per_volume": 4, "per_volume_val": 2},
            "methods": [],
            "method_overrides": {"unet3d": {"base": 4, "levels": 1}},
            "train": {"epochs": 1, "max_steps": 2},
            "evaluate": {"metrics": ["psnr", "mae"], "regions": False, "segmentation": False},
        }
    )  # fmt: skip
    made.data, made.expected, made.brains = root, expected, brains
    made.run(here=True)
    return made


def patterns():
    """Stage and reason of every row of the guide's table, `…` standing for anything."""
    section = (ROOT / "docs/guide.md").read_text().split("## Exclusion")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    return [(row[0].strip("|` "), reason) for row in rows for reason in re.findall("`([^`]+)`", row[1])]


def matching(table, stage, reason):
    words = [re.escape(part.strip()) for part in reason.split("…")]
    # Names of the guide's example stand for others.
    pattern = ".*".join(words).replace("sub\\-01", ".*").replace("sub\\-07", ".*").replace("A\\-05", ".*")
    return table[(table["stage"] == stage) & table["reason"].str.fullmatch(f"{pattern}.*")]


def test_every_row_of_the_guide_is_in_this_study_or_tested_elsewhere(finished):
    table = read_tsv(finished.root / "excluded.tsv")
    open_ones = []
    for stage, reason in patterns():
        elsewhere = next((test for words, test in ELSEWHERE.items() if words in reason), None)
        if elsewhere is not None:
            path, test = elsewhere.split("::")
            assert f"def {test}(" in (ROOT / "tests" / path).read_text()
        elif matching(table, stage, reason).empty:
            open_ones.append(reason)
    assert not open_ones


def test_everybody_who_is_excluded_is_there_with_the_reason(finished):
    table = read_tsv(finished.root / "excluded.tsv")
    for person, role in finished.expected.items():
        rows = table[table["participant_id"] == person]
        assert (rows["stage"] == "ingest").all() and role in set(rows["role"]), person
    for person, (role, words) in finished.brains.items():
        (row,) = table[table["participant_id"] == person].to_dict("records")
        assert row["role"] == role and words in row["reason"], row
        assert row["stage"] == ("qc" if row["reason"].startswith("quality") else "preprocess")
    twice = table[table["participant_id"].isin(GOOD)]
    assert list(zip(twice["participant_id"], twice["role"], strict=True)) == [
        ("sub-01", "source"),
        ("sub-02", "target"),
    ]


def test_all_others_finish(finished):
    assert read_tsv(finished.root / "pairs.tsv")["participant_id"].tolist() == sorted(GOOD)
    splits = read_tsv(finished.root / "splits.tsv")
    assert dict(zip(splits["participant_id"], splits["split"], strict=True)) == GOOD
    card = read_json(finished.root / "models/unet3d/fold-0_seed-42/model.json")
    assert card["participants"] == {"train": ["sub-01", "sub-02"], "val": ["sub-03"]}
    assert card["domain"]["source"]["scans"] == card["domain"]["target"]["scans"] == 2
    values = read_tsv(finished.root / "metrics/per_subject.tsv")
    assert set(values["participant_id"]) == {"sub-04"}
    assert set(values["method"]) == {"identity", "spline", "histogram_match", "denoise", "unet3d"}
    assert set(read_tsv(finished.root / "metrics/leaderboard.tsv")["n"]) == {1}
    assert set(read_tsv(finished.root / "metrics/audit.tsv")["participant_id"]) == {"sub-04"}


def test_nobody_draws_from_an_excluded_pair_or_takes_its_prediction_for_one(finished):
    stores = {path.stem: Store(path) for path in (finished.root / "patches").iterdir()}
    assert {name for name, store in stores.items() if len(store.centres)} == {"sub-01", "sub-02", "sub-03"}
    assert set(stores) & set(finished.brains) == {"sub-06", "sub-07", "sub-09", "sub-10", "sub-12"}
    for person in finished.brains:
        # The good scan of such a pair is preprocessed as others are.
        made = set(finished.root.glob(f"{person}/ses-low/anat/*_space-target_desc-*_T1w.json"))
        for path in made - set(finished.root.glob(f"{person}/**/*_desc-preproc_T1w.json")):
            assert "Excluded" in read_json(path), path
    assert not list(finished.root.glob("sub-[2-9]*/**/*.nii.gz"))


def test_the_report_lists_everybody(finished):
    page = (finished.root / "report/index.html").read_text()
    table = read_tsv(finished.root / "excluded.tsv")
    missing = [person for person in set(table["participant_id"]) if person not in page]
    assert not missing
    images = page.split('<section id="images"')[1].split("</section>")[0]
    assert {person for person in [*GOOD, *finished.brains] if person in images} == {"sub-04"}


def test_a_second_run_has_nothing_to_do(finished):
    assert not finished.planned()


def applied(finished, root, *said):
    out = root.parent / f"{root.name}_applied"
    model = finished.root / "models/unet3d/fold-0_seed-42"
    said = [f"model={model}", f"bids_dir={root}", f"output_dir={out}", "source={brain: {method: none}}", *said]
    done = run_snakemake("apply", "--config", *said, here=True)
    assert done.returncode == 0, done.stdout[-6000:]
    return read_tsv(out / "apply-unet3d/applied.tsv").set_index("participant_id"), out / "apply-unet3d"


def test_a_trained_model_is_applied_to_the_others(finished, tmp_path):
    root = tmp_path / "new"
    for person, number in (("sub-01", 4), ("sub-02", 4), ("sub-03", 4)):
        scan(root, person, "low").parent.mkdir(parents=True)
        shutil.copy(scan(finished.data, f"sub-{number:02d}", "low"), scan(root, person, "low"))
    shutil.copy(finished.data / "dataset_description.json", root)
    sidecar_of(scan(root, "sub-01", "low")).write_bytes('{"InstitutionName": "München"}'.encode("latin-1"))
    nifti.save(
        nifti.Volume(np.where(np.indices((9, 9, 9)).sum(0) == 12, 5, 0).astype("f4"), np.diag([9, 9, 9, 1.0])),
        scan(root, "sub-02", "low"),
    )
    link_to_nothing(scan(root, "sub-03", "low"))
    table, out = applied(finished, root)
    assert table["status"].to_dict() == {"sub-01": "applied", "sub-02": "excluded", "sub-03": "excluded"}
    assert "brain extraction (none)" in table.loc["sub-02", "reason"]
    assert table.loc["sub-03", "reason"] == "the file does not exist"
    assert len(list(out.glob("sub-*/**/*_desc-unet3d_T1w.nii.gz"))) == 1
    page = (out / "report/index.html").read_text()
    assert all(person in page for person in table.index)


def test_a_model_of_which_all_scans_are_excluded_has_a_report(finished, tmp_path):
    root = tmp_path / "none"
    shutil.copytree(finished.data / "sub-05/ses-high", root / "sub-05/ses-high")
    shutil.copy(finished.data / "dataset_description.json", root)
    table, out = applied(finished, root)
    assert table["status"].to_dict() == {"sub-05": "excluded"}
    assert "brain extraction (none)" in (out / "report/index.html").read_text()
    assert not list(out.glob("sub-*/**/*_desc-unet3d_T1w.nii.gz"))
