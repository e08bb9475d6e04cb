"""Running the workflow as a user would, from the repository's root."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def run_snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake with two cores; output and errors come back together."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500)


class Study:
    """A configuration in a file and the ways to run it."""

    def __init__(self, folder: Path, config: dict) -> None:
        self.config = config | {"output_dir": str(folder / "results")}
        self.file = folder / "study.yaml"
        self.root = folder / "results" / config["study"]
        self.write()

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config))

    def run(self, *arguments: str) -> str:
        done = run_snakemake("--configfile", str(self.file), *arguments)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> Counter[str]:
        """Jobs by rule that a dry run would start; empty if there is nothing to do."""
        output = self.run("--dry-run", *arguments)
        counts = re.search(r"Job stats:\n.*?\n-+.*?\n(.*?)\ntotal", output, re.S)
        if counts is None:
            assert "Nothing to be done" in output, output[-3000:]
            return Counter()
        return Counter({line.split()[0]: int(line.split()[1]) for line in counts.group(1).splitlines()})


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Callable[[dict], Study]:
    """Make a study with its own output folder."""
    return lambda config: Study(tmp_path_factory.mktemp(config["study"]), config)
