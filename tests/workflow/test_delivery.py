"""What users get: a wheel with the whole workflow, sizes by name, and files for the services that show a repository."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import yaml
from upfield.catalogue.methods import built_in
from upfield.commands.main import upfield_command
from upfield.files import merged, read_yaml
from upfield.study import config as study_config

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LIBRARY = "workflow/scripts/upfield"


# -- wheel ---------------------------------------------------------------------------------------------------------


def in_git(*paths):
    """Files of the repository that are in git; skips the test where this is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", *paths], check=True, capture_output=True, text=True)
    return set(done.stdout.split("\n")[:-1])


def fits(path, pattern):
    """Whether a file is one of those that a pattern of setuptools takes; none reaches into folders."""
    path, pattern = PurePosixPath(path), PurePosixPath(pattern)
    return path.parent == pattern.parent and fnmatch(path.name, pattern.name)


def test_a_wheel_holds_the_workflow_as_the_repository_has_it():
    """Also what is added later: a rule file or schema in a new folder would be missing where pip has put Upfield."""
    wanted = in_git("Snakefile", "config", ":(glob)docs/*.md", "envs", "profiles", "rules", "workflow")
    wanted = {path for path in wanted if not path.startswith(LIBRARY)}
    assert {"Snakefile", "workflow/scripts/step.py", "config/models/restore/model.safetensors"} <= wanted
    for folder, patterns in PROJECT["tool"]["setuptools"]["data-files"].items():
        inside = PurePosixPath(folder).relative_to("share/upfield")
        for pattern in patterns:
            taken = {path for path in wanted if fits(path, pattern)}
            assert taken, f"{pattern}: no such file"
            assert {PurePosixPath(path).parent for path in taken} == {inside}, pattern
            wanted -= taken
    assert wanted == set()


def test_a_wheel_holds_what_is_beside_the_code_of_the_library():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    patterns = [
        f"workflow/scripts/{package.replace('.', '/')}/{name}" for package, names in data.items() for name in names
    ]
    files = {path for path in in_git(LIBRARY) if not path.endswith(".py")}
    assert {path for path in files if not any(fits(path, pattern) for pattern in patterns)} == set()


# -- presets -------------------------------------------------------------------------------------------------------

PRESETS = sorted(path.stem for path in study_config.PRESETS.iterdir())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_sizes_without_data_over_any_study(name):
    preset = read_yaml(study_config.preset(name))
    assert set(preset) <= {"patches", "train", "method_overrides"}, "nothing of a dataset, nothing of a question"
    whole = merged(study_config.defaults(), preset)
    study_config.check_schema(whole)
    for method in {"unet3d", *whole["methods"], *whole["method_overrides"]}:
        study_config.check_method(whole, method)
        # A network takes patches whose edge it can halve as often as it has levels.
        settings, facts = study_config.method_settings(whole, method), built_in(method)
        if facts.dims == 3 and settings.get("levels"):
            assert whole["patches"]["size"] % 2 ** settings["levels"] == 0
    assert f"\n| `{name}` |" in (ROOT / "docs" / "guide.md").read_text()
    for command in ("check", "run", "report"):
        (option,) = [option for option in upfield_command.commands[command].params if option.name == "preset"]
        assert name in option.help


# -- services that show a repository -------------------------------------------------------------------------------

SERVICES = [ROOT / ".snakemake-workflow-catalog.yml", *sorted((ROOT / ".github").rglob("*.yml"))]


def read(path):
    """A file of a service; `on` stays a word, which YAML 1.1 takes for a truth value."""
    return yaml.load(path.read_text(), yaml.BaseLoader)


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_files_of_services_are_yaml_without_tabs_and_key_said_twice(path):
    assert read(path) and "\t" not in path.read_text()
    read_yaml(path)


def test_checks_run_what_exists():
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    checks = read(ROOT / ".github" / "workflows" / "checks.yml")
    assert set(checks["on"]) == {"push", "pull_request"} and checks["permissions"] == {"contents": "read"}
    run = [step["run"] for job in checks["jobs"].values() for step in job["steps"] if "run" in step]
    assert set(re.findall(r"\bmake ([a-z-]+)", "\n".join(run))) - targets == set()
    assert {"make lint", "make test", "python -m build"} <= set(run)
    assert all(step.get("run") or "@v" in step["uses"] for job in checks["jobs"].values() for step in job["steps"])
    files = re.findall(r"--file ([\w/]+)", "\n".join(run))
    assert files and all((ROOT / name).is_file() for name in files)


FORMS = [path for path in SERVICES if path.parent.name == "ISSUE_TEMPLATE" and path.stem != "config"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_what_the_service_wants(path):
    form = read(path)
    assert set(form) <= {"name", "description", "title", "labels", "assignees", "body"} and form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(part["attributes"]["label"] for part in fields)
    names = [part["id"] for part in fields]
    assert len(set(names)) == len(names) > 1


def test_the_lock_is_what_the_wheel_is_installed_with():
    """The guide's constraints and those of the checks leave out one package, which the lock has."""
    command = "grep -v '^snakemake-executor-plugin-slurm==' requirements.lock"
    for name in ("docs/guide.md", ".github/workflows/checks.yml"):
        assert command in (ROOT / name).read_text()
    assert re.search(r"^snakemake-executor-plugin-slurm==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


# -- containers ----------------------------------------------------------------------------------------------------


def joined(text):
    """Lines of a shell script as commands: continued ones are one, `&&` and ends of lines are between them."""
    return [part.strip() for part in re.split(r"\n|&&|;", text.replace("\\\n", " ")) if part.strip()]


def docker():
    """What a recipe copies, where to, and the commands that it runs: those of the Dockerfile."""
    text = (ROOT / "containers" / "Dockerfile").read_text().replace("\\\n", " ")
    copies = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
    copied = {source: str(PurePosixPath(target, source if len(sources) > 1 else "")) for *sources, target in copies
              for source in sources}  # fmt: skip
    runs = "\n".join(line.removeprefix("RUN ") for line in text.splitlines() if line.startswith("RUN "))
    return copied, joined(runs)


def apptainer():
    """The same of the recipe for Apptainer."""
    text = (ROOT / "containers" / "upfield.def").read_text()
    parts = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, re.MULTILINE | re.DOTALL))
    copies = (line.split() for line in parts["files"].splitlines() if line.strip())
    copied = {source: target.removeprefix("/opt/upfield/") for source, target in copies}
    subprocess.run(["sh", "-n"], input=parts["post"], text=True, check=True)
    return copied, joined(re.sub(r"^ *#.*$", "", parts["post"], flags=re.MULTILINE))


@pytest.mark.parametrize("recipe", [docker, apptainer])
def test_a_recipe_copies_what_its_steps_and_the_workflow_need(recipe):
    copied, steps = recipe()
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {name: target for name, target in copied.items() if name != target} == {}, "as in the repository"
    # What a wheel has of the workflow, and what pip reads of a project.
    folders = PROJECT["tool"]["setuptools"]["data-files"]
    needed = {PurePosixPath(folder).relative_to("share/upfield").parts[:1] for folder in folders} - {(), ("docs",)}
    needed = {"Snakefile", "pyproject.toml", PROJECT["project"]["readme"], *(name for (name,) in needed)}
    assert needed - set(copied) == set()
    for name in re.findall(r"(?<=\s)[\w/.-]+\.(?:lock|py)\b", " ".join(steps)):
        assert any(name == source or name.startswith(f"{source}/") for source in copied) and (ROOT / name).is_file()


def test_both_recipes_install_as_the_makefile_does():
    def installs(steps):
        found = [re.sub(r"--no-cache-dir |--disable-pip-version-check |--quiet ", "", step) for step in steps]
        return sorted(step for step in found if step.startswith("pip install"))

    of_docker, of_apptainer = (installs(recipe()[1]) for recipe in (docker, apptainer))
    assert of_docker == of_apptainer and len(of_docker) == 3
    makefile = (ROOT / "Makefile").read_text()
    (alone,) = re.findall(r"^ALONE := (.*)$", makefile, re.MULTILINE)
    for name in ("Dockerfile", "upfield.def"):
        assert f"ALONE='{alone}'" in (ROOT / "containers" / name).read_text()
