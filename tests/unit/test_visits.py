"""Several sessions and runs of a participant: which scans are a pair, whose it is, and that nobody is on two sides."""

import itertools

import numpy as np
import pandas as pd
import pytest
from upfield.bids import Scan, as_visits, person
from upfield.bids.layout import kind_of
from upfield.bids.pairing import assemble
from upfield.evaluate import statistics
from upfield.study import external
from upfield.study.designs import known
from upfield.study.external import External
from upfield.study.folds import Folds


def scan(name, role="source", problem="", channel=0):
    """`sub-1_ses-2_run-1_T1w` of a dataset."""
    whole, suffix = name.rsplit("_", 1)
    said = dict(part.split("-") for part in whole.split("_"))
    session = said.get("ses", "n/a")
    folder = f"sub-{said['sub']}/" + (f"ses-{session}/" if "ses" in said else "") + "anat"
    path = f"/data/{role}/{folder}/{name}.nii.gz"
    return Scan(
        f"sub-{said['sub']}", role, path, folder, whole, suffix, session=session, problem=problem, channel=channel
    )


def sources(*names):
    return [scan(f"{name}_T1w") for name in names]


def targets(*names):
    return [scan(f"{name}_T2w", "target") for name in names]


def pairs_of(scans, per, names=("",), lead="source"):
    index = assemble(as_visits(scans, per, lead), names)
    return {p.participant: (*(s.name for s in p.sources), p.target.name) for p in index.pairs}, index


def test_one_pair_each_unless_asked_for():
    scans = [*sources("sub-1_ses-1", "sub-1_ses-2"), *targets("sub-1_ses-1", "sub-1_ses-2")]
    found, index = pairs_of(scans, "participant")
    assert found == {"sub-1": ("sub-1_ses-1_rec-source", "sub-1_ses-1")}
    assert [row.reason for row in index.excluded] == [
        "more than one source scan; sub-1_ses-1_T1w.nii.gz is used",
        "more than one target scan; sub-1_ses-1_T2w.nii.gz is used",
    ]


@pytest.mark.parametrize("per", ["session", "scan"])
def test_each_session_is_a_pair_of_its_own_scans(per):
    people = ("sub-1_ses-1", "sub-1_ses-2", "sub-2_ses-1", "sub-3")
    found, index = pairs_of([*sources(*people), *targets(*people)], per)
    assert found == {
        "sub-1_ses-1": ("sub-1_ses-1_rec-source", "sub-1_ses-1"),
        "sub-1_ses-2": ("sub-1_ses-2_rec-source", "sub-1_ses-2"),
        "sub-2": ("sub-2_ses-1_rec-source", "sub-2_ses-1"),
        "sub-3": ("sub-3_rec-source", "sub-3"),
    }
    assert index.excluded == []
    assert {s.original or s.participant for s in index.used} == {"sub-1", "sub-2", "sub-3"}


def test_a_session_without_a_target_is_left_out_and_borrows_none():
    scans = [*sources("sub-1_ses-1", "sub-1_ses-2"), *targets("sub-1_ses-2", "sub-1_ses-3")]
    found, index = pairs_of(scans, "session")
    assert list(found) == ["sub-1_ses-2"]
    assert {(row.participant, row.role) for row in index.excluded} == {("sub-1_ses-1", "source"), ("sub-1", "target")}


def test_sessions_that_are_the_sides_share_the_target_under_another_name():
    scans = [*sources("sub-1_ses-low1", "sub-1_ses-low2"), *targets("sub-1_ses-high")]
    found, index = pairs_of(scans, "session")
    assert found == {
        "sub-1_ses-low1": ("sub-1_ses-low1", "sub-1_ses-high"),
        "sub-1_ses-low2": ("sub-1_ses-low2", "sub-1_ses-high_rec-forseslow2"),
    }
    assert len({s.name for s in index.used}) == 4
    assert len({s.path for s in index.used if s.role == "target"}) == 1


def test_runs_go_with_the_run_of_their_number_else_with_one_that_is_free():
    ones = ("sub-1_ses-1_run-1", "sub-1_ses-1_run-2")
    found, _ = pairs_of([*sources(*ones), *targets(*reversed(ones))], "scan")
    assert [names[1] for names in found.values()] == list(ones)
    assert list(found) == ["sub-1_run-1", "sub-1_run-2"]
    found, _ = pairs_of([*sources(*ones), *targets("sub-1_ses-1_acq-a", "sub-1_ses-1_acq-b")], "scan")
    assert [names[1] for names in found.values()] == ["sub-1_ses-1_acq-a", "sub-1_ses-1_acq-b"]
    # One pair a session: the second run is a duplicate.
    found, index = pairs_of([*sources(*ones), *targets("sub-1_ses-1")], "session")
    assert list(found) == ["sub-1"]
    assert [row.reason for row in index.excluded] == ["more than one source scan; sub-1_ses-1_run-1_T1w.nii.gz is used"]


def test_a_scan_that_cannot_be_read_costs_its_own_pair_alone():
    people = ("sub-1_ses-1", "sub-1_ses-2")
    scans = [*sources(*people), *targets(*people)]
    for place, gone in itertools.product(range(4), ("session", "scan")):
        broken = [scan(f"{s.key}", s.role, "no image" if n == place else "") for n, s in enumerate(scans)]
        found, index = pairs_of(broken, gone)
        assert list(found) == [f"sub-1_ses-{2 - place % 2}"]
        reasons = [(row.participant, row.reason) for row in index.excluded]
        assert (f"sub-1_ses-{place % 2 + 1}", "no image") in reasons


def test_contrasts_are_of_their_session():
    people = ("sub-1_ses-1", "sub-1_ses-2")
    flair = [scan(f"{name}_FLAIR", channel=1) for name in people]
    found, _ = pairs_of([*sources(*people), *flair, *targets(*people)], "session", ("T1w", "FLAIR"))
    assert [names[:2] for names in found.values()] == [(f"{name}_rec-source", f"{name}_rec-FLAIR") for name in people]
    found, index = pairs_of([*sources(*people), *flair[:1], *targets(*people)], "session", ("T1w", "FLAIR"))
    assert list(found) == ["sub-1_ses-1"]
    assert "contrast FLAIR" in index.excluded[0].reason


def test_simulated_sources_follow_their_targets():
    found = as_visits(targets("sub-1_ses-1", "sub-1_ses-2", "sub-2"), "session", "target")
    assert [s.participant for s in found] == ["sub-1_ses-1", "sub-1_ses-2", "sub-2"]


@pytest.mark.parametrize("scheme", ["holdout", "kfold"])
def test_nobody_is_on_two_sides_of_a_split(two_sessions, scheme):
    made = two_sessions()(
        target={"entities": {"session": ["1", "2"]}}, pairing="simulated", pair_per="session",
        splits={"scheme": scheme, "folds": 3},
    )  # fmt: skip
    assert len(made.pairs) == 12
    assert set(made.folds.table["participant_id"]) == {f"sub-{n}" for n in range(1, 7)}
    for fold in made.folds.names:
        train, val, test = (set(map(person, made.folds.members(fold, part))) for part in ("train", "val", "test"))
        assert not train & val
        assert not (train | val) & test
        members = [name for part in ("train", "val", "test") for name in made.folds.members(fold, part)]
        assert sorted(members) == sorted(made.pairs)
    assert all(len([label for label in made.tested if person(label) == one]) == 2 for one in map(person, made.tested))
    seen = {s.original for s in made.training_scans(made.folds.names[0], made.index)}
    assert seen == set(map(person, made.folds.members(made.folds.names[0], "train")))


def test_who_has_a_pair_left_stays_in_the_split():
    table = pd.DataFrame(
        [("sub-1", "0", "train"), ("sub-2", "0", "val"), ("sub-3", "0", "test"), ("sub-4", "0", "test")],
        columns=["participant_id", "fold", "split"],
    )
    people = [f"sub-{n}_ses-{s}" for n in range(1, 5) for s in (1, 2)]
    _, index = pairs_of([*sources(*people), *targets(*people)], "session")
    lost = pd.DataFrame({"participant_id": ["sub-3_ses-1", "sub-4_ses-1", "sub-4_ses-2"], "stage": "qc"})
    kept = known()["paired"].kept(index, table, lost)
    assert list(kept["participant_id"]) == ["sub-1", "sub-2", "sub-3"]
    assert Folds(kept, known()["paired"].labels(index)).members("0", "test") == ["sub-3_ses-1", "sub-3_ses-2"]


def test_a_participant_counts_once_however_many_pairs():
    random = np.random.default_rng(0)
    rows = [
        (f"sub-{n}_ses-{s}", method, "0", "42", "test", "brain", "psnr", 20.0 + n + random.normal())
        for n in range(4) for s in range(3) for method in ("upfield", "denoise")
    ]  # fmt: skip
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    values = pd.DataFrame(rows, columns=columns)
    means = values.assign(participant_id=values["participant_id"].map(person))
    means = means.groupby(columns[:-1], as_index=False)["value"].mean()
    for made in (
        statistics.leaderboard,
        lambda table: statistics.comparisons(table, ["upfield"], ["denoise"], higher={"psnr"}, lower=set()),
        lambda table: statistics.ranks(table, {"psnr"}, set(), 1),
    ):
        pd.testing.assert_frame_equal(made(values), made(means))
    assert set(statistics.leaderboard(values)["n"]) == {4}
    assert set(statistics.outliers(values)["n"]) == {12}, "each output may be odd"
    said = values.rename(columns={"value": "output"}).assign(truth=20.0, quantity="volume")
    averaged = means.rename(columns={"value": "output"}).assign(truth=20.0, quantity="volume")
    pd.testing.assert_frame_equal(statistics.agreement(said), statistics.agreement(averaged))


def test_predictions_of_others_say_which_session_they_are_of(tmp_path, refused):
    people = ("sub-1_ses-1", "sub-1_ses-2")
    _, index = pairs_of([*sources(*people), *targets(*people)], "session")
    for name in people:
        (tmp_path / f"{name}_T1w.nii.gz").touch()
    theirs = External("theirs", predictions=str(tmp_path))
    assert external.given(theirs, index.pairs) == {name: str(tmp_path / f"{name}_T1w.nii.gz") for name in people}
    for name in people:
        (tmp_path / f"{name}_T1w.nii.gz").unlink()
    (tmp_path / "sub-1_T1w.nii.gz").touch()
    with refused("sub-1_T1w.nii.gz", "sub-1_ses-1", "sub-1_ses-2", "session"):
        external.given(theirs, index.pairs)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("patches/sub-01_ses-1.safetensors", "store"),
        ("qc/figures/sub-01_ses-ulf_source-mask.webp", "picture"),
        ("metrics/participants/sub-01_ses-1_run-2.tsv", "values"),
        ("metrics/participants/sub-01_ses-1_truth.tsv", "reference_values"),
    ],
)
def test_files_of_a_pair_are_known_by_their_names(path, kind):
    assert kind_of(path, {}) == kind


def test_what_cannot_be_is_one_line(two_sessions, refused):
    with refused("pair_per is scan", "average"):
        two_sessions()(pair_per="scan", duplicates="average")
    with refused("pair_per is session", "participant"):
        two_sessions()(pairing="unpaired", pair_per="session", methods=["cyclegan"])
