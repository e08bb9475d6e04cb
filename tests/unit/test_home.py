"""Homes that cannot be written: accounts of services, users inside containers."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from upfield import home

# As root everything else can be made or written.
NOWHERE = ["/proc/nobody", "/dev/null", "here"]


def settled(command, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in (*home.CACHES, "HOME")}
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("|")


SAY = "import os; print(os.environ.get('HOME', ''), os.environ.get('XDG_CACHE_HOME', ''), sep='|', end='')"
SETTLED = [sys.executable, "-c", f"from upfield import home; home.settle(); {SAY}"]


@pytest.mark.parametrize("nowhere", NOWHERE)
def test_a_home_that_cannot_be_written_is_replaced(tmp_path, nowhere):
    found, _ = settled(SETTLED, HOME=nowhere, TMPDIR=str(tmp_path))
    assert Path(found) == tmp_path / f"upfield-{os.getuid()}" and Path(found).is_dir()
    assert Path(found).stat().st_mode & 0o077 == 0
    assert settled(SETTLED, HOME=nowhere, TMPDIR=str(tmp_path))[0] == found, "the same for every job"


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path):
    (tmp_path / f"upfield-{os.getuid()}").symlink_to(tmp_path)
    found, _ = settled(SETTLED, HOME="/dev/null", TMPDIR=str(tmp_path))
    assert Path(found).parent == tmp_path and not Path(found).is_symlink()


@pytest.mark.parametrize(("cache", "kept"), [("/dev/null/x", False), ("{}/made", True), ("", True)])
def test_what_can_be_written_stays(tmp_path, cache, kept):
    cache = cache.format(tmp_path)
    found, left = settled(SETTLED, HOME=str(tmp_path), XDG_CACHE_HOME=cache)
    assert found == str(tmp_path) and left == (cache if kept else "")


def test_snakemake_starts_where_set_up_has_been_run(tmp_path):
    """Set-up makes it a part of every start of Python: Snakemake wants a home before it reads any workflow."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (packages / "x.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    assert subprocess.run([python, home.__file__], timeout=240).returncode == 0
    start = "import os; from snakemake.common import get_appdirs; os.makedirs(get_appdirs().user_cache_dir)"
    environment = {"HOME": "/dev/null", "TMPDIR": str(tmp_path), "PYTHONPATH": ""}
    settled([python, "-c", start], **environment)
    assert (tmp_path / f"upfield-{os.getuid()}/.cache/snakemake").is_dir()
    (packages / "upfield-home.pth").unlink()
    with pytest.raises(AssertionError, match="/dev/null"):
        settled([python, "-c", start], **environment)
