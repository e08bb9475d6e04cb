"""Tables of the documentation that are made from the code: `python -m upfield.study.docs` writes, `--check` compares.

A page holds each table between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.catalogue import methods, settings
from upfield.catalogue.methods import Facts
from upfield.catalogue.metrics import LEARNED, OTHERS
from upfield.evaluate.metrics import registry
from upfield.files import write_text
from upfield.place import ROOT
from upfield.preprocess.brain.tool import tools

PLACE = re.compile(r"(<!-- table: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(name: str) -> str:
    """A table by the name that a page has for it. Raises KeyError for one that there is not."""
    kind, _, what = name.partition(" ")
    makers = {"settings": lambda: _settings(methods.built_in(what)), "metrics": _metrics, "others": _others,
              "brain": _brain_tools, "schedules": _schedules,
              "augmentation": lambda: _named("name", settings.AUGMENTATIONS),
              "content": lambda: _named("term", settings.TERMS)}  # fmt: skip
    return makers[kind]()


def written(page: str) -> str:
    """The text of a page with its tables as they should be."""
    return PLACE.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[4]}", page)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "".join(f"| {cell} " if cell else "| " for cell in (text.replace("|", "\\|") for text in cells)) + "|"

    return "\n".join([line(head), "|---" * len(head) + "|", *map(line, rows)])


def _settings(known: Facts) -> str:
    """Every setting of a method: its default, what the preset `faithful` has instead, values and meaning.

    Of what is planned, the default of the preset without a plan stands in brackets.
    """
    presets = known.document["presets"]
    changed = presets.get("faithful") or {}
    faithful = known.resolved("faithful", {}) if "faithful" in presets else {}
    rows = []
    for name, setting in known.settings.items():
        other = [_shown(faithful[name]) if name in changed else ""] if faithful else []
        default = _shown(setting.default)
        if name in known.planned:
            default = "planned" if setting.default is None else f"planned ({default})"
        rows.append([f"`{name}`", default, *other, _values(setting.rule or {}), setting.description])
    head = ["setting", "default", *(["`faithful`"] if faithful else []), "values", "meaning"]
    return _rows(head, rows)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items() if part) or "none"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _values(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    kind = rule.get("type")
    if kind == "array" and rule.get("minItems") == rule.get("maxItems"):
        return f"{rule['minItems']} × ({_values(rule['items'])})"
    if kind == "array":
        return f"list of ({_values(rule['items'])})"
    if kind in ("number", "integer"):
        low = f"≥ {rule['minimum']:g}" if "minimum" in rule else ""
        low = f"> {rule['exclusiveMinimum']:g}" if "exclusiveMinimum" in rule else low
        high = f"≤ {rule['maximum']:g}" if "maximum" in rule else ""
        high = f"< {rule['exclusiveMaximum']:g}" if "exclusiveMaximum" in rule else high
        return ", ".join(part for part in ("whole" if kind == "integer" else "", low, high) if part) or "number"
    return {"boolean": "true, false", "object": "mapping"}.get(str(kind), "path")


def _named(head: str, entries: Mapping[str, str]) -> str:
    return _rows([head, "what"], [[f"`{name}`", what] for name, what in entries.items()])


def _schedules() -> str:
    factor = {
        "constant": "1",
        "exponential": "rate^e",
        "inverse_time": "1 / (1 + rate · e)",
        "linear_to_zero": "1 until `decay_epoch`, then a straight line to 0 at E; 1 throughout if E ≤ `decay_epoch`",
        "cosine": "(1 + cos(π · e / E)) / 2",
        "polynomial": "(1 − e / E)^`power`",
    }
    rows = [
        [f"`{kind}`", f"`{key}`" if key is not None else "", factor[kind]] for kind, key in settings.SCHEDULES.items()
    ]
    return _rows(["kind", "parameter", "factor at epoch e"], rows)


def _metrics() -> str:
    return _defined(registry.definitions([*registry.METRICS, *(metric.name for metric in LEARNED)]))


def _others() -> str:
    return _defined(registry.defined(OTHERS))


def _defined(metrics: pd.DataFrame) -> str:
    rows = []
    for row in metrics.itertuples():
        values = row.values if row.unit == "none" else f"{row.values}, {row.unit}"
        source = re.sub(r"(https://\S+)", r"<\1>", row.source)
        rows.append([f"`{row.metric}`", row.better, row.ideal, values, row.definition, source])
    return _rows(["name", "better", "ideal", "values", "definition", "source"], rows)


def _brain_tools() -> str:
    rows = [[f"`{tool.name}`", tool.summary, tool.needs] for tool in tools().values()]
    return _rows(["`preprocess.brain.method`", "what it does", "needs"], rows)


def pages() -> list[Path]:
    """The pages that hold tables."""
    return [path for path in sorted((ROOT / "docs").glob("*.md")) if PLACE.search(path.read_text(encoding="utf-8"))]


def outdated() -> list[Path]:
    """Pages with a table that is not what the code says."""
    return [path for path in pages() if written(text := path.read_text(encoding="utf-8")) != text]


def main() -> int:
    """Write the pages; with `--check` say which are out of date, and fail if any is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    check = parser.parse_args().check
    found = outdated()
    for path in found:
        print(f"{path}: {'out of date' if check else 'written'}")
        if not check:
            write_text(path, written(path.read_text(encoding="utf-8")))
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
