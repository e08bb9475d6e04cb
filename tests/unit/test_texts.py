"""Odd texts in a configuration: each is what it says, or refused in one line that names the key."""

import copy
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from upfield.errors import UpfieldError
from upfield.files import merged, read_yaml
from upfield.study import config as module
from upfield.study import texts

DEFAULTS = read_yaml(module.ROOT / "config" / "config.yaml")


def leaves(value, key=()):
    """Every key of a configuration, branches too."""
    if key:
        yield key
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from leaves(item, (*key, name))


KEYS = [*leaves(DEFAULTS), ("source", "entities", "session"), ("method_overrides", "unet3d", "base"),
        ("method_overrides", "unet3d", "preset"), ("train", "init_from", "unet3d"), ("qc", "thresholds", "x", "min"),
        ("source", "metadata", "Manufacturer"), ("unknown",), ("train", "unknown")]  # fmt: skip
ODD = ["a\n", "\0", "a\tb", "\x1b[31m", "\x85", "\u2028", "\ud800", "x" * 5000, "9" * 5000,
       "{a}", "{", "a<study>b", "~/x", "-rf",
       "é" * 200, "/", "..", "a/../b", "$(touch x)", "'; rm x", "null", "nan", "1e999", "", " ", "=1+1"]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(codec=None), max_size=20),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.sampled_from([*ODD, 1, None, [], {}]), max_size=3),
    st.dictionaries(st.sampled_from([*ODD, "min", 1, None, True]), st.sampled_from([*ODD, 1, []]), max_size=2),
    st.binary(max_size=4),
    st.dates(),
)


def nested(key, value):
    for name in reversed(key):
        value = {name: value}
    return value


@pytest.fixture
def study(bids_tree, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = copy.deepcopy(DEFAULTS)
    for side in ("source", "target"):
        found[side]["bids_dir"] = str(bids_tree({}))
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), VALUES)
@example(("study",), "a\n")
@example(("study",), "é" * 200)
@example(("source",), 5)
@example(("target", "bids_dir"), "\ue000")
@example(("qc", "thresholds"), {1: 2, "flip_gain": 3})
def test_any_value_of_any_key_is_used_or_refused_in_one_line(study, key, value):
    try:
        module.check(module.typed(merged(study, nested(key, value)), warn=False))
    except UpfieldError as error:
        said = str(error)
        said.encode()
        assert said.isprintable() and len(said) <= 700, said
        assert "config: " in said


@pytest.mark.parametrize("text", ["a\n", "a\0", "\ud800a", "a" * 5000, "a{b}c", "a<b>c", "~a", "-a"], ids=ascii)
def test_what_no_text_holds_is_refused_wherever_it_stands(text, refused):
    for key in (key for key in KEYS if "metadata" not in key):
        for value in (text, [1, text], {"x": text}):
            with refused("config: ", ".".join(key)):
                texts.check(nested(key, value))
        if not re.search("[{<~-]", text):
            with refused("config: a key in ", ".".join(key)):
                texts.check(nested(key, {text: 1}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("“lo”", "typographic quotes"),
        ("„lo“", "typographic quotes"),
        ("‘lo’", "typographic quotes"),
        ("«lo»", "typographic quotes"),
        ("lo ", "no space at its beginning or end"),
        (" lo", "no space at its beginning or end"),
        ("lo\xa0", "no space at its beginning or end"),
        ("lo\u200b", "no space at its beginning or end"),
        ("\ufefflo", "no space at its beginning or end"),
        ("$HOME/x", "$HOME is not filled in"),
        ("${HOME}/x", "${HOME} is not filled in"),
        ("$SCRATCH", "$SCRATCH is not filled in"),
        ("%USERPROFILE%\\x", "%USERPROFILE% is not filled in"),
        ("~/x", "~ is not read as your home"),
    ],
)
def test_what_a_shell_or_a_word_processor_would_read_is_named(text, words, refused):
    for key in (("output_dir",), ("source", "bids_dir"), ("target", "entities", "session"), ("samples",), ("methods",)):
        for value in (text, ["a", text]):
            with refused(f"config: {'.'.join(key)} is ", words):
                texts.check(nested(key, value))
    texts.check({"source": {"metadata": {"SeriesDescription": text}}})


def test_texts_that_are_meant_so_pass():
    texts.check(
        {"output_dir": "my out%s $HOME 'q' \"ü\" #&;|()[x]*?!,=:@+^", "a": {"b": ["-", "a-b", "a~b", "é", 1, None]}}
    )
    texts.check({"output_dir": "a$b/“c” d", "x": ["100%", "$", "$1", "%a", "”", "a “b”", "it’s"]})
    texts.check({"source": {"metadata": {"SeriesDescription": "{T1} <mpr> ~", "x": {"min": 1}}}})
    texts.check({"evaluate": {"atlas": {"images": "/atlas/{participant}/{participant}_dseg.nii.gz"}}})


def test_a_place_for_the_participant_is_for_atlases(refused):
    for key in (("output_dir",), ("evaluate", "atlas", "names"), ("evaluate", "atlas", "x")):
        with refused(".".join(key), "Snakemake"):
            texts.check(nested(key, "a/{participant}"))


@pytest.mark.parametrize("name", ["a*", "a?", "[x]", "{a}"])
def test_datasets_that_cannot_be_looked_through_are_named(tmp_path, refused, name):
    """Also where a link hides it: scans are called by where they really are."""
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    for folder in (name, "link"):
        with refused("source.bids_dir", "rename"):
            texts.check({"source": {"bids_dir": str(tmp_path / folder)}})


def test_one_participant_is_no_dataset(refused):
    with refused("bids_dir", "part of a dataset"):
        texts.check({"bids_dir": "/data/sub-01"})


def test_a_configuration_that_holds_itself_ends(refused):
    endless = {}
    endless["a"] = endless
    with refused("nested too deep"):
        texts.check(endless)
