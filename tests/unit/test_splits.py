from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield import bids
from upfield.study import splits

FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}
EMPTY = pd.DataFrame({"participant_id": pd.Series(dtype=str)})


def config(**changes):
    settings = {
        "scheme": "holdout",
        "fractions": FRACTIONS,
        "folds": 5,
        "seed": 42,
        "stratify": [],
        "group": None,
        "file": None,
    }
    return {**settings, **changes}


def people(count):
    return [f"sub-{i:03d}" for i in range(count)]


def strata(count, *groups):
    """participants.tsv of `count` people; `groups` are the values of `sex`, repeated in turn."""
    return pd.DataFrame({"participant_id": people(count), "sex": [groups[i % len(groups)] for i in range(count)]})


def balance(table, participants):
    """Number of each sex in each part of each fold."""
    rows = table.merge(participants)
    return Counter(zip(rows["fold"], rows["split"], rows["sex"], strict=True))


schemes = st.sampled_from([{"scheme": "holdout"}, *({"scheme": "kfold", "folds": k} for k in (3, 4, 5, 7))])
fractions = st.sampled_from(
    [FRACTIONS, {"train": 0.8, "val": 0.1, "test": 0.1}, {"train": 0.4, "val": 0.3, "test": 0.3}]
)


@given(st.integers(7, 60), schemes, fractions, st.integers(0, 10**6), st.booleans(), st.randoms())
def test_everybody_stands_once_in_every_fold(count, scheme, fractions, seed, stratified, random):
    settings = config(**scheme, fractions=fractions, seed=seed, stratify=["sex"] if stratified else [])
    table = strata(count, "F", "M", "M")
    result = splits.assign(people(count), settings, table)
    folds = scheme.get("folds", 1)
    assert sorted(set(result["fold"])) == [str(k) for k in range(folds)]
    for fold in set(result["fold"]):
        parts = [splits.parts(result).get((fold, part), []) for part in splits.PARTS]
        assert all(parts)
        assert sorted(person for part in parts for person in part) == people(count)
    shuffled = people(count)
    random.shuffle(shuffled)
    again = splits.assign(shuffled, settings, table.sample(frac=1, random_state=seed % 1000))
    assert again.equals(result)
    assert splits.fingerprint(again) == splits.fingerprint(result)


@given(st.integers(5, 60), st.sampled_from([3, 4, 5]), st.booleans())
def test_kfold_tests_everybody_once(count, folds, stratified):
    settings = config(scheme="kfold", folds=folds, stratify=["sex"] if stratified else [])
    result = splits.assign(people(count), settings, strata(count, "F", "M"))
    for part in ("test", "val"):
        rows = result[result["split"] == part]
        assert sorted(rows["participant_id"]) == people(count)
        sizes = rows["fold"].value_counts()
        assert sizes.max() - sizes.min() <= 1


def test_seed_decides():
    one, two = (splits.assign(people(30), config(seed=seed), EMPTY) for seed in (1, 2))
    assert not one.equals(two)
    assert splits.fingerprint(one) != splits.fingerprint(two)
    assert one["split"].value_counts().to_dict() == {"train": 18, "val": 6, "test": 6}


def test_same_person_twice_counts_once():
    assert splits.assign(people(10) * 2, config(), EMPTY).equals(splits.assign(people(10), config(), EMPTY))


@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.15, 0.15)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_holdout_is_balanced_over_strata(shares, seed):
    table = strata(20, "F", "M")
    fractions = dict(zip(splits.PARTS, shares, strict=True))
    result = splits.assign(people(20), config(fractions=fractions, seed=seed, stratify=["sex"]), table)
    counts = balance(result, table)
    for part in splits.PARTS:
        assert abs(counts["0", part, "F"] - counts["0", part, "M"]) <= 1, (part, counts)


@pytest.mark.parametrize("folds", [3, 4, 5, 10])
def test_kfold_is_balanced_over_strata(folds):
    table = strata(20, "F", "M")
    counts = balance(splits.assign(people(20), config(scheme="kfold", folds=folds, stratify=["sex"]), table), table)
    for fold in map(str, range(folds)):
        for part in splits.PARTS:
            # Test and validation may each be odd; the training part then lacks both.
            allowed = 2 if part == "train" else 1
            assert abs(counts[fold, part, "F"] - counts[fold, part, "M"]) <= allowed, (fold, part, counts)


def test_rare_stratum_is_spread():
    table = strata(40, "F", "F", "F", "M")
    counts = balance(splits.assign(people(40), config(scheme="kfold", folds=5, stratify=["sex"]), table), table)
    assert [counts[fold, "test", "M"] for fold in "01234"] == [2] * 5


def test_stratify_over_two_columns_and_people_without_a_row():
    table = strata(24, "F", "M").assign(site=lambda t: ["A"] * 12 + ["B"] * 12).iloc[:20]
    result = splits.assign(people(24), config(scheme="kfold", folds=4, stratify=["sex", "site"]), table)
    rows = result[result["split"] == "test"].merge(table, how="left").fillna("n/a")
    sizes = rows.groupby(["fold", "sex", "site"]).size().unstack(["sex", "site"], fill_value=0)
    assert (sizes.max() - sizes.min() <= 1).all()


def test_unknown_column(refused):
    with refused("splits.stratify", "'scanner'", "sex"):
        splits.assign(people(20), config(stratify=["sex", "scanner"]), strata(20, "F", "M"))


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_for_holdout(refused, count):
    with refused(f"{count} usable participants", "at least 3"):
        splits.assign(people(count), config(), EMPTY)


def test_too_few_for_kfold(refused):
    with refused("splits.folds is 5", "only 4"):
        splits.assign(people(4), config(scheme="kfold"), EMPTY)


# A user's own table


@pytest.fixture
def own(tmp_path):
    """Write a user's table and give the config that names it."""

    def write(text):
        path = tmp_path / "own.tsv"
        path.write_text(text)
        return config(file=str(path))

    return write


HEADER = "participant_id\tfold\tsplit\n"
SOUND = HEADER + "sub-000\t0\ttrain\nsub-001\t0\tval\nsub-002\t0\ttest\n"


def test_own_table_is_taken_as_it_is(own):
    # Somebody without a usable pair may stand in it, and so may other columns.
    text = (
        "note\t" + HEADER + "x\tsub-000\t00\ttest\nx\tsub-001\t00\tval\nx\tsub-002\t00\ttrain\nx\tsub-009\t00\ttrain\n"
    )
    result = splits.assign(people(3), own(text), EMPTY)
    assert result.values.tolist() == [["sub-000", "00", "test"], ["sub-001", "00", "val"], ["sub-002", "00", "train"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOUND + "sub-000\t0\ttest\n", ["sub-000", "fold 0", "leak"]),
        (SOUND + "sub-000\t0\ttrain\n", ["sub-000", "fold 0", "leak"]),
        (SOUND.replace("sub-001", "sub-007"), ["sub-001", "no row"]),
        (SOUND.replace("split", "part"), ["part", "expected participant_id, fold, split"]),
        (SOUND.replace("\tval", "\tvalidation"), ["'validation'", "train, val, test"]),
        (SOUND.replace("\tval", "\t"), ["line 3", "no split"]),
        (SOUND.replace("\ttest", "\tval"), ["fold 0", "test"]),
        (SOUND.replace("\ttrain", "\tval"), ["fold 0", "train"]),
        ("", ["table is empty"]),
        (HEADER + "sub-000\t0\ttrain\nsub-001\t0\tval\tmore\tand more\n", ["line 3", "'more'"]),
    ],
)
def test_bad_own_tables(own, refused, text, words):
    with refused(*words):
        splits.assign(people(3), own(text), EMPTY)


def test_missing_own_table(tmp_path, refused):
    with refused("splits.file", "nowhere.tsv", "cannot be read"):
        splits.assign(people(3), config(file=str(tmp_path / "nowhere.tsv")), EMPTY)


def test_same_person_in_two_folds_is_no_leak(own):
    text = SOUND + "sub-000\t1\ttest\nsub-001\t1\ttrain\nsub-002\t1\tval\n"
    result = splits.assign(people(3), own(text), EMPTY)
    assert splits.parts(result)["1", "test"] == ["sub-000"]


def test_fingerprint_ignores_row_order():
    table = splits.assign(people(12), config(), EMPTY)
    assert splits.fingerprint(table.iloc[::-1]) == splits.fingerprint(table)
    moved = table.copy()
    moved.loc[0, "split"] = "test"
    assert splits.fingerprint(moved) != splits.fingerprint(table)


@pytest.mark.parametrize("write", [str, "{:02d}".format, "sub-{}".format, "sub-{:03d}".format])
def test_spreadsheets_lose_zeros_and_prefixes(bids_tree, write):
    rows = "".join(f"{write(n)}\t{'FM'[n <= 4]}\n" for n in range(1, 13))
    table = bids.participants_table({"target": str(bids_tree({"participants.tsv": "participant_id\tsex\n" + rows}))})
    sexes = {f"sub-{n:02d}": "FM"[n <= 4] for n in range(1, 13)}
    parts = splits.parts(splits.assign(list(sexes), config(stratify=["sex"]), table))
    assert all(1 <= sum(sexes[person] == "M" for person in group) <= 3 for group in parts.values())


def test_a_table_of_others_stratifies_nobody_and_says_so(refused, caplog):
    table = pd.DataFrame({"participant_id": ["sub-A", "sub-B"], "sex": ["F", "M"]})
    with refused("participants.tsv", "sub-A", "sub-000", "stratify"):
        splits.assign(people(6), config(stratify=["sex"]), table)
    splits.assign([*people(6), "sub-A"], config(stratify=["sex"]), table)
    assert "sub-000" in caplog.text
    splits.assign([*people(6), "sub-A"], config(stratify=["sex"]), table.assign(participant_id="sub-A"))
    assert "sub-A has rows that differ in sex" in caplog.text


@pytest.mark.parametrize("scheme", [{"scheme": "holdout"}, {"scheme": "kfold", "folds": 3}])
def test_nobody_moves_when_others_are_excluded(scheme):
    table = splits.assign(people(9), config(**scheme), EMPTY)
    lost = table.loc[table["split"] == "train", "participant_id"].iloc[:1]
    left = splits.without(table, lost)
    assert len(left) == len(table) - len(table[table["participant_id"].isin(lost)])
    assert len(left.merge(table)) == len(left)
    assert splits.without(table, []).equals(table)


@pytest.mark.parametrize("part", splits.PARTS)
@pytest.mark.parametrize("scheme", [{"scheme": "holdout"}, {"scheme": "kfold", "folds": 3}])
def test_a_part_of_which_everybody_is_excluded_is_named(scheme, part, refused):
    table = splits.assign(people(9), config(**scheme), EMPTY)
    fold = sorted(set(table["fold"]))[-1]
    lost = table.loc[(table["fold"] == fold) & (table["split"] == part), "participant_id"].tolist()
    # In a fold of three, those who validate here test there: the first part that is empty is named.
    with refused("splits: fold", "participant left", lost[0], "excluded.tsv"):
        splits.without(table, lost)


def test_a_study_of_which_everybody_is_excluded_is_refused(refused):
    table = splits.assign(people(9), config(), EMPTY)
    with refused("no train participant left", "excluded.tsv"):
        splits.without(table, people(9))
