"""Packages: what is imported is declared, what is declared is used, and the locks hold that and nothing else."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What is declared and not imported, and the file that names it by some words.
NAMED = {
    "bids-validator-deno": ("workflow/scripts/upfield/bids/validate.py", '"bids-validator-deno"'),
    "einops": ("workflow/scripts/upfield/methods/monai_network.py", "einops"),
    "nilearn": ("workflow/scripts/upfield/phantom/anatomy.py", 'files("nilearn")'),
    "snakemake-executor-plugin-cluster-generic": ("profiles/generic/config.yaml", "executor: cluster-generic"),
}
DEV_PROGRAMS = {"mypy", "ruff", "snakefmt", "pytest-xdist"}
OURS = {"benchmarks", "upfield", "tests", "test_report", "conftest", "gpubench", "mutate", "small"}


def normalized(name):
    """Names of packages as pip compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements):
    return {normalized(Requirement(entry).name) for entry in requirements}


def locked(name):
    lines = (ROOT / name).read_text().splitlines()
    return names(line for line in lines if line and not line.startswith("#"))


RUNTIME = names(PROJECT["project"]["dependencies"])
DEV = names(PROJECT["dependency-groups"]["dev"])


def imports(source):
    """Top-level packages that a Python source imports, wherever in it, or skips its tests without."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
            yield node.args[0].value.split(".")[0]


def third_party(paths):
    """Package to the files that import it; of Snakefiles, which are not Python, the lines that say import."""
    found = {}
    for path in paths:
        text = path.read_text()
        if path.suffix != ".py":
            text = "\n".join(re.findall(r"^ *(import [\w., ]+|from [\w.]+ import [^(\n]+)$", text, re.MULTILINE))
        for name in imports(text):
            if name not in sys.stdlib_module_names and name not in OURS:
                found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


def workflow_files():
    return [*(ROOT / "workflow").rglob("*.py"), ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]


# Reading what is installed takes a second or more.
installed = cache(packages_distributions)


def distributions(package):
    return {normalized(name) for name in installed().get(package, [package])}


def undeclared(paths, declared):
    return {name: files for name, files in third_party(paths).items() if not distributions(name) & declared}


def test_everything_imported_is_declared():
    assert undeclared(workflow_files(), RUNTIME) == {}


def test_everything_the_tests_import_is_declared():
    paths = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    # These come with pytest and Snakemake, whose versions are pinned.
    assert undeclared(paths, RUNTIME | DEV | {"packaging", "snakemake-interface-executor-plugins"}) == {}


def test_a_lazy_import_is_seen():
    path = ROOT / "workflow" / "scripts" / "upfield" / "bids" / "dicom.py"
    assert "dcm2niix" in third_party([path])
    assert undeclared([path], RUNTIME - {"dcm2niix"}) == {"dcm2niix": [str(path.relative_to(ROOT))]}


def test_everything_declared_is_used():
    used = {name for package in third_party(workflow_files()) for name in distributions(package)}
    assert RUNTIME - used == set(NAMED)
    assert [name for name, (path, words) in NAMED.items() if words not in (ROOT / path).read_text()] == []


def test_every_development_tool_is_used():
    paths = (ROOT / "tests").rglob("*.py")
    used = {name for package in third_party(paths) for name in distributions(package)}
    assert DEV - used == DEV_PROGRAMS
    recipe = (ROOT / "Makefile").read_text()
    options = {"pytest-xdist": "--numprocesses"}
    assert [name for name in DEV_PROGRAMS if options.get(name, f"/{name}") not in recipe] == []


def needed(start):
    """Packages with all that they need on Linux with Python 3.11, as far as it is installed."""
    seen, todo = set(), [(name, "") for name in start]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            entries = [Requirement(entry) for entry in requires(name) or []]
        except PackageNotFoundError:
            continue
        python = {"python_version": "3.11", "python_full_version": "3.11.9", "extra": extra}
        for entry in entries:
            if entry.marker is None or entry.marker.evaluate(python):
                todo += [(normalized(entry.name), each) for each in ("", *entry.extras)]
    return {name for name, _ in seen}


@pytest.mark.parametrize(
    ("lock", "declared"), [("requirements.lock", RUNTIME), ("requirements-dev.lock", DEV)], ids=["runtime", "dev"]
)
def test_lock_holds_what_is_declared_and_nothing_that_nobody_needs(lock, declared):
    # What runs needs anyway, such as psutil, is locked once.
    assert declared - locked(lock) - locked("requirements.lock") == set()
    assert locked(lock) - needed(declared) == set()


def test_development_tools_are_not_in_the_runtime_lock():
    assert locked("requirements.lock") & locked("requirements-dev.lock") == set()
