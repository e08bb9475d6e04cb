"""Families, sites and scanners stay on one side of a split."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield.study import config as configuration
from upfield.study import splits

FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


def block(**changes):
    settings = {"scheme": "holdout", "fractions": FRACTIONS, "folds": 3, "seed": 42, "stratify": [], "file": None}
    return {**settings, "group": "family", **changes}


def families(*sizes):
    """participants.tsv of families of these sizes; of two sexes in turn."""
    names = [f"F{number}" for number, size in enumerate(sizes) for _ in range(size)]
    people = [f"sub-{number:02d}" for number in range(len(names))]
    return pd.DataFrame({"participant_id": people, "family": names, "sex": ["FM"[n % 2] for n in range(len(names))]})


def assigned(table, **changes):
    return splits.assign(list(table["participant_id"]), block(**changes), table)


def sides(result, table):
    """How many parts of one fold each family is in, at most."""
    rows = result.merge(table)
    return rows.groupby(["fold", "family"])["split"].nunique().max()


schemes = st.sampled_from(
    [{"scheme": "holdout"}, {"scheme": "kfold", "folds": 4}, {"scheme": "leave_one_group_out"}]
)  # fmt: skip


@given(st.lists(st.integers(1, 6), min_size=4, max_size=12), schemes, st.integers(0, 999), st.booleans())
def test_no_family_is_on_two_sides(sizes, scheme, seed, stratified):
    table = families(*sizes)
    result = assigned(table, **scheme, seed=seed, stratify=["sex"] if stratified else [])
    assert sides(result, table) == 1
    for fold in set(result["fold"]):
        assert sorted(result[result["fold"] == fold]["participant_id"]) == list(table["participant_id"])
    if scheme["scheme"] != "holdout":
        assert sorted(result[result["split"] == "test"]["participant_id"]) == list(table["participant_id"])
    again = splits.assign(list(table["participant_id"])[::-1], block(**scheme, seed=seed,
                          stratify=["sex"] if stratified else []), table.iloc[::-1])  # fmt: skip
    assert again.equals(result)


def test_without_a_group_these_families_are_separated():
    table = families(*[4] * 10)
    assert sides(assigned(table, group=None), table) > 1


def test_parts_come_near_to_their_sizes_and_strata():
    table = families(*[4, 3, 2, 2, 1] * 5)
    result = assigned(table, stratify=["sex"])
    assert result["split"].value_counts().to_dict() == {"train": 36, "val": 12, "test": 12}
    sexes = result.merge(table).groupby(["split", "sex"]).size()
    assert all(abs(sexes[part, "F"] - sexes[part, "M"]) <= 2 for part in splits.PARTS)
    sizes = assigned(table, scheme="kfold", folds=5).query("split == 'test'")["fold"].value_counts()
    assert set(sizes) == {12}


def test_a_fold_of_each_group_in_the_order_of_their_names():
    table = families(3, 1, 5, 2)
    result = assigned(table, scheme="leave_one_group_out").merge(table)
    for part, shift in (("test", 0), ("val", 1)):
        rows = result[result["split"] == part].groupby("fold")["family"].unique().map(list)
        assert rows.to_dict() == {str(k): [f"F{(k + shift) % 4}"] for k in range(4)}


@pytest.mark.parametrize(
    ("sizes", "changes", "words"),
    [
        ((6, 6), {}, ["splits.scheme is holdout", "2 groups of 12", "at least 3"]),
        ((4, 4, 4), {"scheme": "kfold", "folds": 5}, ["splits.folds is 5", "3 groups of 12", "at least 5"]),
        ((6, 6), {"scheme": "leave_one_group_out"}, ["leave_one_group_out", "2 groups of 12", "at least 3"]),
        ((4, 4, 4), {"group": "site"}, ["splits.group names 'site'", "participant_id, family, sex"]),
    ],
)
def test_what_cannot_be_grouped_is_one_line(sizes, changes, words, refused):
    with refused(*words):
        assigned(families(*sizes), **changes)


@pytest.mark.parametrize("empty", ["n/a", "", " "])
def test_somebody_without_a_value_is_named(empty, refused):
    table = families(2, 2, 2, 2)
    table.loc[3, "family"] = empty
    with refused("participants.tsv", "no family of sub-03;", "splits.group"):
        assigned(table)


def test_somebody_without_a_row_is_named(refused):
    with refused("no family of sub-99;"):
        splits.assign(["sub-00", "sub-01", "sub-02", "sub-99"], block(), families(1, 1, 1))


def test_a_table_of_ones_own_that_separates_a_group_is_refused(tmp_path, refused):
    table = families(2, 1, 1)
    path = tmp_path / "own.tsv"
    rows = "participant_id\tfold\tsplit\nsub-00\t0\ttrain\nsub-01\t0\t{}\nsub-02\t0\tval\nsub-03\t0\ttest\n"
    path.write_text(rows.format("test"))
    with refused("sub-00 and sub-01", "one family (F0)", "train and test of fold 0"):
        assigned(table, file=str(path))
    path.write_text(rows.format("train"))
    assert sides(assigned(table, file=str(path)), table) == 1


def test_groups_span_both_cohorts_and_travelling_subjects():
    sources, targets = ([f"sub-{side}{n:02d}" for n in range(8)] for side in ("source", "target"))
    table = pd.DataFrame({"participant_id": [*sources, *targets], "family": [f"F{n % 8}" for n in range(16)]})
    together = {targets[0]: sources[5]}
    result = splits.assign_cohorts((sources, targets), together, block(), table)
    place = result.set_index("participant_id")["split"]
    assert all(place[source] == place[target] for source, target in zip(sources, targets, strict=True))
    assert place[targets[0]] == place[sources[5]]
    counts = result.assign(side=result["participant_id"].str[4:10]).groupby(["side", "split"]).size()
    assert counts["source"].to_dict() == counts["target"].to_dict()


def test_leave_one_out_needs_a_group(refused):
    with refused("splits.scheme is leave_one_group_out", "splits.group is null"):
        splits.check_config(block(scheme="leave_one_group_out", group=None))
    schema = configuration.schema()["properties"]["splits"]["properties"]["scheme"]["enum"]
    assert splits.LEAVE_ONE_OUT in schema


def test_the_methods_text_says_so():
    text = splits.methods_sentence({"splits": block(scheme="leave_one_group_out", group="site")}, {})
    assert "leave-one-site-out cross-validation;" in text and "nor are two of one site" in text
    assert "group" not in splits.methods_sentence({"splits": block(group=None)}, {})


def test_a_table_of_ones_own_is_checked_for_cohorts_too(tmp_path, refused):
    sources, targets = ([f"sub-{side}{n}" for n in range(3)] for side in ("source", "target"))
    table = pd.DataFrame({"participant_id": [*sources, *targets], "family": ["F0", "F1", "F2"] * 2})
    path = tmp_path / "own.tsv"
    rows = [f"{person}\t0\t{splits.PARTS[n % 3]}" for n, person in enumerate([*sources, *targets])]
    path.write_text("\n".join(["participant_id\tfold\tsplit", *rows]) + "\n")
    assert len(splits.assign_cohorts((sources, targets), {}, block(file=str(path)), table)) == 6
    table.loc[3, "family"] = "F1"
    with refused("sub-source1 and sub-target0", "one family (F1)"):
        splits.assign_cohorts((sources, targets), {}, block(file=str(path)), table)
