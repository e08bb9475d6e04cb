from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield import files


def test_half_written_file_never_counts(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".txt"
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_replaces_when_done(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with path.open() as reader:
        files.write_text(path, "neü")
        # Renamed, not written over: whoever reads the old file reads it to its end.
        assert reader.read() == "old"
    assert path.read_bytes() == "neü".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_json_writes_numpy_and_paths(tmp_path):
    value = {"b": np.float32(0.5), "a": np.arange(3), "path": Path("x/y"), "n": np.int64(3)}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == {"b": 0.5, "a": [0, 1, 2], "path": "x/y", "n": 3}
    assert list(files.read_json(tmp_path / "a.json")) == ["b", "a", "path", "n"]
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_tables_keep_text_and_missing_values(tmp_path):
    table = pd.DataFrame(
        {
            "participant_id": ["007", "NA", "1e5"],
            "session": ["01", "02", None],
            "fold": ["0", "1", "02"],
            "value": [0.123456789, np.nan, 3.0],
            "reason": ["null", "nan", "a b"],
        }
    )
    files.write_tsv(tmp_path / "a.tsv", table)
    assert "n/a" in (tmp_path / "a.tsv").read_text()
    back = files.read_tsv(tmp_path / "a.tsv")
    assert back["participant_id"].tolist() == ["007", "NA", "1e5"]
    assert back["fold"].tolist() == ["0", "1", "02"]
    assert back["reason"].tolist() == ["null", "nan", "a b"]
    assert back["session"].isna().tolist() == [False, False, True]
    np.testing.assert_allclose(back["value"], table["value"], rtol=1e-8)


def test_digest_ignores_key_order_and_sees_every_value():
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert files.digest(one) == files.digest({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert files.digest(one) != files.digest({"a": 1, "b": {"c": [2, 1], "d": None}})
    assert len(files.digest(one)) == 16
    assert files.digest(np.arange(3)) == files.digest([0, 1, 2])


def test_digest_of_a_file_is_of_its_bytes(tmp_path):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    a, b, c = (files.digest(tmp_path / name) for name in "abc")
    assert a == b != c


nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(mappings, mappings)
def test_merged_lays_one_upon_the_other(base, over):
    before = repr(base), repr(over)
    result = files.merged(base, over)
    assert (repr(base), repr(over)) == before
    assert set(result) == set(base) | set(over)
    assert files.merged(result, over) == result
    for key, value in over.items():
        if not isinstance(value, dict):
            assert result[key] == value
        elif isinstance(base.get(key), dict):
            assert result[key] == files.merged(base[key], value)
    assert files.merged(base, {}) == base


def test_merged_replaces_lists_whole():
    assert files.merged({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"a": [3], "b": {"d": 4}}) == {
        "a": [3],
        "b": {"c": 1, "d": 4},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": -float("inf")}], np.float32("nan")])
def test_json_never_holds_what_json_does_not_know(tmp_path, value, refused):
    with refused("a.json", "not finite"):
        files.write_json(tmp_path / "a.json", {"deep": value})
    assert list(tmp_path.iterdir()) == []
