import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from upfield import bids
from upfield.bids import Scan
from upfield.bids.find import inspect
from upfield.bids.layout import Layout
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.study.index import build_index


def scan_file(participant, session=None, middle="", suffix="T1w"):
    """Path of an image in a dataset: participant "01", session "1", other entities such as "_run-1"."""
    folder = f"sub-{participant}/" + (f"ses-{session}/" if session else "")
    name = f"sub-{participant}" + (f"_ses-{session}" if session else "")
    return f"{folder}anat/{name}{middle}_{suffix}.nii.gz"


def side(folder, metadata=None, **entities):
    return {"bids_dir": str(folder), "entities": entities, "metadata": metadata or {}}


def study(source, target, pairing="paired"):
    everybody = {"include": [], "exclude": [], "near_copies": "exclude"}
    return {
        "source": source, "target": target, "pairing": pairing, "participants": everybody, "duplicates": "first",
        "pair_per": "participant",
        "samples": None, "phantom": None, "pairs": None, "output_dir": "results", "study": "test",
    }  # fmt: skip


@pytest.fixture
def reads(monkeypatch):
    """The paths of all scans opened from now on."""
    opened = []
    load = nifti.load_scan

    def counting(path):
        opened.append(str(path))
        return load(path)

    monkeypatch.setattr(nifti, "load_scan", counting)
    return opened


@pytest.fixture
def two_sessions(bids_tree):
    """Three participants with a 64 mT and a 3 T session."""
    content = {scan_file(p, session): None for p in ("01", "02", "03") for session in ("1", "2")}
    return bids_tree(content)


def names(scans):
    return [scan.key for scan in scans]


# Finding


def test_find_filters_by_entities(bids_tree):
    root = bids_tree(
        {
            scan_file("01", "1"): None,
            scan_file("01", "1", suffix="T2w"): None,
            scan_file("01", "1", "_acq-fast"): None,
            scan_file("01", "2", "_run-01"): None,
            scan_file("01", "2", "_run-02"): None,
            scan_file("02", "3"): None,
            "derivatives/other/sub-01/ses-1/anat/sub-01_ses-1_desc-x_T1w.nii.gz": None,
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.json": {},
        }
    )

    def found(**entities):
        return names(bids.find(root, "source", entities, {}))

    assert len(found()) == 6
    assert found(suffix="T2w") == ["sub-01_ses-1_T2w"]
    assert found(session=["1", "3"], suffix="T1w") == [
        "sub-01_ses-1_T1w",
        "sub-01_ses-1_acq-fast_T1w",
        "sub-02_ses-3_T1w",
    ]
    assert found(acquisition="fast") == ["sub-01_ses-1_acq-fast_T1w"]
    assert found(subject="02") == found(subject="sub-02") == found(session="ses-3") == ["sub-02_ses-3_T1w"]
    # YAML reads 1 as a number, BIDS writes 01.
    assert found(run=1) == found(run="01") == ["sub-01_ses-2_run-01_T1w"]
    assert found(ses=1, suffix="T2w") == ["sub-01_ses-1_T2w"]
    assert found(session="9") == []


def test_find_says_what_a_scan_is(bids_tree):
    root = bids_tree({scan_file("01", "1"): None, scan_file("02"): None})
    first, second = bids.find(root, "target", {}, {})
    assert first.participant == "sub-01" and first.session == "1" and first.role == "target"
    assert (first.folder, first.name, first.suffix) == ("sub-01/ses-1/anat", "sub-01_ses-1", "T1w")
    assert first.path == str(root / scan_file("01", "1"))
    assert (second.session, second.folder, second.name) == ("n/a", "sub-02/anat", "sub-02")


def test_find_opens_no_image(two_sessions, reads):
    assert len(bids.find(two_sessions, "source", {}, {})) == 6
    assert reads == []


def test_metadata_are_inherited(bids_tree, refused):
    root = bids_tree(
        {
            scan_file("01", "1"): None,
            scan_file("01", "2"): None,
            scan_file("02", "1"): None,
            "T1w.json": {"MagneticFieldStrength": 3, "Manufacturer": "A"},
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.json": {"MagneticFieldStrength": 0.064},
        }
    )

    def found(metadata):
        return names(bids.find(root, "source", {}, metadata))

    assert found({"MagneticFieldStrength": 0.064}) == ["sub-01_ses-1_T1w"]
    assert found({"MagneticFieldStrength": 3.0}) == ["sub-01_ses-2_T1w", "sub-02_ses-1_T1w"]
    assert len(found({"MagneticFieldStrength": [0.064, "3"], "Manufacturer": "A"})) == 3
    assert found({"Manufacturer": "B"}) == []
    assert found({"EchoTime": 0.003}) == []

    def within(**ends):
        return found({"MagneticFieldStrength": ends})

    assert within(min=2.5, max=3.5) == within(min=3) == within(min=3, max=3) == found({"MagneticFieldStrength": 3})
    assert within(max=2.9) == found({"MagneticFieldStrength": 0.064})
    # What is no number, or is not there, is in no range.
    assert found({"Manufacturer": {"min": 0}}) == found({"EchoTime": {"max": 1}}) == []
    with refused("source.metadata.MagneticFieldStrength", "from 4 to 3"):
        within(min=4, max=3)
    assert bids.find(root, "source", {"session": "1"}, {})[0].metadata == {
        "MagneticFieldStrength": 0.064,
        "Manufacturer": "A",
    }


def test_unknown_entity(two_sessions, refused):
    with refused("'sesion'", "session", "config"):
        bids.find(two_sessions, "source", {"sesion": "1"}, {})


# Pairing


def test_sessions_pair_by_participant(two_sessions):
    index = build_index(study(side(two_sessions, session="1"), side(two_sessions, session="2")))
    assert [pair.participant for pair in index.pairs] == ["sub-01", "sub-02", "sub-03"]
    assert {(pair.source.session, pair.target.session) for pair in index.pairs} == {("1", "2")}
    assert len(index.scans) == 6 and not index.excluded
    assert index.scans[0].shape == (6, 7, 8)
    assert index.scans[0].voxel == pytest.approx((2, 1.5, 3))
    assert index.scans[0].size > 0


@pytest.fixture
def damaged(bids_tree):
    """Sound pairs 01 and 06, and one participant for each way in which a scan can be useless."""
    four_dimensional = nib.Nifti1Image(np.random.default_rng(0).uniform(size=(4, 5, 6, 3)), np.eye(4)).to_bytes()
    content = {scan_file(f"0{i}", session): None for i in range(1, 7) for session in ("1", "2")}
    del content[scan_file("02", "2")]
    content[scan_file("03", "2")] = b"not an image"
    content["sub-04/ses-1/anat/sub-04_ses-1_T1w.nii"] = four_dimensional
    del content[scan_file("04", "1")]
    content[scan_file("05", "1")] = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    del content[scan_file("06", "1")]
    content[scan_file("06", "1", "_run-1")] = None
    content[scan_file("06", "1", "_run-2")] = None
    root = bids_tree(content)
    return build_index(study(side(root, session="1"), side(root, session="2")))


def test_useless_scans_are_left_out_with_reasons(damaged):
    assert [pair.participant for pair in damaged.pairs] == ["sub-01", "sub-06"]
    assert damaged.pairs[1].source.name == "sub-06_ses-1_run-1"
    reasons = {row.participant: row for row in damaged.excluded}
    assert sorted(reasons) == ["sub-02", "sub-03", "sub-04", "sub-05", "sub-06"]
    assert len(damaged.excluded) == 5
    assert "no target scan" in reasons["sub-02"].reason
    assert "cannot be read" in reasons["sub-03"].reason and reasons["sub-03"].role == "target"
    assert "4D" in reasons["sub-04"].reason
    assert "constant" in reasons["sub-05"].reason
    assert "more than one source" in reasons["sub-06"].reason and "run-1" in reasons["sub-06"].reason
    assert reasons["sub-06"].path.endswith("run-2_T1w.nii.gz")
    assert all("\n" not in row.reason and row.stage == "ingest" for row in damaged.excluded)


def test_inventory_has_every_scan_and_says_which_are_used(damaged):
    table = bids.inventory_table(damaged)
    assert len(table) == len(damaged.scans) == 12
    used = table[table["status"] == "used"]
    assert sorted(used["participant_id"]) == ["sub-01", "sub-01", "sub-06", "sub-06"]
    left_out = table[table["status"] == "excluded"]
    assert len(left_out) == 8
    assert (left_out["reason"] != "n/a").all()
    assert (used["reason"] == "n/a").all()


def test_tables_have_a_row_for_each_pair_and_exclusion(damaged):
    pairs = bids.pairs_table(damaged.pairs)
    assert pairs["source_name"].tolist() == ["sub-01_ses-1_T1w", "sub-06_ses-1_run-1_T1w"]
    assert pairs["target_name"].tolist() == ["sub-01_ses-2_T1w", "sub-06_ses-2_T1w"]
    excluded = bids.excluded_table(damaged.excluded)
    assert len(excluded) == 5
    assert bids.excluded_table([]).columns.tolist() == excluded.columns.tolist()


def test_unusable_first_run_gives_way_to_the_second(bids_tree):
    root = bids_tree(
        {
            scan_file("01", "1", "_run-1"): b"broken",
            scan_file("01", "1", "_run-2"): None,
            scan_file("01", "2"): None,
        }
    )
    index = build_index(study(side(root, session="1"), side(root, session="2")))
    assert [pair.source.name for pair in index.pairs] == ["sub-01_ses-1_run-2"]
    assert [row.path for row in index.excluded] == [str(root / scan_file("01", "1", "_run-1"))]


def test_no_pair_is_an_error_that_says_why(bids_tree, refused):
    root = bids_tree({scan_file("01", "1"): None})
    with refused("target.entities.session is 2, which no scan has; there is 1"):
        build_index(study(side(root, session="1"), side(root, session="2")))
    with refused("source.entities.session is 8, which no scan has; there is 1"):
        build_index(study(side(root, session="8"), side(root, session="9")))


def test_datasets_with_equal_names_are_told_apart(bids_tree, tmp_path):
    low, high = (bids_tree({scan_file("01"): None, scan_file("02"): None}, name) for name in ("low", "high"))
    index = build_index(study(side(low), side(high)))
    for pair in index.pairs:
        assert pair.source.path.startswith(str(low)) and pair.target.path.startswith(str(high))
        paths = {Layout(str(tmp_path))("corrected", scan) for scan in (pair.source, pair.target)}
        assert len(paths) == 2
    assert index.pairs[0].target.key == "sub-01_T1w"


def test_simulated_sources_come_from_the_targets(bids_tree):
    root = bids_tree(
        {scan_file("01"): None, scan_file("02"): b"broken", scan_file("03", None, "_run-1"): None}
        | {scan_file("03", None, "_run-2"): None}
    )
    nowhere = {"bids_dir": None, "entities": {}, "metadata": {}}
    index = build_index(study(nowhere, side(root), "simulated"))
    assert [pair.participant for pair in index.pairs] == ["sub-01", "sub-03"]
    assert all(pair.source.simulated and not pair.target.simulated for pair in index.pairs)
    assert all(pair.source.key != pair.target.key for pair in index.pairs)
    # A twin that was never acquired needs no row of its own.
    assert [(row.participant, row.role) for row in index.excluded] == [("sub-02", "target"), ("sub-03", "target")]
    assert bids.pairs_table(index.pairs)["source_path"].tolist() == ["n/a", "n/a"]


# The cache


def test_second_index_opens_no_image(two_sessions, tmp_path, reads):
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    cache = tmp_path / "cache.json"
    first = build_index(config, cache)
    assert len(reads) == 6
    again = build_index(config, cache)
    assert len(reads) == 6
    assert again == first


def test_changed_and_new_scans_are_read_again(two_sessions, bids_tree, tmp_path, reads):
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    cache = tmp_path / "cache.json"
    build_index(config, cache)
    changed, added = two_sessions / scan_file("02", "1"), two_sessions / scan_file("04", "1")
    nifti.save(Volume(np.random.default_rng(1).uniform(size=(9, 9, 9)).astype(np.float32), np.eye(4)), changed)
    added.parent.mkdir(parents=True)
    added.write_bytes(b"broken")
    reads.clear()
    index = build_index(config, cache)
    assert sorted(reads) == [str(changed), str(added)]
    assert {scan.shape for scan in index.scans if scan.path == str(changed)} == {(9, 9, 9)}
    assert [row.path for row in index.excluded] == [str(added)]


def test_without_rescan_the_dataset_is_not_touched(two_sessions, tmp_path):
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    cache = tmp_path / "cache.json"
    first = build_index(config, cache)
    shutil.rmtree(two_sessions)
    assert build_index(config, cache, rescan=False) == first


def test_cache_belongs_to_the_filters(two_sessions, tmp_path):
    cache = tmp_path / "cache.json"
    build_index(study(side(two_sessions, session="1"), side(two_sessions, session="2")), cache)
    turned = study(side(two_sessions, session="2"), side(two_sessions, session="1"))
    assert build_index(turned, cache, rescan=False).pairs[0].source.session == "2"
    # Other filters that match the same scans: a job must find its cache all the same.
    same = study(side(two_sessions, session=["2"]), side(two_sessions, session="1"))
    expected = build_index(same, cache)
    shutil.rmtree(two_sessions)
    assert build_index(same, cache, rescan=False) == expected


def test_cache_is_left_alone_when_nothing_changed(two_sessions, tmp_path):
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    cache = tmp_path / "cache.json"
    build_index(config, cache)
    before = cache.stat().st_mtime_ns, cache.stat().st_ino
    build_index(config, cache)
    assert (cache.stat().st_mtime_ns, cache.stat().st_ino) == before
    assert len(read_json(cache)["scans"]) == 6


# Names


def test_derivative_labels_are_alphanumeric(two_sessions):
    scan = bids.find(two_sessions, "source", {"session": "1"}, {})[0]
    layout = Layout("out", space="target")
    assert layout("enhanced", scan, method="unet3d_patchgan") == (
        "out/sub-01/ses-1/anat/sub-01_ses-1_desc-unet3dpatchgan_T1w.nii.gz"
    )
    assert layout("prediction", scan, method="unet3d", suffix="T2w") == (
        "out/sub-01/ses-1/anat/sub-01_ses-1_space-target_desc-unet3d_T2w.nii.gz"
    )
    assert layout("mask") == "out/{folder}/{scan}_desc-brain_mask.nii.gz", "without a scan the pattern of a rule"
    assert bids.label("a_b-c d.1") == "abcd1"


def test_sidecar_stands_beside_the_image():
    assert str(bids.sidecar("a/sub-01_T1w.nii.gz")) == "a/sub-01_T1w.json"
    assert str(bids.sidecar("a/sub-01_T1w.nii")) == "a/sub-01_T1w.json"


def test_participants_of_two_datasets(bids_tree):
    one = bids_tree({"participants.tsv": "participant_id\tsex\nsub-01\tF\nsub-02\tn/a\n"}, "one")
    two = bids_tree({"participants.tsv": "participant_id\tsex\nsub-02\tM\nsub-03\tM\n"}, "two")
    table = bids.participants_table({"source": str(one), "target": str(two)})
    assert table["participant_id"].tolist() == ["sub-01", "sub-02", "sub-02", "sub-03"]
    assert table["sex"].tolist() == ["F", "n/a", "M", "M"]
    assert table.index[2] == f"{two}/participants.tsv, line 2"
    assert len(bids.participants_table({"source": str(one), "target": str(one)})) == 2
    empty = bids.participants_table({"source": str(bids_tree({}, "none"))})
    assert len(empty) == 0 and "participant_id" in empty.columns


def test_a_problem_shows_in_no_pair(two_sessions):
    scans = [bids.inspect(scan) for scan in bids.find(two_sessions, "source", {"session": "1"}, {})]
    targets = [bids.inspect(scan) for scan in bids.find(two_sessions, "target", {"session": "2"}, {})]
    broken = replace(targets[0], problem="broken")
    pairs, excluded = bids.pair(scans, [broken, *targets[1:]])
    assert [pair.participant for pair in pairs] == ["sub-02", "sub-03"]
    assert [row.reason for row in excluded] == ["broken"]


@pytest.mark.real
def test_real_sessions_pair_on_different_grids(real_data):
    root = real_data / "open_ms"
    index = build_index(study(side(root, session="1", suffix="T1w"), side(root, session="2", suffix="T1w")))
    (pair,) = index.pairs
    one, two = (nifti.load(scan.path).grid for scan in (pair.source, pair.target))
    assert not one.matches(two)


@pytest.mark.real
def test_real_datasets_pair(real_data):
    full = build_index(study(side(None), side(real_data / "ds000011", suffix="T1w"), "simulated"))
    assert [pair.participant for pair in full.pairs] == [f"sub-0{i}" for i in range(1, 9)]
    root = real_data / "ulf"
    low = side(root, {"MagneticFieldStrength": 0.055}, suffix="T1w")
    high = side(root, {"MagneticFieldStrength": 3}, suffix="T1w")
    index = build_index(study(low, high))
    assert len(index.pairs) == 3 and not index.excluded
    assert {(pair.source.session, pair.target.session) for pair in index.pairs} == {("ulf", "3T")}


# Choosing


def session(participant, name="1", **values):
    """A source scan in a session."""
    stem = f"sub-{participant}_ses-{name}"
    return bids.Scan(f"sub-{participant}", "source", f"/d/{stem}_T1w.nii.gz", "anat", stem, "T1w", name, **values)


def chosen(scans, include=(), exclude=(), duplicates="first"):
    return bids.choose(scans, {"include": list(include), "exclude": list(exclude)}, duplicates)


def test_unwanted_participants_are_left_out_with_the_reason():
    scans = [session(label) for label in ("01", "02", "03")]
    problems = {scan.participant: scan.problem for scan in chosen(scans, ["sub-01", "02"], ["03"])}
    assert problems == {"sub-01": "", "sub-02": "", "sub-03": "participants.exclude names this participant"}
    assert [bool(scan.problem) for scan in chosen(scans, ["02"])] == [True, False, True]
    assert not any(scan.problem for scan in chosen(scans))


def test_participants_that_cannot_be_meant_are_refused(refused):
    scans = [session("01"), session("02")]
    with refused("participants.exclude", "sub-04"):
        chosen(scans, exclude=["04"])
    with refused("both", "sub-02"):
        chosen(scans, ["01", "02"], ["02"])


@pytest.mark.parametrize(
    ("times", "newest"),
    [(("", "", ""), "3"), (("2021-01-01", "2023-01-01", "2022-01-01"), "2"), (("2020-01-01", "", ""), "1")],
)
def test_newest_scan_comes_first(times, newest):
    scans = [session("02", str(number + 1), acquired=time) for number, time in enumerate(times)] + [session("01")]
    ordered = chosen(scans, duplicates="newest")
    assert [scan.participant for scan in ordered] == ["sub-01", "sub-02", "sub-02", "sub-02"]
    assert ordered[1].session == newest
    assert [scan.session for scan in chosen(scans)][1:] == ["1", "2", "3"]


def test_acquisitions_of_the_first_session_are_averaged(bids_tree):
    runs = [scan_file("01", "1", f"_run-{run}") for run in (1, 2, 3)]
    content = dict.fromkeys([*runs, scan_file("01", "2"), scan_file("02", "1"), scan_file("01", "9", suffix="T2w")])
    root = bids_tree({**content, scan_file("02", "9", suffix="T2w"): None, runs[1]: b"no image"})
    config = study(side(root, suffix="T1w"), side(root, suffix="T2w")) | {"duplicates": "average"}
    index = build_index(config)
    first, second = (pair.source for pair in index.pairs)
    assert first.path.endswith(runs[0]) and [path[-len(runs[2]) :] for path in first.further] == [runs[2]]
    assert second.further == ()
    table = bids.inventory_table(index).set_index("path")
    status = {run: table.status[f"{root}/{run}"] for run in runs}
    assert list(status.values()) == ["used", "excluded", "used"]
    assert sorted(row.reason.split(";")[0][:20] for row in index.excluded) == [
        "more than one source",
        "the file cannot be r",
    ]


def test_stacks_of_a_session_become_one_scan_of_the_finest_voxels():
    stacks = [
        session("01", shape=(200, 200, 30), voxel=(1.0, 1.0, 5.0)),
        session("01", shape=(40, 200, 180), voxel=(5.0, 0.8, 0.8)),
        session("02", shape=(200, 200, 30), voxel=(1.0, 1.0, 5.0)),
    ]
    first, second, alone = chosen(stacks, duplicates="combine")
    assert first.further == (stacks[1].path,) and first.voxel == (0.8, 0.8, 0.8) and first.shape == (250, 250, 188)
    assert second == stacks[1] and alone == stacks[2]
    assert [scan.further for scan in chosen(stacks)] == [(), (), ()]


def test_acquisition_times_come_from_the_session_or_the_sidecar(bids_tree):
    first, second, third = (scan_file("01", "1", f"_run-{run}") for run in (1, 2, 3))
    root = bids_tree(
        {
            first: None, second: None, third: None,
            "sub-01/ses-1/sub-01_ses-1_scans.tsv":
                "filename\tacq_time\nanat/sub-01_ses-1_run-1_T1w.nii.gz\t2024-05-01T10:00:00\n"
                "anat/sub-01_ses-1_run-3_T1w.nii.gz\tn/a\n",
            second.replace(".nii.gz", ".json"): {"AcquisitionDateTime": "2023-01-01T00:00:00"},
        }
    )  # fmt: skip
    found = [scan.acquired for scan in bids.find(root, "source", {}, {})]
    assert found == ["2024-05-01T10:00:00", "2023-01-01T00:00:00", ""]


def test_the_newest_of_two_sessions_is_paired(bids_tree):
    content = {scan_file("01", name): None for name in ("1", "2")} | {scan_file("01", "9", suffix="T2w"): None}
    root = bids_tree(content)
    config = study(side(root, suffix="T1w"), side(root, suffix="T2w")) | {"duplicates": "newest"}
    (pair,) = build_index(config).pairs
    assert pair.source.session == "2"


# Odd names and files


@pytest.mark.parametrize(
    ("path", "participant", "words"),
    [
        ("sub-A-05/ses-1/anat/sub-A-05_ses-1_T1w.nii.gz", "sub-A-05", "no BIDS label"),
        ("sub-B_06/ses-1/anat/sub-B_06_ses-1_T1w.nii.gz", "sub-B_06", "no BIDS label"),
        ("sub-é/ses-1/anat/sub-é_ses-1_T1w.nii", "sub-é", "no BIDS label"),
        ("sub-07/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-07", "its name says sub-01"),
        ("sub-08/ses-1/anat/sub-08_ses-2_T1w.nii.gz", "sub-08", "its name says ses-2"),
        ("sub-04/ses-1/anat/sub-04_ses-1_T1w.NII.GZ", "sub-04", "ends in .NII.GZ"),
        ("sub-04/ses-1/anat/sub-04_ses-1_T1w.Nii", "sub-04", "ends in .Nii"),
        ("sub-14/ses-1/sub-14_ses-1_T1w.nii.gz", "sub-14", "expected sub-<label>"),
        ("sub-16/ses-1/anat/sub-16_ses-1_acq-a b_T1w.nii.gz", "sub-16", "no BIDS name"),
        ("sub-17/ses-1/anat/sub-17_ses-1_acq-1.5_T1w.nii.gz", "sub-17", "no BIDS name"),
    ],
)
def test_scans_with_odd_names_say_so(bids_tree, path, participant, words):
    root = bids_tree({scan_file("01", "1"): None, path: b""})
    found = bids.find(root, "source", {"session": "1", "suffix": "T1w"}, {})
    assert {scan.participant for scan in found if not scan.problem} == {"sub-01"}
    (odd,) = (scan for scan in found if scan.problem)
    assert odd.participant == participant and words in odd.problem
    assert bids.find(root, "source", {"suffix": "T2w"}, {}) == []


@pytest.mark.parametrize(
    "path", ["sub-08/anat/T1w.nii.gz", "sub-09/anat/Sub-09_T1w.nii.gz", "SUB-1/anat/SUB-1_T1w.nii"]
)
def test_folders_without_a_named_image_are_in_the_log(bids_tree, caplog, path):
    root = bids_tree({scan_file("01", "1"): None, path: b""})
    assert len(bids.find(root, "source", {}, {})) == 1
    assert path.split("/")[0] in caplog.text


@pytest.mark.parametrize("content", [b"[1]", b"", b"{", "\u00e9".encode("latin-1"), b"\0\5\x16\7", None])
def test_a_damaged_sidecar_stops_nothing(bids_tree, tmp_path, caplog, content):
    scans = [scan_file(label, "1") for label in ("01", "02")]
    sidecar = scans[1].replace(".nii.gz", ".json")
    root = bids_tree({**dict.fromkeys(scans), "T1w.json": {"EchoTime": 1}, sidecar: content or b""})
    if content is None:
        (root / sidecar).unlink()
        (root / sidecar).symlink_to("../.git/annex/x")
    assert [scan.problem for scan in bids.find(root, "source", {}, {})] == ["", ""]
    assert caplog.text.count(sidecar) == 1
    assert len(bids.find(root, "source", {}, {"EchoTime": 1})) == 2
    (asked,) = bids.find(root, "source", {}, {"MagneticFieldStrength": 3})
    assert asked.participant == "sub-02" and "MagneticFieldStrength" in asked.problem and sidecar in asked.problem


def test_files_of_macos_are_no_sidecars(bids_tree, caplog):
    path = scan_file("01", "1")
    root = bids_tree({path: None, path.replace("sub-01_", "._sub-01_").replace(".nii.gz", ".json"): b"\0\5"})
    assert len(bids.find(root, "source", {}, {})) == 1 and not caplog.text


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(5, "I/O error"), MemoryError()])
def test_a_passing_fault_is_not_remembered(two_sessions, tmp_path, monkeypatch, refused, fault):
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    cache = tmp_path / "cache.json"

    def failing(path):
        raise fault

    with monkeypatch.context() as context:
        context.setattr(nifti.nib, "load", failing)
        with refused("sub-01", "cannot be read now"):
            build_index(config, cache)
        everybody = {"include": [], "exclude": ["01", "02"]}
        with refused("sub-03", "participants.exclude"):
            build_index(config | {"participants": everybody}, cache)
    assert not cache.exists()
    assert len(build_index(config, cache).pairs) == 3


def test_scans_that_could_not_be_used_are_opened_again(two_sessions, tmp_path, reads):
    broken = two_sessions / scan_file("01", "1")
    broken.write_bytes(b"no image")
    config = study(side(two_sessions, session="1"), side(two_sessions, session="2"))
    for _ in range(2):
        reads.clear()
        assert len(build_index(config, tmp_path / "cache.json").pairs) == 2
    assert reads == [str(broken)]


# Validation


def test_the_validators_verdict_is_a_table(bids_tree):
    good = bids_tree({scan_file("01", "1"): None, "participants.tsv": "participant_id\nsub-01\n", "README": "x" * 200})
    bad = bids_tree({scan_file("01", "1"): None, "sub-01/ses-1/anat/nonsense.nii.gz": None}, name="bad")
    table = bids.validation_table([good, bad, good])
    assert list(table["dataset"].unique()) == [str(good), str(bad)]
    errors = table[table["severity"] == "error"]
    assert set(errors["dataset"]) == {str(bad)}
    assert errors["example"].str.contains("nonsense").any()


def test_without_the_validator_the_verdict_is_unknown(bids_tree, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    (row,) = bids.validation_table([bids_tree({})]).to_dict("records")
    assert row["severity"] == "unknown" and "not installed" in row["message"]


# Scans outside BIDS


@pytest.fixture
def samples(tmp_path):
    """Write a table beside a few images, and return a study of it."""
    for number, name in enumerate(("a", "b", "c", "d", "e")):
        data = np.random.default_rng(number).uniform(1, 100, (6, 7, 8)).astype(np.float32)
        nifti.save(Volume(data, np.eye(4)), tmp_path / "scans" / f"{name}.nii.gz")
    (tmp_path / "scans" / "b.json").write_text('{"MagneticFieldStrength": 3}')
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"x")
    (tmp_path / "nothing").mkdir()

    def write(text):
        (tmp_path / "samples.tsv").write_text(text)
        folder = side(None, suffix="T1w")
        return study(folder, folder) | {"samples": str(tmp_path / "samples.tsv")}

    return write


def test_a_table_names_scans_outside_bids(samples, tmp_path):
    config = samples(
        "participant_id\tsession\tsource\ttarget\n"
        "sub-01\tbase\tscans/a.nii.gz\tscans/b.nii.gz\n"
        f"02\tn/a\t{tmp_path}/scans/c.nii.gz\tmissing.nii.gz\n"
        "03\tn/a\tseries\tscans/d.nii.gz\n"
        "04\tn/a\tscans/e.nii.gz\tnothing\n"
    )
    index = build_index(config)
    first, second = index.pairs
    assert first.source.path == str(tmp_path / "scans/a.nii.gz")
    assert (first.source.key, first.target.key) == ("sub-01_ses-base_rec-source_T1w", "sub-01_ses-base_T1w")
    assert first.target.folder == "sub-01/ses-base/anat" and first.target.metadata == {"MagneticFieldStrength": 3}
    assert second.source.dicom == str(tmp_path / "series")
    assert second.source.path == "results/test/sourcedata/raw/sub-03/anat/sub-03_rec-source_T1w.nii.gz"
    reasons = {row.participant: row.reason for row in index.excluded}
    assert reasons == {"sub-02": "the file does not exist", "sub-04": "the DICOM folder is empty"}


def test_a_table_that_cannot_be_used_is_refused(samples, refused):
    with refused("target", "missing"):
        build_index(samples("participant_id\tsource\nsub-01\tscans/a.nii.gz\n"))


@pytest.mark.parametrize("label", ["0 1", "", "sub-", "A-05", "é", "../01"])
def test_a_row_whose_label_is_none_is_left_out(samples, label):
    rows = [f"{name}\tscans/a.nii.gz\tscans/b.nii.gz\n" for name in ("01", label)]
    index = build_index(samples("participant_id\tsource\ttarget\n" + "".join(rows)))
    assert [pair.participant for pair in index.pairs] == ["sub-01"]
    assert {row.role for row in index.excluded} == {"source", "target"}
    assert all("samples.tsv, line 3" in row.reason and "is no BIDS label" in row.reason for row in index.excluded), [
        row.reason for row in index.excluded
    ]


# -- several contrasts ---------------------------------------------------------------------------------------------


CONTRASTS = [{"suffix": "T1w"}, {"suffix": "T2w"}, {"suffix": "FLAIR"}]


def several(folder, channels=CONTRASTS, target="T1w"):
    source = side(folder, session="1") | {"channels": channels}
    return study(source, side(folder, session="2", suffix=target))


def whole_sessions(*missing):
    """Three participants with three contrasts in session 1 and one in session 2, without the scans `missing`."""
    scans = [scan_file(p, "1", suffix=row["suffix"]) for p in ("01", "02", "03") for row in CONTRASTS]
    scans += [scan_file(p, "2") for p in ("01", "02", "03")]
    return {path: None for path in scans if path not in missing}


def test_contrasts_of_a_session_belong_together(bids_tree, tmp_path):
    root = bids_tree(whole_sessions())
    cache = tmp_path / "index.json"
    config = several(root)
    index = build_index(config, cache)
    assert [scan.suffix for scan in index.pairs[0].sources] == ["T1w", "T2w", "FLAIR"]
    assert index.pairs[0].target.session == "2" and index.excluded == []
    # Masks have no suffix in their names, so the names themselves differ.
    assert [scan.name for scan in index.pairs[0].sources] == [
        "sub-01_ses-1", "sub-01_ses-1_rec-T2w", "sub-01_ses-1_rec-FLAIR",
    ]  # fmt: skip
    assert build_index(config, cache, rescan=False).pairs == index.pairs
    assert set(bids.inventory_table(index)["status"]) == {"used"} and len(index.scans) == 12
    table = bids.pairs_table(index.pairs)
    assert list(table.columns[5:]) == ["source_path_2", "source_path_3"]
    assert table["source_path_3"][1] == str(root / scan_file("02", "1", suffix="FLAIR"))
    assert bids.contrast_names(config["source"]) == ["T1w", "T2w", "FLAIR"]
    assert bids.contrast_names(side(root, suffix="T2w")) == ["T2w"]


def test_who_lacks_a_contrast_is_left_out_with_a_reason(bids_tree):
    broken = scan_file("03", "1", suffix="T2w")
    root = bids_tree(whole_sessions(scan_file("02", "1", suffix="FLAIR")) | {broken: b"no image"})
    index = build_index(several(root))
    assert [pair.participant for pair in index.pairs] == ["sub-01"]
    reasons = {row.participant: (row.path, row.reason) for row in index.excluded}
    assert len(index.excluded) == 2
    path, reason = reasons["sub-02"]
    assert path == str(root / scan_file("02", "1")) and "contrast FLAIR" in reason
    assert reasons["sub-03"][0] == str(root / broken)
    rows = bids.inventory_table(index).set_index("path")
    assert rows.loc[str(root / scan_file("03", "1", suffix="FLAIR")), "reason"].startswith("the scan it belongs with")


def test_contrasts_of_the_target_s_own_session(bids_tree):
    root = bids_tree(whole_sessions())
    config = several(root, CONTRASTS[1:])
    config["target"] = side(root, session="1", suffix="T1w")
    pair = build_index(config).pairs[0]
    assert [scan.name for scan in (pair.target, *pair.sources)] == [
        "sub-01_ses-1", "sub-01_ses-1_rec-source", "sub-01_ses-1_rec-FLAIR",
    ]  # fmt: skip


def test_one_scan_is_not_two_contrasts_nor_the_target(bids_tree, refused):
    root = bids_tree(whole_sessions())
    with refused("source.channels", "match the same scan", "T2w"):
        build_index(several(root, [*CONTRASTS[:2], {"suffix": "T2w", "datatype": "anat"}]))
    config = several(root)
    config["target"] = side(root, session="1", suffix="FLAIR")
    with refused("source.channels", "the target", "FLAIR"):
        build_index(config)


def test_contrasts_differ_in_any_entity(bids_tree):
    content = {scan_file("01", "1", f"_acq-{kind}", "T2w"): None for kind in ("axi", "cor")}
    root = bids_tree(content | {scan_file("01", "2"): None})
    channels = [{"suffix": "T2w", "acquisition": "axi"}, {"suffix": "T2w", "acquisition": "cor"}]
    config = several(root, channels)
    (pair,) = build_index(config).pairs
    assert [scan.name for scan in pair.sources] == ["sub-01_ses-1_acq-axi", "sub-01_ses-1_acq-cor"]
    assert bids.contrast_names(config["source"]) == ["T2w axi", "T2w cor"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_excluded(tmp_path, make):
    path = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    make(path)
    scan = Scan("sub-01", "source", str(path), "sub-01/anat", "sub-01", "T1w")
    assert "expected a file" in inspect(scan).problem
