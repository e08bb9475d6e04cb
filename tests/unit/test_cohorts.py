"""Unpaired studies: labels of two datasets, people seen by both scanners, and splits of both cohorts."""

import numpy as np
import pandas as pd
import pytest
import yaml
from upfield import bids
from upfield.files import merged
from upfield.image.nifti import Volume
from upfield.study import splits
from upfield.study.config import ROOT
from upfield.study.study import Study

SPLITS = {"scheme": "holdout", "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "folds": 4, "seed": 1,
          "stratify": [], "group": None, "file": None}  # fmt: skip
NOBODY = pd.DataFrame({"participant_id": pd.Series(dtype=str)})
SOURCES = [f"sub-source{n:02d}" for n in range(1, 11)]
TARGETS = [f"sub-target{n:02d}" for n in range(1, 7)]


def anat(*people, first=0):
    """Scans of some people, none of which is another's."""
    return {
        f"sub-{n}/anat/sub-{n}_T1w.nii.gz": Volume(
            np.random.default_rng(first + n).uniform(1, 100, (6, 7, 8)).astype(np.float32), np.diag([2.0, 2, 2, 1])
        )
        for n in people
    }


@pytest.fixture
def study(bids_tree, tmp_path):
    """Make an unpaired study of two datasets with the labels 1 to 6 and 1 to 5, with changes."""
    roots = {"source": bids_tree(anat(*range(1, 7)), "a"), "target": bids_tree(anat(*range(1, 6), first=10), "b")}
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    sides = {side: {"bids_dir": str(root)} for side, root in roots.items()}
    base = merged(config, sides | {"output_dir": str(tmp_path), "pairing": "unpaired", "methods": ["cyclegan"]})
    return lambda **changes: Study(merged(base, changes))


def links(tmp_path, text):
    path = tmp_path / "pairs.tsv"
    path.write_text(text)
    return str(path)


# Labels


def test_same_label_in_two_datasets_is_two_people(study):
    made = study()
    assert made.design.cohorts(made.index) == (
        [f"sub-source{n}" for n in range(1, 7)],
        [f"sub-target{n}" for n in range(1, 6)],
    )
    assert made.pairs == made.same_person == {}
    scan = made.contents["sub-target3"].target
    assert (scan.original, scan.name, scan.folder) == ("sub-3", "sub-target3", "sub-target3/anat")
    assert scan.path.endswith("b/sub-3/anat/sub-3_T1w.nii.gz")
    table = bids.inventory_table(made.index).set_index("participant_id")
    assert table.loc["sub-source3", "original_id"] == table.loc["sub-target3", "original_id"] == "sub-3"
    assert (table["status"] == "used").all()


def test_nothing_needs_a_truth(study):
    made = study()
    assert made.methods.names == ["identity", "histogram_match", "cyclegan"]
    assert made.prediction("cyclegan", "sub-source1").endswith("sub-source1/anat/sub-source1_desc-cyclegan_T1w.nii.gz")
    sources, targets = map(set, made.design.cohorts(made.index))
    assert set(made.tested) < sources and set(made.folds.test_folds) - set(made.tested) < targets


def test_one_bad_scan_leaves_the_others(bids_tree, tmp_path, refused):
    good = bids_tree(anat(1, 2), "good")
    bad = bids_tree({"sub-1/anat/sub-1_T1w.nii.gz": b"no", **anat(2, first=10)}, "bad")
    scans = [
        bids.inspect(s) for side, root in (("source", good), ("target", bad)) for s in bids.find(root, side, {}, {})
    ]
    index = bids.assemble_cohorts(scans, [])
    assert [scan.participant for scan in index.used] == ["sub-source1", "sub-source2", "sub-target2"]
    ((row,),) = [index.excluded]
    assert (row.participant, row.role) == ("sub-target1", "target") and "cannot be read" in row.reason
    with refused("no usable target", "sub-target1"):
        bids.assemble_cohorts([scan for scan in scans if scan.role == "source" or scan.problem], [])


def test_filters_that_overlap_are_refused(bids_tree, refused):
    root = bids_tree(anat(1, 2))
    scans = [bids.inspect(scan) for side in ("source", "target") for scan in bids.find(root, side, {}, {})]
    with refused("match the same scan", "tell them apart"):
        bids.assemble_cohorts(scans, [])


# People seen by both scanners


def test_linked_scans_make_a_pair_and_share_a_part(study, tmp_path):
    made = study(pairs=links(tmp_path, "source\ttarget\nsub-2\t4\n"))
    (pair,) = made.pairs.values()
    assert (pair.source.participant, pair.target.participant) == ("sub-source2", "sub-target4")
    assert made.same_person == {"sub-target4": "sub-source2"}
    place = made.folds.table.set_index("participant_id")["split"]
    assert place["sub-source2"] == place["sub-target4"]
    assert made.contents["pair-source2-target4"] == (pair.source, pair.target)
    stores = made.stores("0", place["sub-source2"])
    wanted = {made.paths("store", store=name) for name in ("pair-source2-target4", "sub-source2")}
    assert wanted <= set(stores)
    assert made.pair_of(pair.target) is made.pair_of(pair.source) is pair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\n1\t2\n", ["columns are a, b", "source, target"]),
        ("source\ttarget\n1\t2\n1\t3\n", ["sub-1", "more than once"]),
        ("source\ttarget\n9\t2\n", ["source sub-9", "no source scan"]),
    ],
)
def test_mistakes_in_the_table_are_named(study, tmp_path, refused, text, words):
    with refused(*words):
        study(pairs=links(tmp_path, text))
    with refused("pairs is /nowhere", "cannot be read"):
        study(pairs="/nowhere")


def test_same_label_in_one_dataset_is_one_person(bids_tree):
    content = {f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None for n in (1, 2) for s in (1, 2)}
    root = bids_tree(content)
    scans = [
        bids.inspect(scan)
        for session, side in enumerate(("source", "target"), start=1)
        for scan in bids.find(root, side, {"session": str(session)}, {})
    ]
    index = bids.assemble_cohorts(scans, [])
    assert index.pairs == [] and bids.companions(index) == {"sub-target1": "sub-source1", "sub-target2": "sub-source2"}


# Splits


def counted(table, people, fold="0"):
    rows = table[(table["fold"] == fold) & table["participant_id"].isin(people)]
    return rows["split"].value_counts().to_dict()


def test_each_cohort_is_split_in_the_fractions():
    table = splits.assign_cohorts((SOURCES, TARGETS), {}, SPLITS, NOBODY)
    assert counted(table, SOURCES) == {"train": 6, "val": 2, "test": 2}
    assert counted(table, TARGETS) == {"train": 4, "val": 1, "test": 1}
    again = splits.assign_cohorts((SOURCES[::-1], TARGETS[::-1]), {}, SPLITS, NOBODY)
    assert again.values.tolist() == table.values.tolist()


@pytest.mark.parametrize("together", [{}, {TARGETS[0]: SOURCES[3], TARGETS[5]: SOURCES[4]}])
def test_everybody_of_both_cohorts_is_tested_once(together):
    table = splits.assign_cohorts((SOURCES, TARGETS), together, SPLITS | {"scheme": "kfold"}, NOBODY)
    assert sorted(table[table["split"] == "test"]["participant_id"]) == sorted([*SOURCES, *TARGETS])
    for fold in "0123":
        assert len(table[table["fold"] == fold]) == len(SOURCES) + len(TARGETS)
        place = table[table["fold"] == fold].set_index("participant_id")["split"]
        assert all(place[target] == place[source] for target, source in together.items())


def test_the_same_person_is_never_on_two_sides(tmp_path, refused):
    together = {TARGETS[n]: SOURCES[n] for n in range(6)}
    table = splits.assign_cohorts((SOURCES, TARGETS), together, SPLITS | {"seed": 5}, NOBODY)
    place = table.set_index("participant_id")["split"]
    assert all(place[target] == place[source] for target, source in together.items())
    other = {"train": "val", "val": "test", "test": "train"}
    moved = table["participant_id"].isin(TARGETS)
    torn = table.assign(split=table["split"].mask(moved, table["split"].map(other)))
    path = tmp_path / "splits.tsv"
    torn.to_csv(path, sep="\t", index=False)
    with refused("one person", "leak"):
        splits.assign_cohorts((SOURCES, TARGETS), together, SPLITS | {"file": str(path)}, NOBODY)


def test_cohorts_are_stratified_by_their_own_tables(bids_tree):
    text = "participant_id\tsex\n" + "".join(f"sub-{n:02d}\t{'FM'[n % 2]}\n" for n in range(1, 13))
    roots = {side: str(bids_tree({"participants.tsv": text}, side)) for side in ("source", "target")}
    table = bids.participants_table(roots, cohorts=True)
    people = [f"sub-source{n:02d}" for n in range(1, 13)], [f"sub-target{n:02d}" for n in range(1, 13)]
    result = splits.assign_cohorts(people, {}, SPLITS | {"stratify": ["sex"]}, table)
    sex = table.set_index("participant_id")["sex"]
    for cohort in people:
        tested = result[(result["split"] == "test") & result["participant_id"].isin(cohort)]["participant_id"]
        assert sorted(sex[tested]) == ["F", "M"]


# Contradictions


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["lohiresgan"]}, ["pairing is unpaired", "lohiresgan"]),
        ({"methods": ["unet3d"]}, ["pairing is unpaired", "unet3d", "methods"]),
        ({"methods": ["spline"]}, ["pairing is unpaired", "spline", "methods"]),
        ({"preprocess": {"spacing": "native"}}, ["preprocess.spacing is native", "unpaired"]),
        ({"predict": {"uncertainty": 4}}, ["predict.uncertainty is 4", "unpaired"]),
        ({"pairing": "paired", "pairs": "table.tsv"}, ["pairs", "pairing is paired"]),
        ({"splits": {"scheme": "kfold", "folds": 6}}, ["splits.folds is 6", "5"]),
    ],
)
def test_contradictions_stop_the_plan(study, refused, changes, words):
    with refused(*words):
        assert study(**changes).folds is None
