"""When scans were acquired: tables of sessions as people and spreadsheets leave them, and which scan is the newest."""

from dataclasses import replace

import pytest
from upfield import bids, foreign
from upfield.bids.acquired import _times, acquisition_time, is_later, moment

NAME = "sub-01_ses-1_T1w.nii.gz"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2019-03-12T10:11:12", "2019-03-12T10:11:12"),
        ("2019-03-12T10:11:12.34", "2019-03-12T10:11:12.340000"),
        ("2019-03-12T10:11:12.1234567", "2019-03-12T10:11:12.123456"),
        ("2019-03-12 00:00", "2019-03-12T00:00:00"),
        ("2019-03-12", "2019-03-12"),
        ("2019-3-2 9:05", "2019-03-02T09:05:00"),
        ("2019/03/12 10:11", "2019-03-12T10:11:00"),
        ("2019-03-12T10:11:12Z", "2019-03-12T10:11:12+00:00"),
        ("2019-03-12T01:00:00+02:00", "2019-03-11T23:00:00+00:00"),
        ("20190312", "2019-03-12"),
        ("20190312T101112", "2019-03-12T10:11:12"),
        ("20190312101112.120000", "2019-03-12T10:11:12.120000"),
        ("25/03/2019", "2019-03-25"),
        ("03/25/2019 2:30 PM", "2019-03-25T14:30:00"),
        ("03/25/2019 12:30 am", "2019-03-25T00:30:00"),
        ("04.04.2019", "2019-04-04"),
        ("12-Mar-2019", "2019-03-12"),
        ("12 March 2019 10:11", "2019-03-12T10:11:00"),
        ("12MAR2019", "2019-03-12"),
        ("Mar 12, 2019", "2019-03-12"),
        ("1877-06-15T13:45:30", "1877-06-15T13:45:30"),
    ],
)
def test_what_can_be_meant_in_one_way_is_understood(text, said):
    assert moment(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "43556", "43556.42", "12/03/2019", "12.03.2019", "3-4-2019 10:00", "12/03/19", "12-Mar-19", "2019", "10:11:12",
        "2019-02-30", "2019-13-01", "31/31/2019", "2019-03-12T25:00", "2019-03-12T10:61", "12 Mrz 2019", "12 Ma 2019",
        "12032019", "03/25/2019 14:30 PM", "2019-03-12T10:11:12+99:00", "0001-01-01T00:00Z+", "", "n/a", "today",
        "0001-01-01T00:00+01:00", "٢٠١٩-٠٣-١٢",
    ],
)  # fmt: skip
def test_what_can_be_meant_in_two_ways_is_unknown(text):
    assert moment(text) == ""


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [
        ("2019-03-13", "2019-03-12T10:00:00", True),
        ("2019-03-12", "2019-03-12T10:00:00", False),
        ("2019-03-12T00:00:00", "2019-03-12T10:00:00", False),
        ("2019-03-12T10:00:00", "2019-03-12T00:00:00", False),
        ("2019-03-12T10:00:01", "2019-03-12T10:00:00", True),
        ("2019-03-12T10:00:00", "2019-03-12T10:00:00", False),
        ("2019-03-12T20:00:00+00:00", "2019-03-12T10:00:00", False),
        ("2019-03-13T20:00:00+00:00", "2019-03-12T10:00:00", True),
        ("2019-03-12T20:00:00+00:00", "2019-03-12T10:00:00+00:00", True),
        ("2019-03-12", "", False),
        ("", "2019-03-12", False),
    ],
)
def test_later_is_what_is_certainly_later(one, other, later):
    assert is_later(one, other) == later


@pytest.fixture
def written(tmp_path):
    """Write the table of a session that has a few files, and return the time of its T1w scan, with the table's path."""
    folder = tmp_path / "sub-01/ses-1"
    for name in (NAME, "sub-01_ses-1_T2w.nii.gz", "sub-01_ses-1_acq-a_PDw.nii", "sub-01_ses-1_acq-A_PDw.nii"):
        (folder / "anat").mkdir(parents=True, exist_ok=True)
        (folder / "anat" / name).touch()
    (folder / "func/sub-01_ses-1_bold.ds").mkdir(parents=True)
    table = folder / "sub-01_ses-1_scans.tsv"

    def write(*rows, image=NAME, **fields):
        table.write_text("\n".join(["filename\tacq_time", *("\t".join(row) for row in rows)]) + "\n")
        _times.cache_clear()
        foreign.warn.cache_clear()
        return acquisition_time(folder / "anat" / image, fields)

    write.table = str(table)
    return write


@pytest.mark.parametrize(
    "cell",
    [
        f"anat/{NAME}", f"./anat/{NAME}", rf"anat\{NAME}", rf".\anat\{NAME}", f"/anat/{NAME}", f"anat//{NAME}",
        f"sub-01/ses-1/anat/{NAME}", rf"sub-01\ses-1\anat\{NAME}", f"/old/place/sub-01/ses-1/anat/{NAME}",
        rf"C:\data\sub-01\ses-1\anat\{NAME}", f"bids::sub-01/ses-1/anat/{NAME}", NAME, f"anat/{NAME[:-3]}",
        f"anat/{NAME[:-7]}", f"anat/{NAME[:-7]}.NII.GZ", f"ANAT/{NAME}", f"anat/{NAME.upper()}",
    ],
)  # fmt: skip
def test_cells_that_can_mean_one_file_are_understood(written, caplog, cell):
    assert written((cell, "2019-03-12T10:00:00")) == "2019-03-12T10:00:00"
    assert not caplog.text


@pytest.mark.parametrize(
    "cell",
    [
        "anat/sub-01_ses-1_FLAIR.nii.gz", "anat/sub-02_ses-1_T1w.nii.gz", f"../anat/{NAME}", f"func/{NAME}", "anat",
        f"sub-02/ses-1/anat/{NAME}", f"sub-01/anat/{NAME}", f"x/anat/{NAME}", "/", f"anat/{NAME}/x", "T1w",
        "anat/sub-01_ses-1_ACQ-a_PDw.nii",
    ],
)  # fmt: skip
def test_cells_that_mean_no_file_are_said(written, caplog, cell):
    assert written((f"anat/{NAME}", "2019-03-12"), (cell, "2020-01-01"), ("x", "n/a")) == "2019-03-12"
    (line,) = caplog.text.splitlines()
    assert f"{written.table}, line 3" in line and repr(cell) in line and "1 more" in line


def test_files_of_other_kinds_are_there_too(written, caplog):
    written(("func/sub-01_ses-1_bold.ds", "n/a"), ("anat/sub-01_ses-1_acq-a_PDw.nii", "2019-01-01"))
    assert not caplog.text


@pytest.mark.parametrize("said", ["43556", "12/03/2019", "yesterday", "2019-02-30"])
def test_times_that_are_not_certain_are_said(written, caplog, said):
    assert written((f"anat/{NAME}", said)) == ""
    (line,) = caplog.text.splitlines()
    assert f"{written.table}, line 2" in line and repr(said) in line and "2019-03-12T10:11:12" in line


@pytest.mark.parametrize(
    ("said", "found"), [(43556, ""), ("12/03/2019", ""), ("20190312101112.5", "2019-03-12"), (["x"], "")]
)
def test_times_of_sidecars_too(written, caplog, said, found):
    assert written(AcquisitionDateTime=said)[:10] == found
    assert ("AcquisitionDateTime" in caplog.text) == (not found)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("2019-03-12", "2019-03-12", "2019-03-12"),
        ("2019-03-12", "12-Mar-2019", "2019-03-12"),
        ("2019-03-12", "n/a", "2019-03-12"),
        ("2019-03-12", "2019-03-13", ""),
        ("2019-03-13T10:00:00", "2019-03-12T10:00:00", ""),
    ],
)
def test_rows_that_contradict_each_other_are_said_and_not_used(written, caplog, first, second, found):
    assert (
        written((f"anat/{NAME}", first), ("anat/sub-01_ses-1_T2w.nii.gz", "n/a"), (f"./anat/{NAME}", second)) == found
    )
    assert (f"{written.table}, lines 2 and 4: anat/{NAME[:-7]} has different times" in caplog.text) == (not found)


def test_the_sidecar_decides_where_the_table_contradicts_itself(written):
    rows = [(NAME, "2019-03-12"), (NAME, "2019-03-13")]
    assert written(*rows, AcquisitionDateTime="2019-03-13T09:00:00") == "2019-03-13T09:00:00"


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("2019-03-12", "2019-03-13"), ""),
        (("", ""), ""),
        (("2019-03-12", ""), "time unknown"),
        (("2019-03-12", "2019-03-12"), "2019-03-12"),
        (("2019-03-12T00:00:00", "2019-03-12T10:00:00"), "2019-03-12"),
    ],
)
def test_a_newest_scan_that_is_not_certain_is_said(caplog, times, said):
    foreign.warn.cache_clear()
    scans = [
        bids.Scan("sub-01", "source", f"/d/run-{number}_T1w.nii.gz", "anat", f"run-{number}", "T1w", acquired=time)
        for number, time in enumerate(times)
    ]
    chosen = bids.choose(scans, {"include": [], "exclude": []}, "newest")
    bids.say_uncertain(chosen)
    assert [scan.acquired for scan in chosen] == sorted(times, reverse=True)
    assert ("not certain" in caplog.text) == bool(said) and said in caplog.text
    # Where each session is a pair nothing is chosen among sessions.
    caplog.clear()
    foreign.warn.cache_clear()
    apart = [replace(scan, session=str(number)) for number, scan in enumerate(chosen)]
    bids.say_uncertain(bids.as_visits(apart, "session", "source"))
    assert caplog.text == ""
