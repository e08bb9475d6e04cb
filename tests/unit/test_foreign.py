"""Text of others: sidecars and tables as hospitals, Excel and editors write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upfield import foreign
from upfield.bids import matching
from upfield.errors import UpfieldError
from upfield.files import read_yaml

PLAIN = "participant_id\tsex\nsub-01\tM\nsub-02\tF\n"
ROWS = {"participant_id": ["sub-01", "sub-02"], "sex": ["M", "F"]}


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("sub-0", "\ufeffsub-0").encode(),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\t\n").encode(),
        PLAIN.replace("M\n", "M\t\n").encode(),
        PLAIN.replace("sex\n", "sex\t\t\n").encode(),
        (PLAIN + "\n\t\n  \n").encode(),
        PLAIN.replace("\t", " \t ").encode(),
        PLAIN.replace("sex", '"sex"').encode(),
    ],
)
def test_tables_that_can_be_understood(tmp_path, content):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    assert foreign.read_table(path, ("participant_id",)).to_dict("list") == ROWS


def test_latin_1_and_short_rows(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("name\tage\tnote\nMüller\t3\nZoë\t\tx\n".encode("latin-1"))
    assert foreign.read_table(path).to_dict("list") == {"name": ["Müller", "Zoë"], "age": ["3", ""], "note": ["", "x"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\n\n", ["empty"]),
        (PLAIN.replace("participant_id", "id").encode(), ["id, sex", "participant_id is missing"]),
        (PLAIN.replace("\t", ",").encode(), ["commas", "tabs"]),
        (PLAIN.replace("F\n", "F\twithdrew\n").encode(), ["line 3", "withdrew"]),
        (PLAIN.replace("sex", "participant_id").encode(), ["participant_id", "twice"]),
        (b"PK\x03\x04\x00\x00", ["no text"]),
        (b"participant_id\tsex\nsub\x0001\tM\n", ["no text"]),
        ("participant_id\tse\x9bx\u202e\n".encode(), ["se\\x9bx\\u202e", "sex is missing"]),
        (b"\xff\xfea", ["damaged"]),
        (b"participant_id\tsex\n" + b"x" * 200_000, ["line 2"]),
    ],
)
def test_tables_that_cannot_be_used_say_why(tmp_path, refused, content, words):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with refused("a.tsv", *words):
        foreign.read_table(path, ("participant_id", "sex"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"[1]", ["a list"]),
        (b'"x"', ["a text"]),
        (b"null", ["a single value"]),
        (b'{"a": 1,}', ["no JSON", "line 1"]),
        (b'{"a": 1} // 3T', ["no JSON"]),
        (b'{"a": 1, "a": 2}', ["'a' twice"]),
        (b"[" * 100_000, ["too deep"]),
        (b'{"a": ' + b"9" * 5000 + b"}", ["too long"]),
        (bytes.fromhex("0005160700020000"), ["no text"]),
    ],
)
def test_sidecars_that_cannot_be_used_say_why(tmp_path, refused, content, words):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with refused("a.json", *words):
        foreign.read_object(path)


def test_files_that_are_not_there_say_why(tmp_path, refused):
    (tmp_path / "link").symlink_to(tmp_path / "annex")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, word in (("none", "not exist"), ("link", "link to"), ("loop", "loop"), (".", "no file")):
        with refused(word):
            foreign.read_object(tmp_path / name)


def test_scanners_put_tabs_into_texts(tmp_path):
    (tmp_path / "a.json").write_bytes('{"a": "1\t2", "b": "München"}'.encode("latin-1"))
    assert foreign.read_object(tmp_path / "a.json") == {"a": "1\t2", "b": "München"}


@given(st.binary(max_size=200))
def test_no_bytes_give_anything_but_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(content)
    for reader in (foreign.read_object, foreign.read_table, read_yaml):
        try:
            reader(path)
        except UpfieldError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("value", "tesla"),
    [
        (3, 3), (2.89, 2.89), ("3T", 3), ("3 T", 3), ("1.5 Tesla", 1.5), ("1,5", 1.5), ("64mT", 0.064),
        ("0.064", 0.064), ("high", None), (["3"], None), ({}, None), (True, None), (float("nan"), None),
        (float("inf"), None),
        (0, None), (-3, None), (15000, None), ("", None), (None, None), ("9" * 400, None), ("3T/1.5T", None),
    ],
)  # fmt: skip
def test_field_strengths_are_numbers_or_unknown(value, tesla, caplog):
    fields = foreign.understood({"a": 1, "MagneticFieldStrength": value, "Manufacturer": "X"}, f"x {value!r}")
    assert fields.get("MagneticFieldStrength") == tesla
    assert list(fields)[::2] == ["a", "Manufacturer"] if tesla else list(fields) == ["a", "Manufacturer"]
    assert ("unknown" in caplog.text) == (tesla is None and value not in ("", None))


def test_manufacturers_are_text_that_can_be_written(tmp_path):
    (tmp_path / "a.json").write_text('{"Manufacturer": "GE\\ud800\\u0000\\tMR", "ManufacturersModelName": ["a"]}')
    fields = foreign.understood(foreign.read_object(tmp_path / "a.json"), "a")
    assert fields == {"Manufacturer": "GE? \x20MR"}
    json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("20190312", 20190314, False), ("20190312", 20190312, True), ("01", 1, True), ("010", 10, True),
        ("1e3", "1000", False), ("1", "1.0", False), ("inf", "Infinity", False), (1, "01", True), ("00", 0, True),
        ("1670241", "1670243", False), ("1a", "01a", False), ("9" * 20, "9" * 19 + "8", False), (None, "None", False),
    ],
)  # fmt: skip
def test_labels_are_text_but_for_leading_zeros(one, other, same):
    assert matching.label_matches(one, matching.labels("source", "session", other)) == same


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("1670241", "1670243", False), (1670241, 1670243, False), (1670241, "1670241", True), ("1e3", "1000", False),
        (1000.0, 1000, True), (3, "3", True), ("3.0", 3, True), (0.064, "0.064", True), ("007", "7", False),
        (2**60, 2**60 + 1, False), (True, 1, False), (True, True, True), (None, "None", False), ("nan", "nan", True),
    ],
)  # fmt: skip
def test_fields_are_equal_exactly(found, wanted, same):
    assert matching.field_matches("source", "x", found, wanted) == same


def test_labels_may_have_the_prefix_that_names_of_files_have(refused):
    assert matching.labels("source", "session", ["ses-lo", "hi", 1, None], "ses") == ["lo", "hi", "1", None]
    assert matching.labels("source", "subject", "sub-01", "sub") == ["01"]
    with refused("source.entities.session", "empty list"):
        matching.labels("source", "session", [], "ses")


def test_truth_values_are_refused_where_text_is_meant(refused):
    for value in (True, [False], float("nan"), 1.5, ["a", ["b"]]):
        with refused("source.entities.session", "quotes"):
            matching.labels("source", "session", value)
    with refused("target.metadata.Contrast", "false", "'no'", "quotes"):
        matching.field_matches("target", "Contrast", "no", False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "'a'", "line 1"]),
        ("s:\n  x: {y: 1, y: 2}\n", ["line 2", "'y'"]),
        ("l:\n- {a: 1,\n   a: 1}\n", ["line 3"]),
        ("entities: {session: no}\n", ["line 1", "'no'", "quotes"]),
        ("s:\n  entities:\n    session: [a, 010]\n", ["line 3", "'010'"]),
        ("entities: {session: 2019-03-12}\n", ["2019-03-12"]),
        ("entities: {session: 1:30}\n", ["1:30"]),
        ("entities: {session: 1_000}\n", ["1_000"]),
        ("channels: [{acquisition: on}]\n", ["'on'"]),
        ("a: [1\n", ["no YAML"]),
        ("a: \x00", ["no YAML"]),
    ],
)
def test_yaml_that_would_be_misread_is_refused(tmp_path, refused, text, words):
    (tmp_path / "a.yaml").write_text(text)
    with refused("a.yaml", *words):
        read_yaml(tmp_path / "a.yaml", labels=("entities", "channels"))


def test_yaml_that_is_meant_so_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "n: no\nm: 010\nbase: &b {x: 1, y: 2}\nmore: {<<: *b, x: 3}\nentities: {a: 1, b: 01, c: 'no', d: 1e3, e: null}"
    )
    found = read_yaml(tmp_path / "a.yaml", labels=("entities",))
    assert found["more"] == {"x": 3, "y": 2} and found["base"] == {"x": 1, "y": 2} and found["n"] is False
    assert found["entities"] == {"a": 1, "b": 1, "c": "no", "d": "1e3", "e": None}
