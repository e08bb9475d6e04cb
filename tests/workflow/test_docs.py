"""The documentation: its links lead somewhere, its examples are valid and work, it mentions every key and file."""

import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
import yaml
from upfield import methods
from upfield.bids import ENTITY_KEYS, layout
from upfield.catalogue import methods as catalogue
from upfield.commands.main import upfield_command
from upfield.files import merged
from upfield.study import config as study_config
from upfield.study import docs

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
OTHER = ("CONTRIBUTING.md", "CHANGELOG.md")
GUIDES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES if name not in OTHER}
# An optional comment that says what the block is, then the block; those in lists are indented.
BLOCK = re.compile(r"(?:^ *<!-- ([^>]*) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    """(page, comment, text) of every fenced block in a language."""
    for name, text in GUIDES.items():
        for comment, indent, kind, body in BLOCK.findall(text):
            if kind == language:
                yield name, comment, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))


def examples(language, *, complete):
    found = [(name, body) for name, note, body in blocks(language) if not note.startswith("file:")
             and (note == "complete") == complete]  # fmt: skip
    return [pytest.param(body, id=f"{name}-{number}") for number, (name, body) in enumerate(found)]


def prose(path):
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL))


def anchors(path):
    """What a link can point at: headings as GitHub names them, repeated ones numbered."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return found


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the pages say to write, in the folder in which the test then runs."""
    for _, note, body in (block for language in ("python", "yaml") for block in blocks(language)):
        if note.startswith("file:"):
            path = tmp_path / note.removeprefix("file:").strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checked(files, bids_tree):
    """Check a study laid over the defaults; the datasets it names exist as far as the check looks."""
    root = bids_tree({})

    def check(*layers):
        study = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        for layer in layers:
            study = merged(study, layer)
        for side in ("source", "target"):
            if study[side]["bids_dir"] is not None:
                study[side]["bids_dir"] = str(root)
            assert set(study[side]["entities"]) <= set(ENTITY_KEYS)
        study_config.check(study)

    return check


# -- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_lines_are_short_enough_to_review(path):
    # What a program printed is shown as it was.
    text = re.sub(r"^```text$.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    prose_lines = [line for line in text.splitlines() if not line.startswith(("|", " ", "snakemake"))]
    assert [line for line in prose_lines if len(line) > 120] == []


# -- examples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", examples("yaml", complete=True))
def test_complete_examples_are_valid_studies(checked, text):
    example = yaml.safe_load(text)
    assert example["study"] and example["target"]["bids_dir"], "a study of its own, nothing left to fill in"
    checked(example)


@pytest.mark.parametrize("text", examples("yaml", complete=False))
def test_partial_examples_fit_into_a_study(checked, text):
    dataset = {side: {"bids_dir": "somewhere"} for side in ("source", "target")}
    checked(dataset, yaml.safe_load(text))


def test_there_are_examples_of_each_kind():
    assert len(examples("yaml", complete=True)) >= 3 and len(examples("yaml", complete=False)) >= 3


def test_example_method_learns_as_the_page_says(files, checked):
    names = sorted(path.stem for path in (files / "config" / "methods").glob("*.yaml"))
    assert names == ["attention_unet", "residual_cnn"]
    checked({side: {"bids_dir": "somewhere"} for side in ("source", "target")}, {"methods": names})
    of_monai, settings = (study_config.method_settings({"method_overrides": {}}, name) for name in names)
    assert methods.build(of_monai, 2)(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 1, 8, 8, 8)
    # The page's own check builds the method from the same file and trains it.
    after = runpy.run_path(str(files / "check.py"))
    assert set(settings) - {"preset"} == set(after["settings"])


# -- commands ------------------------------------------------------------------------------------------------------


def commands():
    """Every snakemake command line of a shell block, comments removed, as words."""
    for _, _, body in blocks("bash"):
        for line in body.splitlines():
            if line.startswith("snakemake "):
                yield re.sub(r"\s#.*", "", line).split()


def test_commands_name_rules_and_targets_that_exist():
    rules = set()
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        rules |= set(re.findall(r"^ *rule (\w+):", path.read_text(), re.MULTILINE))
    seen = list(commands())
    assert len(seen) > 10
    for words in seen:
        assert {"--cores", "--executor", "--report", "--profile"} & set(words), words
        options = [number for number, word in enumerate(words) if word.startswith("-")]
        # Options that take several values swallow what follows, so targets come first.
        targets = words[1 : options[0]]
        forced = [words[number + 1] for number in options if words[number] == "-R"]
        assert set(forced + targets) - rules == set(), words
        if "apply" in targets:
            assert any(word.startswith("model=") for word in words), words
            continue
        start = words.index("--configfile") + 1
        values = words[start : next((number for number in options if number > start), len(words))]
        assert values and all(word.endswith(".yaml") for word in values), words


def test_commands_of_upfield_name_subcommands_and_options_that_exist():
    seen = [re.sub(r"\s#.*", "", line).split(" -- ")[0].split()
            for _, _, body in blocks("bash") for line in body.splitlines() if line.startswith("upfield ")]  # fmt: skip
    assert len(seen) > 8
    for _, first, *rest in seen:
        command = upfield_command.commands["bids-app" if first.startswith("/") else first]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known, first


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))
    for path in PAGES:
        code = "\n".join(re.findall(r"^ *```bash.*?^ *```$|`[^`\n]+`", path.read_text(), re.MULTILINE | re.DOTALL))
        assert set(re.findall(r"\bmake ([a-z][\w-]*)", code)) - targets == set(), path.name


def test_readme_lists_every_target():
    snakefile = (ROOT / "Snakefile").read_text()
    targets = set(re.findall(r"^ *rule (\w+):", snakefile, re.MULTILINE))
    table = set(re.findall(r"^\| `(\w+)` \|", GUIDES["README.md"], re.MULTILINE))
    assert targets and targets - table == set()


# -- nothing is left out -------------------------------------------------------------------------------------------


def leaves(values, free=("entities", "metadata", "method_overrides"), prefix=""):
    """Dotted names of the keys of a config; what users fill in freely counts as one key."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in free:
            yield from leaves(value, free, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def code_words(*names):
    """Every inline code word of some pages."""
    return {word for name in names for word in re.findall(r"`([^`\n]+)`", GUIDES[name])}


def test_every_config_key_is_explained():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["phantom"] = {"subjects": 10, "seed": 42, "spacing": 2.0}
    assert set(leaves(config)) - code_words("docs/guide.md") == set()


def test_defaults_in_the_guide_are_those_of_the_config():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    wrong = []
    for keys, shown in re.findall(r"^\| (`[^|]*`) \| ([^|]+) \|", GUIDES["docs/guide.md"], re.MULTILINE):
        value = config
        for part in re.findall(r"`([^`]+)`", keys)[0].split("."):
            value = value.get(part, {}) if isinstance(value, dict) else {}
        try:
            default = yaml.safe_load(shown.strip().strip("`"))
        except yaml.YAMLError:
            continue
        # Cells such as "all eight" and several keys in one row are for people.
        if isinstance(value, int | float | bool) and "," not in keys and default != value:
            wrong.append((keys, shown, value))
    assert wrong == []


def test_tables_that_are_made_from_the_code_are_up_to_date():
    assert [path.name for path in docs.outdated()] == [], "python -m upfield.study.docs"
    made = [name for text in GUIDES.values() for _, name, *_ in docs.PLACE.findall(text)]
    methods = [path.stem for path in (ROOT / "config" / "methods").glob("*.yaml")]
    assert sorted(made) == sorted([*(f"settings {name}" for name in methods), "schedules", "augmentation",
                                   "content terms", "metrics", "others", "brain tools"])  # fmt: skip


def test_a_table_that_is_out_of_date_is_noticed():
    text = GUIDES["docs/methods.md"]
    wrong = text.replace("| `base` | 32 |", "| `base` | 33 |")
    assert wrong != text and docs.written(wrong) == text == docs.written(text)


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "methods").glob("*.yaml")), ids=lambda path: path.stem)
def test_overview_says_what_a_method_learns_from(path):
    known = catalogue.built_in(path.stem)
    row = re.findall(rf"^\| `{path.stem}` \|(.*)\|$", GUIDES["docs/methods.md"], re.MULTILINE)[0]
    _, images, _, pairs, _ = (cell.strip() for cell in row.split("|"))
    assert images.startswith(f"{known.dims}-D") and pairs.split(", ") == list(known.pairings)


def enumerations(node, key=""):
    """Every key of the config with the values that the schema allows."""
    if isinstance(node, dict):
        if "enum" in node:
            yield key, node["enum"]
        for name, part in node.items():
            yield from enumerations(part, name if name not in ("items", "anyOf", "properties") else key)
    elif isinstance(node, list):
        for part in node:
            yield from enumerations(part, key)


def test_every_choice_is_named_in_the_guide():
    schema = study_config.schema()
    found = list(enumerations(schema))
    assert len(found) > 10
    pages = " ".join(GUIDES[name] for name in ("docs/guide.md", "docs/metrics.md"))
    missing = [(key, value) for key, values in found for value in values
               if f"`{value}`" not in pages and f"`{value}:" not in pages and f": {value}" not in pages]  # fmt: skip
    assert missing == []


def test_outputs_page_lists_every_table_column():
    from upfield import bids
    from upfield.evaluate import audit, lesions, metrics, statistics, subject, tissues
    from upfield.study import splits

    page = code_words("docs/outputs.md")
    columns = [
        *bids.inventory_table(bids.Index([bids.Scan("sub-1", "source", "p", "f", "n", "T1w")], [], [], [])).columns,
        *bids.pairs_table([]).columns,
        *bids.excluded_table([]).columns,
        *splits.COLUMNS,
        *subject.COLUMNS,
        *tissues.SEGMENTATION,
        *audit.AUDIT,
        *audit.STRUCTURES,
        *lesions.LESIONS,
        *statistics.LEADERBOARD,
        *statistics.COMPARISONS,
        *statistics.RANKS,
        *statistics.OUTLIERS,
        *statistics.QUANTITIES,
        *statistics.AGREEMENT,
        *metrics.registry.DEFINITIONS,
    ]
    assert set(columns) - page == set()


def test_outputs_page_lists_every_kind_of_file():
    page = (ROOT / "docs" / "outputs.md").read_text()
    shown = page.split("<!-- layout: begin -->\n")[1].split("<!-- layout: end -->")[0]
    assert shown == layout.table(), "python -m upfield.bids.layout prints it"


def numbers():
    """(page, words that stand in it) with the numbers that the code works with."""
    from upfield.evaluate import audit, lesions
    from upfield.image import nifti
    from upfield.preprocess import bias, grid, registration
    from upfield.preprocess.brain import plausibility, template
    from upfield.quality import pair

    radii = [f"{radius:g}" for radius in lesions.RADII]
    low, high = plausibility.PLAUSIBLE_CM3
    in_guide = [
        f"N4 in the mask, fitted at {bias.N4_SPACING:g} mm",
        f"mutual information of the brains at {registration.REGISTRATION_SPACING:g} mm",
        f"its brain and {grid.MARGIN:g} mm around it",
        f"its brain and {grid.MARGIN:g} mm around. Both directions",
        f"of the source, {grid.SOURCE_MARGIN:g} mm around its mask are kept",
        f"Farther than {grid.SOURCE_MARGIN:g} mm from the brain an output is 0",
        f"field of view thinner than {nifti.SLAB:g} mm",
        f"then of the brains and {template.NEAR:g} mm around",
        f"expected {low:g} to {high:g}",
        f"Pairs are compared at {pair.SPACING:g} mm",
        f"differs from its surroundings ({audit.SHELL:g} mm)",
        f"radius {', '.join(radii[:-1])} and {radii[-1]} mm, {lesions.CONTRASTS[1]:.0%} darker".replace("%", " %"),
    ]
    yield from (("docs/guide.md", words) for words in in_guide)
    yield "docs/outputs.md", f"ends {grid.MARGIN:g} mm around the target's brain"


def test_numbers_in_the_prose_are_those_of_the_code():
    missing = [(page, words) for page, words in numbers() if words not in " ".join(GUIDES[page].split())]
    assert missing == []


def schema_enum(*path):
    """The values that the schema of the config allows for a key."""
    schema = study_config.schema()
    node = schema
    for part in path:
        node = node["properties"][part]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].split("/")[-1]] | node
    return node["enum"]


@pytest.mark.parametrize("key", ["preprocess.brain.method", "preprocess.normalize.method"])
def test_tables_of_the_guide_list_every_choice(key):
    (table,) = re.findall(rf"^\| `{re.escape(key)}` \| what it does.*\n\|[-|]+\n((?:\|.*\n)+)", GUIDES["docs/guide.md"],
                          re.MULTILINE)  # fmt: skip
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == schema_enum(*key.split("."))


def test_no_other_page_lists_some_of_the_choices():
    """Sidecar keys name the config's key; a list there once stopped at two of seven."""
    rows = re.findall(r"^\| `(?:Type`, `BrainExtraction|Normalization)` .*$", GUIDES["docs/outputs.md"], re.MULTILINE)
    assert len(rows) == 2
    choices = {*schema_enum("preprocess", "brain", "method"), *schema_enum("preprocess", "normalize", "method")}
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} & choices == set()


def test_names_that_a_method_may_not_have_are_those_of_the_code():
    from upfield.study.methods import RESERVED

    page = " ".join(GUIDES["docs/adding-a-method.md"].split())
    (listed,) = re.findall(r"names of Upfield's own files: ([^.]+)\.", page)
    assert tuple(re.findall(r"`(\w+)`", listed)) == RESERVED


def test_order_of_imports_is_that_of_the_test():
    from tests.workflow.test_repository import ORDER

    page = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    (listed,) = re.findall(r"a module imports only from earlier ones: ([^.]+)\.", page)
    assert re.findall(r"`(\w+)`", listed) == ORDER


def test_what_was_measured_of_a_thousand_participants_stands_once():
    text = "\n\n".join(GUIDES.values())
    said = [part for part in text.split("\n\n") if "1,000 participants" in " ".join(part.split())]
    assert len(said) == 1


def test_licence_and_citation_agree_with_the_package():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    assert f"## [{project['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
