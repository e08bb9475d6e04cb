"""Paths of a configuration: what a study reads must not be what it writes itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upfield.bids import label
from upfield.bids.layout import KINDS, holds, kind_of
from upfield.errors import UpfieldError
from upfield.evaluate.atlas import PLACE
from upfield.study import config as configuration
from upfield.study import external
from upfield.study.scans import root_of

# Folders that are one result.
FOLDERS = ("audit_maps", "reader_images")


def read_by(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every path that a configuration names to be read, with its key."""
    schema = configuration.schema()
    paths = [*_marked(config, schema, schema), *_weights(config["method_overrides"], "method_overrides")]
    return [(key, path) for key, path in paths if path]


def _marked(value: Any, node: Mapping[str, Any], root: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, str]]:
    """The values whose nodes in the schema say `reads`."""
    if "$ref" in node:
        node = {**root["$defs"][node["$ref"].rsplit("/", 1)[-1]], **node}
    if isinstance(value, Mapping):
        known, other = node.get("properties", {}), node.get("additionalProperties") or {}
        for name, item in value.items():
            yield from _marked(item, known.get(name, other), root, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _marked(item, node.get("items", {}), root, key)
    elif isinstance(value, str) and node.get("reads"):
        yield key, value


def _weights(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Settings of methods, whose names the schema does not know, that are files of weights."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _weights(item, f"{key}.{name}")
    elif isinstance(value, str) and value.endswith(".safetensors"):
        yield key, value


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, for a path inside what the study itself writes.

    The workflow would wait for itself, or delete what it is to read. Other files in the study's folder may be read.
    """
    root = Path(root_of(config)).resolve()
    for key, path in read_by(config):
        whole = Path(path.replace(PLACE, "sub-x")).resolve()
        if key == "model" and root in whole.parents:
            raise UpfieldError(
                f"config: model is {path[:100]}, in the folder of the study {config['study']}, whose report and tables"
                " would be replaced; give the results another name with study"
            )
        if whole == root or (root in whole.parents and _is_written(config, whole.relative_to(root).as_posix(), whole)):
            raise UpfieldError(
                f"config: {key} is {path[:100]}, which this study writes itself; expected something else: copy it to"
                " another place, or give this study another name"
            )


def _is_written(config: Mapping[str, Any], path: str, whole: Path) -> bool:
    """Whether a path below the study's folder is a file that the study writes, or a folder that such a file lies in."""
    applies = config["model"] is not None
    methods = [] if applies else configuration.methods(config)
    known = {
        "method": [] if applies else [*configuration.trained_methods(config), *external.of(config)],
        "seed": [str(seed) for seed in config["train"]["seeds"]],
        "label": [label(method) for method in methods],
    }
    if applies:
        # Whatever the models' method is called.
        del known["label"]
    kinds = [kind for kind in KINDS if kind != "converted" or config["samples"] is not None]
    if kind_of(path, known, kinds) is not None or (holds(path, known, kinds) and not whole.is_file()):
        return True
    parents = [parent.as_posix() for parent in Path(path).parents]
    return any(kind_of(parent, known, FOLDERS) is not None for parent in parents)
