"""What labs send around tells nothing of the machine it was made on, and runs nothing where it is opened."""

import base64
import csv
import gzip
import io
import json
import platform
import re
from pathlib import Path

import pandas as pd
import pytest
from upfield.evaluate.export import export
from upfield.files import inert, places, portable, read_tsv, relative, write_csv, write_tsv
from upfield.report.page import build
from upfield.study.designs.narrative import Narrative
from upfield.study.provenance import record

DATA = "/home/jane.doe/studies/ds 01"
CONFIG = {"study": "toy", "source": {"bids_dir": DATA}, "target": {"bids_dir": "/mnt/lab-7/targets"}, "methods": []}
FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://a.b","c")',
    "+cmd|'/c calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\r\n@x",
    "-x",
)
NUMBERS = ("-1.5", "+3", "-1e-5", "-.5", "-inf", "1670241", "2", "-")


@pytest.mark.parametrize("cell", FORMULAS)
def test_what_a_spreadsheet_would_run_is_text(cell):
    assert inert(cell) == f"'{cell.strip()}"


@pytest.mark.parametrize("cell", [*NUMBERS, -1.5, float("nan"), None, "sub-01", "n/a", "", "a=b", "3-4"])
def test_numbers_and_words_stay(cell):
    assert inert(cell) is cell


@pytest.mark.parametrize("write", [write_tsv, write_csv])
def test_every_writer_of_tables_neutralizes_text_and_no_number(tmp_path, write):
    values = [-1.5] * len(FORMULAS)
    table = pd.DataFrame(
        {
            "=name": FORMULAS,
            "number": values,
            "as text": ["-1.5"] * len(values),
            "mixed": [-2, *["="] * (len(values) - 1)],
        }
    )
    write(tmp_path / "table", table)
    text = (tmp_path / "table").read_text()
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if write is write_tsv else ","))
    assert rows[0][0] == "'=name"
    assert [row[0] for row in rows[1:]] == [f"'{cell.strip()}" for cell in FORMULAS]
    assert {tuple(row[1:3]) for row in rows[1:]} == {("-1.5", "-1.5")}
    assert {row[3] for row in rows[1:]} == {"-2", "="}


def test_tables_without_such_text_are_written_as_before(tmp_path):
    table = pd.DataFrame({"a": ["x", None], "b": [0.1234567891234, -2.0], "c": [True, False], "d": [-1, "n"]})
    write_tsv(tmp_path / "t.tsv", table)
    assert (tmp_path / "t.tsv").read_text() == table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g")


def test_exported_metrics(tmp_path):
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    rows = [[who, "unet3d", "0", "1", "test", "brain", "psnr", -1.5] for who in ("sub-01", "=A1+1")]
    write_tsv(tmp_path / "values.tsv", pd.DataFrame(rows, columns=columns))
    name = "@evil.nii.gz"
    export(
        str(tmp_path / "values.tsv"), [str(tmp_path / "out.csv")],
        {"unet3d": {"sub-01": name, "'=A1+1": name}},
    )  # fmt: skip
    assert (tmp_path / "out.csv").read_text() == f"filename,psnr\n'{name},-1.5\n'{name},-1.5\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{DATA}/sub-01/anat/sub-01_T1w.nii.gz", "ds 01/sub-01/anat/sub-01_T1w.nii.gz"),
        (f"file://{DATA}", "ds 01"),
        (f"{DATA}/a.nii.gz differs from /mnt/lab-7/targets/b.nii.gz", "ds 01/a.nii.gz differs from targets/b.nii.gz"),
        ("/home/someone/x/y.nii.gz: damaged", "~/x/y.nii.gz: damaged"),
        ("cannot read '/scratch/u123/y.nii.gz'", "cannot read 'y.nii.gz'"),
        (f"{Path.cwd()}/results/toy", "./results/toy"),
        (f"{DATA}-other/x", "~/studies/ds 01-other/x"),
        ("3 T/1.5 T, n/a, https://bids.org/a/b, a/b/c", "3 T/1.5 T, n/a, https://bids.org/a/b, a/b/c"),
        ("bids:source:sub-01/anat/x.nii.gz", "bids:source:sub-01/anat/x.nii.gz"),
        ("", ""),
    ],
)
def test_paths_lose_their_machine(text, told):
    assert portable(text, places(CONFIG)) == told
    assert portable({"a": [text, 1]}, places(CONFIG)) == {"a": [told, 1]}


def test_folders_of_models_in_cards_and_sidecars():
    assert relative("results/toy/models/unet3d/fold-0_seed-42") == "results/toy/models/unet3d/fold-0_seed-42"
    assert relative(f"{Path.cwd()}/results/toy/models/m/f") == "results/toy/models/m/f"
    assert relative("/home/jane/models/unet3d/fold-0_seed-42") == "models/unet3d/fold-0_seed-42"


def test_provenance_tells_no_kernel_and_no_host():
    said = json.dumps(record(CONFIG, "0"))
    assert [word for word in (platform.release(), platform.node()) if word and word in said] == []


def test_a_report_and_all_tables_in_it(tmp_path):
    root = tmp_path / "toy"
    path = f"{DATA}/sub-01/anat/sub-01_T1w.nii.gz"
    write = {
        "excluded.tsv": {"participant_id": "sub-02", "role": "source", "path": path, "stage": "ingest",
                         "reason": f"=cmd {path} cannot be read"},
        "pairs.tsv": {"participant_id": "sub-01", "source_path": path, "target_path": "/mnt/lab-7/targets/t.nii.gz",
                      "source_name": "s", "target_name": "t"},
        "inventory.tsv": {"participant_id": "sub-01", "role": "source", "session": "1", "path": path, "shape": "2x2",
                          "voxel_mm": "1", "field_strength_t": -1.5, "manufacturer": "@lab", "bytes": 1},
        "splits.tsv": {"participant_id": "sub-01", "fold": "0", "split": "train"},
    }  # fmt: skip
    for name, row in write.items():
        # As versions before wrote them.
        root.mkdir(exist_ok=True)
        (root / name).write_text(pd.DataFrame([row]).to_csv(sep="\t", index=False, na_rep="n/a"))
    output = root / "report" / "index.html"
    build(
        root, output, config={**CONFIG, "output_dir": str(tmp_path)}, provenance=record(CONFIG, "0"), images=[],
        narrative=Narrative(notices=[f"{path} was left out."]),
    )  # fmt: skip
    page = output.read_text()
    assert [word for word in ("jane", "/home/", "lab-7", str(tmp_path), platform.release()) if word in page] == []
    assert "ds 01/sub-01/anat/sub-01_T1w.nii.gz" in page
    packed = [base64.b64decode(text) for text in re.findall(r"H4sI[\w+/=]{20,}", page)]
    files = [gzip.decompress(content).decode() for content in packed]
    assert len(files) == len(write)
    for text in files:
        assert "jane" not in text and "lab-7" not in text
        cells = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t") for cell in row]
        assert [cell for cell in cells if inert(cell) is not cell] == []
    everything = "".join(files)
    assert "'=cmd ds 01/sub-01" in everything and "'@lab" in everything and "\t-1.5\t" in everything


def test_sentences_name_no_folders_whatever_is_in_their_names(tmp_path):
    """Text is escaped when paths are looked for in the page."""
    folder = "/srv/lab 7/jane's & joe's <x>/ds"
    config = {**CONFIG, "source": {"bids_dir": folder}, "output_dir": str(tmp_path)}
    output = tmp_path / "toy" / "report" / "index.html"
    build(
        tmp_path / "toy", output, config=config, provenance=record(config, "0"), images=[],
        narrative=Narrative(notices=[f"{folder}/sub-01/a.nii.gz was left out."]),
    )  # fmt: skip
    page = output.read_text()
    assert "ds/sub-01/a.nii.gz was left out." in page and "joe" not in page


def test_a_study_reads_its_own_tables(tmp_path):
    write_tsv(tmp_path / "t.tsv", pd.DataFrame({"participant_id": ["sub-01"], "reason": ["-1.5"], "value": [-1.5]}))
    row = read_tsv(tmp_path / "t.tsv").iloc[0]
    assert (row["participant_id"], row["reason"], row["value"]) == ("sub-01", "-1.5", -1.5)
