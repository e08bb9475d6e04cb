"""Tables that users write, as Excel and editors leave them: each is understood, or refused with its file and line."""

import pytest
from upfield import bids
from upfield.bids import cohorts
from upfield.bids.acquired import _times
from upfield.bids.samples import read_samples
from upfield.errors import UpfieldError
from upfield.evaluate import atlas
from upfield.study import groups, splits
from upfield.study import participants as participants_of

PEOPLE = ["sub-01", "sub-02", "sub-03"]


def participants(path):
    return bids.participants_table({"source": str(path.parent)}).to_dict("list")


def samples(path):
    return read_samples(path, {"source": "T1w", "target": "T1w"}, "converted")


def scans(path):
    (path.parent / "anat").mkdir(exist_ok=True)
    for name in "abc":
        (path.parent / "anat" / f"{name}.nii.gz").touch()
    _times.cache_clear()
    found = _times(path)
    if not found:
        # It is not needed: a warning says why nothing of it is used.
        raise UpfieldError(f"{path}: line")
    return found


def numbered(text):
    """A first column with numbers of rows, as libraries write it, without a name."""
    header, *rows = text.splitlines()
    return "\n".join(["\t" + header, *(f"{number}\t{row}" for number, row in enumerate(rows))])


def headless(text):
    """The first cell of the last row is lost."""
    *rows, last = text.splitlines()
    return "\n".join([*rows, "\t" + last.split("\t", 1)[1]])


# By the name of the file: its text, what it must have, and who reads it.
TABLES = {
    "participants.tsv": ("participant_id\tsex\tsite\nsub-01\tM\tA\nsub-02\tF\tB\nsub-03\tM\tB\n", participants),
    "samples.tsv": (
        "participant_id\tsource\ttarget\nsub-01\ta.nii\tb.nii\nsub-02\tc.nii\td.nii\nsub-03\te.nii\tf.nii\n",
        samples,
    ),
    "pairs.tsv": ("source\ttarget\nsub-01\tsub-11\nsub-02\tsub-12\nsub-03\tsub-13\n", cohorts.read_links),
    "splits.tsv": (
        "participant_id\tfold\tsplit\nsub-01\t0\ttrain\nsub-02\t0\tval\nsub-03\t0\ttest\n",
        lambda path: splits.from_file(str(path), PEOPLE).to_dict("list"),
    ),
    "names.tsv": ("index\tname\n1\tcortex\n2\tfluid\n3\tstem\n", atlas.region_names),
    "sub-01_scans.tsv": (
        "filename\tacq_time\nanat/a\t2020-01-01\nanat/b\t2020-01-02\nanat/c\t2020-01-03\n",
        scans,
    ),
}


def each(change):
    """Damage to every line."""
    return lambda text: "".join(f"{change(line)}\n" for line in text.splitlines())


def quoted(line):
    return "\t".join(f'"{cell}"' for cell in line.split("\t"))


HARMLESS = {
    "trailing tab": each(lambda line: line + "\t"),
    "trailing tabs": each(lambda line: line + "\t\t\t"),
    "trailing tab below": lambda text: text.replace("\n", "\t\n").replace("\t\n", "\n", 1),
    "trailing tab above": lambda text: text.replace("\n", "\t\n", 1),
    "trailing tab in one row": lambda text: text.removesuffix("\n") + "\t\n",
    "blank first column": each(lambda line: "\t" + line),
    "blank column between": each(lambda line: line.replace("\t", "\t\t", 1)),
    "blank rows": lambda text: "\n\t\t\n" + text.replace("\n", "\n\t\n  \n") + "\n\n",
    "windows": lambda text: text.replace("\n", "\r\n"),
    "old mac": lambda text: text.replace("\n", "\r"),
    "mark": lambda text: "\ufeff" + text,
    "two marks": lambda text: "\ufeff\ufeff" + text,
    "quoted cells": each(quoted),
    "spaces": each(lambda line: " " + line.replace("\t", "  \t ") + " "),
    "non-breaking spaces": each(lambda line: "\xa0" + line.replace("\t", "\xa0\t\u202f") + "\xa0"),
    "no width": each(lambda line: line.replace("\t", "\u200b\t\ufeff") + "\u200e"),
    "no last line end": lambda text: text.removesuffix("\n"),
    "a mark of the end of file": lambda text: text + "\x0c\n",
}
# What is there besides, and the line that must be named (0: the table as a whole).
HARMFUL = {
    "commas": (lambda text: text.replace("\t", ","), 0),
    "commas and a trailing tab": (lambda text: text.replace("\t", ",").replace("\n", "\t\n"), 0),
    "semicolons": (lambda text: text.replace("\t", ";"), 0),
    "spaces for tabs": (lambda text: text.replace("\t", "    "), 0),
    "numbers of rows": (numbered, 2),
    "a cell too many": (lambda text: text.removesuffix("\n") + "\tx\n", 4),
    "a note beyond": (lambda text: text.removesuffix("\n") + "\t\t\tsee mail\n", 4),
    "quotation mark not closed": (lambda text: text.replace("\n", '\n"', 1), 2),
    "line end in a cell": (lambda text: text.replace("\n", '\n"', 1).replace("\t", '\n"\t', 3), 0),
    "title": (lambda text: "My table\n" + text, 0),
    "first cell lost": (headless, 4),
    "comma at the end of lines": (lambda text: text.replace("\n", ",\n"), 0),
}  # fmt: skip


@pytest.mark.parametrize("damage", HARMLESS)
@pytest.mark.parametrize("name", TABLES)
def test_harmless_damage_is_understood(tmp_path, name, damage):
    text, read = TABLES[name]
    (tmp_path / name).write_text(text, newline="")
    expected = read(tmp_path / name)
    (tmp_path / name).write_bytes(HARMLESS[damage](text).encode())
    assert read(tmp_path / name) == expected


@pytest.mark.parametrize("damage", HARMFUL)
@pytest.mark.parametrize("name", TABLES)
def test_other_damage_is_refused_in_one_line(tmp_path, refused, name, damage):
    text, read = TABLES[name]
    change, line = HARMFUL[damage]
    if (name, damage) == ("samples.tsv", "first cell lost"):
        pytest.skip("a scan without a label is excluded, and the others are used")
    (tmp_path / name).write_bytes(change(text).encode())
    with refused(name, f"line {line}" if line and name != "sub-01_scans.tsv" else ""):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("splits.tsv", "val", "Val", ["line 3", "'Val'", "train"]),
        ("splits.tsv", "\t0\tval", "\tval", ["line 3", "no split"]),
        ("splits.tsv", "\t0\tval", "\tfold-0\tval", ["line 3", "fold-0", "letters"]),
        ("splits.tsv", "\t0\tval", "\t0{x}\tval", ["line 3", "letters"]),
        ("samples.tsv", "c.nii", "{c}.nii", ["line 3", "Snakemake", "rename"]),
        ("samples.tsv", "d.nii", "<d>.nii", ["line 3", "Snakemake"]),
        ("names.tsv", "2\t", "two\t", ["'two'", "whole numbers"]),
        ("pairs.tsv", "sub-02", "sub-01", ["sub-01", "more than once"]),
    ],
)
def test_cells_that_cannot_be_meant_are_named(tmp_path, refused, name, old, new, words):
    text, read = TABLES[name]
    (tmp_path / name).write_text(text.replace(old, new))
    with refused(name, *words):
        read(tmp_path / name)


def test_labels_may_lack_their_prefix(tmp_path):
    for name in ("participants.tsv", "samples.tsv", "pairs.tsv", "splits.tsv"):
        text, read = TABLES[name]
        (tmp_path / name).write_text(text)
        expected = read(tmp_path / name)
        (tmp_path / name).write_text(text.replace("sub-", ""))
        assert read(tmp_path / name) == expected, name


ROWS = "participant_id\tsex\tage\tsite\n"


@pytest.mark.parametrize(
    ("rows", "value", "said"),
    [
        ("sub-01\tM\t30\tA\n01\tM\t30\tA\n", "M|A", ""),
        ("sub-01\tM\t30\tA\nsub-01\tM\t31\tA\n", "M|A", ""),
        ("sub-01\tM\t30\tA\nsub-01\tF\t30\tA\n", "n/a|A", "differ in sex: 'M' ({path}, line 2); 'F' ({path}, line 3)"),
        ("sub-01\tn/a\t30\tA\nsub-02\tF\t3\tA\n01\tM\t\t\n", "M|A", ""),
        ("sub-01\tM\t30\tA\nsub-02\tF\t3\tA\nsub-01\tM\t30\tB\n", "M|n/a", "differ in site: 'A' ({path}, line 2)"),
        ("sub-01\t\t\t\nsub-01\tn/a\t\t\n", "|", ""),
    ],
)
def test_rows_of_one_participant_are_one_or_said(tmp_path, caplog, rows, value, said):
    path = tmp_path / "participants.tsv"
    path.write_text(ROWS + rows)
    table = bids.participants_table({"source": str(tmp_path), "target": str(tmp_path)})
    values = participants_of.values(["sub-01"], table, ["sex", "site"], "splits.stratify")
    assert values == {"sub-01": value}
    assert (said.format(path=path) in caplog.text) and bool(caplog.text) == bool(said)


def test_tables_of_two_datasets_that_contradict_each_other(bids_tree, caplog, refused):
    roots = {
        side: str(bids_tree({"participants.tsv": f"participant_id\tage\tsite\n01\t{age}\t{age}\n02\t1\t1\n"}, side))
        for side, age in (("source", 3), ("target", 4))
    }
    table = bids.participants_table(roots)
    assert participants_of.values(["sub-01", "sub-02"], table, ["site"], "x") == {"sub-01": "n/a", "sub-02": "1"}
    assert "source/participants.tsv, line 2" in caplog.text and "target/participants.tsv, line 2" in caplog.text
    assert "age" not in caplog.text, "nothing asks for it"
    with refused("no site of sub-01", "splits.group"):
        groups.of(["sub-01", "sub-02"], table, "site", {})
