"""Rules that the repository keeps: pins, rule files, descriptions, imports, and that documented commands exist."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from upfield import step
from upfield.bids import layout
from upfield.study import designs

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "workflow" / "scripts" / "upfield"
RULE_FILES = sorted((ROOT / "rules").glob("*.smk"))
# In the order data flows; a module imports only from those before it.
ORDER = [
    "home",
    "place",
    "errors",
    "files",
    "attempts",
    "foreign",
    "job",
    "step",
    "program",
    "image",
    "simulation",
    "catalogue",
    "cluster",
    "bids",
    "preprocess",
    "quality",
    "patches",
    "methods",
    "training",
    "plan",
    "predict",
    "evaluate",
    "phantom",
    "study",
    "report",
    "commands",
]


# -- pins ----------------------------------------------------------------------------------------------------------


def normalized(name):
    """Names of packages as pip compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    pins = dict(line.split("==", 1) for line in lines if line)
    return {normalized(name): version for name, version in pins.items()}


def environment_pins(path):
    """`name==version` of an environment file, or of the pip commands in a post-deploy script."""
    if path.suffix == ".sh":
        found = re.findall(r"\b([A-Za-z][\w.-]*)==([\w.+]+)", path.read_text())
        return {normalized(name): version for name, version in found}
    parts = yaml.safe_load(path.read_text())["dependencies"]
    (listed,) = [part["pip"] for part in parts if isinstance(part, dict)]
    assert [entry for entry in listed if entry.count("==") != 1] == []
    return {normalized(name): version for name, version in (entry.split("==") for entry in listed)}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").iterdir()), ids=lambda path: path.name)
def test_environments_pin_what_the_lock_pins(path):
    pins, locked = environment_pins(path), lock()
    assert pins
    assert {name: (version, locked.get(name)) for name, version in pins.items() if locked.get(name) != version} == {}


# -- rules ---------------------------------------------------------------------------------------------------------


def rules_of(path):
    """Name and text of each rule of a .smk file."""
    blocks = re.split(r"^( *)(?:rule|checkpoint) (\w+):\n", path.read_text(), flags=re.MULTILINE)
    for indent, name, rest in zip(blocks[1::3], blocks[2::3], blocks[3::3], strict=True):
        inside = re.compile(rf"{indent}    |\s*$")
        lines = rest.splitlines()
        end = next((number for number, line in enumerate(lines) if not inside.match(line)), len(lines))
        yield name, [line.removeprefix(f"{indent}    ") for line in lines[:end]]


ALL_RULES = [(path, name, body) for path in RULE_FILES for name, body in rules_of(path)]


@pytest.mark.parametrize(("path", "name", "body"), ALL_RULES, ids=[f"{p.stem}-{n}" for p, n, _ in ALL_RULES])
def test_rule_says_what_it_needs(path, name, body):
    assert body[0].startswith('"""') and len(body[0]) > 15, "a docstring first"
    sections = {match[1] for line in body if (match := re.match(r"(\w+):", line))}
    if "output" not in sections:
        assert "script" not in sections, "a target only"
        return
    assert {"output", "log", "benchmark", "conda", "resources", "script"} - sections == set()
    text = "\n".join(body)
    assert "**STEP.resources" in text
    assert "**STEP.params" in text and "STEP.log" in text and "STEP.benchmark" in text
    (environment,) = re.findall(r'conda:\n    "(.*)"', text)
    (script,) = re.findall(r'script:\n    "(.*)"', text)
    assert (path.parent / environment).is_file()
    assert (path.parent / script).is_file()


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_rule_file_opens_with_its_numbered_stages(path):
    docstring = re.match(r'"""(.+?)"""\n', path.read_text(), re.DOTALL)[1]
    title, *stages = docstring.rstrip().split("\n")
    assert title.endswith(".")
    assert not stages or stages.pop(0) == ""
    if not list(rules_of(path)):
        return  # Functions that others share, and what keeps the plan quick.
    numbered = [re.match(r"(\d+)\. ([\w, ]+?)  +\S", stage) for stage in stages]
    assert [int(match[1]) for match in numbered] == list(range(1, len(stages) + 1))
    named = [name for match in numbered for name in match[2].split(", ")]
    assert named == [name for name, _ in rules_of(path)], "in the order of the file"


def test_rule_files_are_those_the_snakefile_includes():
    included = re.findall(r'include: "(rules/\w+\.smk)"', (ROOT / "Snakefile").read_text())
    assert sorted(included) == [str(path.relative_to(ROOT)) for path in RULE_FILES]


def test_one_adapter_runs_every_step():
    assert [path.name for path in LIBRARY.parent.glob("*.py")] == ["step.py"]
    scripts = {line for path in RULE_FILES for line in re.findall(r'"(.*\.py)"', path.read_text())}
    assert scripts == {"../workflow/scripts/step.py"}


def test_every_step_is_declared_and_run_by_a_rule():
    named = {name for path in RULE_FILES for name in re.findall(r'step\(\s*"([\w.]+)"', path.read_text())}
    for name in named:
        assert step.declared(name).version >= 0
    marked = {
        f"{module}.{node.name}"
        for module, tree in parsed().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "step"
    }
    assert marked == named


def test_no_path_pattern_stands_in_a_rule():
    """Where files are is said once, in bids/layout.py; a phantom is written into a dataset that is not the study's."""
    pattern = re.compile(r'f"[^"]*\{(ROOT|STUDY\.root|PHANTOM_DIR)\}[^"]*"')
    found = [line.strip() for path in RULE_FILES for line in path.read_text().splitlines() if pattern.search(line)]
    assert [line for line in found if "PHANTOM_DIR" not in line and "{path}" not in line] == []
    templates = [kind.template for kind in layout.KINDS.values()]
    assert len(set(templates)) == len(templates)


def test_nothing_but_the_designs_asks_for_the_kind_of_pairing():
    """A branch on it anywhere else would be a second place that says what a kind of pairing is."""
    kinds = "|".join(designs.known())
    said = r"""pairing["']\]? *(?:==|!=|in\b)"""
    compared = rf"""[=!]= *["'](?:{kinds})["']"""
    asked = re.compile(rf"{said}|{compared}|(?:STUDY|study|self)\.unpaired\b|\.simulated and\b")
    files = [*modules().values(), *RULE_FILES, ROOT / "Snakefile"]
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.parent.name != "designs"
        for line in path.read_text().splitlines()
        if asked.search(line)
    ]
    assert wrong == []


# -- configuration -------------------------------------------------------------------------------------------------


def resolved(node, schema):
    """A schema node with its $ref laid under it."""
    reference = node.get("$ref")
    return {**schema["$defs"][reference.split("/")[-1]], **node} if reference else node


def undescribed(values, node, schema, prefix=""):
    """Keys of a config that the schema does not know or does not describe."""
    properties = resolved(node, schema).get("properties", {})
    # What a user fills in freely, such as the names of BIDS entities, is described as a whole.
    for key, value in values.items() if properties else ():
        found = resolved(properties.get(key, {}), schema)
        if len(found.get("description", "")) < 8:
            yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from undescribed(value, found, schema, f"{prefix}{key}.")


def test_every_key_of_the_config_is_described():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    config["phantom"] = {"subjects": 10, "seed": 42, "spacing": 2.0}
    missing = list(undescribed(config, schema, schema))
    assert not missing, missing


def test_config_holds_every_key_of_the_schema():
    """The schema allows nothing that the commented file does not show."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())

    def missing(values, node, prefix=""):
        for key, child in resolved(node, schema).get("properties", {}).items():
            if key not in values:
                yield f"{prefix}{key}"
            elif isinstance(values[key], dict):
                yield from missing(values[key], child, f"{prefix}{key}.")

    assert list(missing(config, schema)) == []


# -- imports -------------------------------------------------------------------------------------------------------


def modules():
    return {
        ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in sorted(LIBRARY.rglob("*.py"))
    }


def imported(tree):
    """Every module that a file names in an import, lazy ones too, as dotted names with what is taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from ((node.module, alias.name) for alias in node.names)


def parsed():
    return {name: ast.parse(path.read_text()) for name, path in modules().items()}


def graph():
    """Module to the modules of the library that it imports."""
    known = modules()
    edges = {}
    for name, tree in parsed().items():
        edges[name] = set()
        for module, taken in imported(tree):
            if module.split(".")[0] == "upfield":
                inner = module.removeprefix("upfield").lstrip(".")
                child = f"{inner}.{taken}".lstrip(".")
                edges[name].add(child if child in known else inner)
    return edges


def test_imports_have_no_circle():
    order = list(TopologicalSorter(graph()).static_order())
    assert set(order) == set(modules())


def test_modules_import_only_earlier_ones():
    top = {name.split(".")[0] for name in modules()} - {""}
    assert top == set(ORDER)
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name and other and ORDER.index(other.split(".")[0]) > ORDER.index(name.split(".")[0])
    ]
    assert wrong == []


def users(*packages):
    """Modules that import any of some packages."""
    return {name for name, tree in parsed().items() for module, _ in imported(tree) if module.split(".")[0] in packages}


def test_programs_are_run_in_one_place():
    """Through nipype. A training's processes, Snakemake, questions (of Upfield's commit, to a scheduler) are none."""
    assert users("nipype") == {"program"}
    assert users("subprocess") == {
        "training.processes",
        "study.provenance",
        "cluster.slurm",
        "cluster.generic.programs",
        "commands.launch",
    }
    others = [ast.unparse(node) for tree in parsed().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [call for call in others if re.match(r"os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*)\(", call)] == []


def test_only_one_module_touches_image_files():
    assert users("nibabel") == {"image.nifti"}


def test_library_knows_nothing_of_snakemake():
    assert users("snakemake") == set()
    wanted = "import upfield.study.study, upfield.training.run, upfield.report.page"
    check = f"import sys; sys.modules['snakemake'] = None; {wanted}"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)


def test_planning_a_study_does_not_load_the_heavy_libraries():
    """Every job reads the Snakefile, so what it imports is paid for once a job."""
    check = "import sys, upfield.study.study, upfield.job; print(sorted({'torch', 'ants', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_nothing_is_unpickled():
    assert users("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal") == set()
    loads = [
        (name, ast.unparse(node))
        for name, tree in parsed().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.jit.load", "pd.read_pickle")
    ]
    assert loads == []
    text = "\n".join(path.read_text() for path in modules().values())
    assert "allow_pickle=True" not in text and "from torch import load" not in text


# -- documentation -------------------------------------------------------------------------------------------------


def test_commands_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))
    wanted = set(re.findall(r"\bmake ([a-z][\w-]*)", code))
    assert {"setup", "demo", "test"} <= targets
    assert wanted and wanted - targets == set()
    profiles = set(re.findall(r"--profile ([\w/]+)", code))
    assert [
        name for name in profiles if not any((ROOT / p / "config.yaml").is_file() for p in (name, f"profiles/{name}"))
    ] == []
    files = set(re.findall(r"--configfile (config/[\w/.-]+)", code))
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_slurm_profile_names_rules_and_groups_that_exist():
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    text = "\n".join(path.read_text() for path in RULE_FILES)
    names = {name for _, name, _ in ALL_RULES}
    groups = set(re.findall(r'group:\n +"(.*)"', text))
    # It would be lost with the first override on the command line.
    assert "set-resources" not in profile
    assert {entry.rsplit("=", 1)[0] for entry in profile["group-components"]} == groups
    arrays = set(profile["slurm-array-jobs"].split(","))
    grouped = {name for _, name, body in ALL_RULES if "group:" in body}
    assert arrays <= names and not arrays & grouped
    # The signal before the time limit does not reach the tasks of an array.
    assert "train_model" not in arrays


@pytest.mark.parametrize("name", ["upfield.def", "Dockerfile"])
def test_container_recipes_install_the_lock_with_this_python(name):
    text = (ROOT / "containers" / name).read_text()
    assert "requirements.lock" in text and re.search(r"(?i)from:? python:3\.11\.\d+-", text)
    # Nothing else is installed by name.
    assert not re.findall(r"pip install.* [a-z][\w-]*==", text)


BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=[str(path.relative_to(ROOT / "benchmarks")) for path in BENCHMARKS])
def test_what_benchmarks_import_exists(path):
    """They run outside the tests; what has moved is noticed here. Programs in their strings count too."""
    found = re.findall(r"^ *from (upfield[\w.]*) import ([\w, ]+)$", path.read_text(), re.MULTILINE)
    missing = []
    for module, names in found:
        for name in (part.split(" as ")[0].strip() for part in names.split(",")):
            whole = LIBRARY.parent.joinpath(*module.split("."), name)
            if not (whole.is_dir() or whole.with_suffix(".py").is_file() or hasattr(import_module(module), name)):
                missing.append(f"{module}.{name}")
    assert missing == []
