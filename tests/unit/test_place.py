"""Where Upfield may be: paths that Snakemake can run, and the library that belongs to the workflow."""

import subprocess
import sys
from pathlib import Path

import pytest
from upfield import place

ROOT = Path(place.__file__).parents[3]
STEP = ROOT / "workflow/scripts/step.py"


@pytest.mark.parametrize(
    "name", ["my study", "it's", 'a"b', "a$b", "a&b", "a;b", "a(1)", "{a}", "a\tb", "~a", "a*", "#"]
)
def test_a_clone_that_snakemake_cannot_run_is_refused_at_set_up(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    command = [sys.executable, place.__file__, ".venv/bin/python"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "run make setup there" in done.stderr


@pytest.mark.parametrize("name", ["study-1", "Über_1.2", "a,b", "a=b", "a@b", "a+b", "a%20b", "a:b", "研究"])
def test_other_names_are_no_problem(tmp_path, name):
    assert place.refusal(tmp_path / name, tmp_path / name / ".venv/bin/python") == ""


@pytest.mark.parametrize("name", ["{a}", "a<study>"])
def test_what_is_a_wildcard_is_refused_wherever_python_is(tmp_path, name):
    assert "Snakemake" in place.refusal(tmp_path / name, "/usr/bin/python3")
    assert place.refusal(tmp_path / "my study", "/usr/bin/python3") == ""


@pytest.mark.parametrize(
    ("library", "workflow"),
    [
        ("code/workflow/scripts/upfield", "code"),
        ("venv/lib/python3.11/site-packages/upfield", "venv/share/upfield"),
        ("home/.local/lib/python3.11/site-packages/upfield", "home/.local/share/upfield"),
        ("target/upfield", "target/share/upfield"),
        # A virtual environment inside a checkout has its own.
        ("code/.venv/lib/python3.11/site-packages/upfield", "code/.venv/share/upfield"),
    ],
)
def test_the_workflow_of_a_library_is_its_checkout_or_where_pip_put_it(tmp_path, library, workflow):
    """Also inside a folder that has a Snakefile, which is the user's."""
    for folder in (library, workflow):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("", "code", workflow):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "Snakefile").touch()
    if "workflow/scripts" in library:
        (tmp_path / library).with_name("step.py").touch()
    assert place.workflow_of(tmp_path / library) == tmp_path / workflow


def library(folder, says):
    (folder / "upfield").mkdir(parents=True)
    (folder / "upfield/__init__.py").write_text("")
    (folder / "upfield/errors.py").write_text("of_machine = None\n")
    (folder / "upfield/step.py").write_text(f"def run(snakemake):\n    print({says!r})\n")
    return folder


def test_each_checkout_runs_its_own_library(tmp_path):
    """Whatever PYTHONPATH or an environment, made for another checkout, would import."""
    other, own = library(tmp_path / "other", "other"), library(tmp_path / "own", "own")
    (own / "step.py").write_text(STEP.read_text())
    for folder, says in ((own, "own"), (tmp_path / "cache", "other")):
        # A script that Snakemake read from a repository elsewhere has no library beside it.
        script = f"snakemake = None; __file__ = {str(folder / 'step.py')!r}\n{STEP.read_text()}"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env={"PYTHONPATH": str(other)}, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [says], done.stderr


def test_the_library_of_another_checkout_is_refused(tmp_path):
    own, other = (library(tmp_path / name / "workflow/scripts", name) / "upfield" for name in ("own", "other"))
    assert place.foreign(own, own) == ""
    said = place.foreign(own, other)
    assert str(tmp_path / "own") in said and str(other) in said and "\n" not in said
    assert place.foreign(tmp_path / "https:/github.com/x", other) == "", "installed, and read from a repository"
    (tmp_path / "link").symlink_to(own)
    assert place.foreign(tmp_path / "link", own) == ""
