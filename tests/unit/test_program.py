"""Programs: words arrive as they are, output and exit code come back, time is limited, errors name the program."""

import os
import sys
import time
from pathlib import Path

import pytest
from upfield import program
from upfield.bids import dicom
from upfield.files import read_json

AWKWARD = """a b; touch 'gone' "$HOME" `id` $(id) & | > * %s \\ ü"""


@pytest.fixture
def script(tmp_path):
    """Write a program of a few lines of Python and return its path."""

    def write(text, name="tool"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nimport os, subprocess, sys, time\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def test_words_reach_the_program_as_they_are(script, tmp_path):
    folder = tmp_path / AWKWARD.replace("/", "")
    folder.mkdir()
    tool = script("print(*sys.argv[1:], sep='\\n'); print(os.getcwd()); print('oh', file=sys.stderr); sys.exit(3)")
    done = program.run([tool, "-o", folder, "", AWKWARD], seconds=60, folder=folder)
    assert done.stdout.splitlines() == ["-o", str(folder), "", AWKWARD, str(folder)]
    assert (done.code, done.stderr, done.last_line) == (3, "oh", "oh")
    assert not list(tmp_path.rglob("gone"))


def test_the_program_itself_may_have_an_awkward_name(script):
    assert program.run([script("print('here')", "a tool; 'of mine'")], seconds=60).stdout == "here"


def test_environment_and_working_folder_are_the_programs_alone(script):
    before = Path.cwd()
    done = program.run([script("print(os.environ['MINE']); print(os.getcwd())")], seconds=60, environment={"MINE": "1"})
    assert done.stdout.splitlines()[0] == "1" and done.stdout.splitlines()[1] != str(before)
    assert "MINE" not in os.environ and Path.cwd() == before


def test_much_output_comes_back_whole(script):
    done = program.run([script("for _ in range(20000): print('y' * 79)")], seconds=60)
    assert len(done.stdout.splitlines()) == 20000


def test_a_program_that_takes_too_long_is_ended(script):
    started = time.monotonic()
    # Its child keeps the output open.
    tool = script("subprocess.Popen(['sleep', '20']); time.sleep(20)", "slow-tool")
    with pytest.raises(program.ProgramError, match=r"^slow-tool took longer than 1 s$"):
        program.run([tool], seconds=1)
    assert time.monotonic() - started < 15


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(program.ProgramError, match=r"^no-such-tool was not found$"):
        program.run(["no-such-tool"], seconds=1)


def test_a_silent_failure_has_an_exit_code(script):
    assert program.run([script("sys.exit(124)")], seconds=60).last_line == "exit code 124"


def test_dcm2niix_gets_a_folder_of_any_name(tmp_path, monkeypatch):
    series = tmp_path / 'it\'s; a "series" $(id)'
    series.mkdir()
    (series / "readme.txt").write_text("nothing")
    dicom.convert(series, tmp_path / "out.nii.gz")
    said = read_json(tmp_path / "out.json")["Excluded"]
    assert "made 0 images" in said and "DICOM" in said.split("(")[1]
    monkeypatch.setattr(dicom, "LIMIT", 0.001)
    dicom.convert(series, tmp_path / "out.nii.gz")
    assert read_json(tmp_path / "out.json")["Excluded"] == "dcm2niix took longer than 0.001 s"
