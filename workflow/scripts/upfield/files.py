"""Small files: written to a temporary name and renamed, so that a half-written file never counts as done."""

import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from upfield.errors import TEMPORARY, UpfieldError

# The process's file mode mask, which can only be read by setting it.
UMASK = os.umask(0)
os.umask(UMASK)
# What spreadsheets take for a formula at the beginning of a cell, unless the cell is a number (OWASP, CSV injection).
ACTIVE = ("=", "+", "-", "@")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf")
# A home, and the folders of an absolute path; not the end of an HTML tag, not what follows the colon of a URL.
HOME = re.compile(r"(?:file://|(?<![\w.~/<-]))/(?:home|Users)/[^/\s\"'<>:;,]+")
FOLDERS = re.compile(r"(?:file://|(?<![\w.~/<-]))/(?:[^/\s\"'<>:;,|(){}\[\]]+/)+")

# Seconds after which nobody writes a half-written file any more, wherever its writer ran.
OLD = 24 * 3600


def _place() -> str:
    """Eight hexadecimal digits for where this process has its number: a running machine, and a container on it."""
    said = [socket.gethostname()]
    with suppress(OSError):
        said += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256(" ".join(said).encode()).hexdigest()[:8]


PLACE = _place()


@contextmanager
def atomic(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same extension); rename it to `path` if the block succeeds.

    Parent folders are made. On an error the temporary file is removed and `path` is left as it was. With `durable` the
    bytes are on the disk before the file has its name: what took hours must not be cut by a loss of power.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{PLACE}-{os.getpid()}-{path.name}")
    try:
        yield temporary
        # Some writers make files that only their owner can read; colleagues on a cluster share a study.
        temporary.chmod(0o666 & ~UMASK)
        if durable:
            sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(paths: Iterable[Path]) -> list[Path]:
    """Remove those of some half-written files whose writer cannot live any more, and return them.

    One that ran in this place, if there is no such process; any other after a day without a change, since it may run on
    another machine.
    """
    removed = []
    for path in paths:
        with suppress(OSError):
            if _is_abandoned(path):
                path.unlink()
                removed.append(path)
    return removed


def _is_abandoned(path: Path) -> bool:
    match = re.match(rf"{re.escape(TEMPORARY)}{PLACE}-(\d+)-", path.name)
    if match is not None and not _lives(int(match[1])):
        return True
    return time.time() - path.stat().st_mtime > OLD


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # Of somebody else.
    return True


def sync(path: str | Path) -> None:
    """Return once the bytes of a file are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given, ending with a newline.

    Raises UpfieldError for a number that is not finite, which JSON does not know and other readers stumble over.
    """
    try:
        text = json.dumps(value, indent=2, default=_plain, allow_nan=False)
    except ValueError as error:
        raise UpfieldError(f"{Path(path).name} would hold a number that is not finite ({error})") from None
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a UTF-8 JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_yaml(path: str | Path, labels: Sequence[str] = ()) -> Any:
    """Read a UTF-8 YAML file.

    Under keys that `labels` names stand texts, for which YAML may read something else: `no`, 010, 2019-03-12. Raises
    UpfieldError, with file and line, for that, for a key that is there twice, and for what is no YAML.
    """
    # Every job reads several; the parser in C is ten times as quick.
    loader = None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node, str(path), frozenset(labels), set())
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UpfieldError(f"{where}: this is no YAML ({str(reason)[:120]})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_node(
    node: yaml.Node, path: str, labels: frozenset[str], seen: set[tuple[int, str]], label: str = ""
) -> None:
    """Raise UpfieldError for a key that is twice in a mapping, and where a `label` is meant for what is no text."""
    # Aliases make a graph of the tree.
    if (id(node), label) in seen:
        return
    seen.add((id(node), label))
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            line = key.start_mark.line + 1
            if name and (key.tag, name) in lines:
                first = lines[key.tag, name]
                raise UpfieldError(f"{path}, line {line}: {name!r:.60} is there twice, first in line {first}")
            lines[key.tag, name] = line
            _check_node(value, path, labels, seen, label or (name if name in labels else ""))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_node(item, path, labels, seen, label)
    elif label and isinstance(node, yaml.ScalarNode) and _ambiguous(node):
        line = node.start_mark.line + 1
        raise UpfieldError(f"{path}, line {line}: YAML takes {node.value!r:.40} for no text; put it in quotes")


def _ambiguous(node: yaml.ScalarNode) -> bool:
    """Whether YAML reads a text without quotes as something that is written otherwise."""
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "int":
        # 01 to 07 are octal and the same; 010 is 8.
        return re.fullmatch(r"0|[1-9]\d*|0+[0-7]", node.value) is None
    return kind in ("bool", "float", "timestamp", "binary")


def write_tsv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a BIDS-style table: tab-separated, `n/a` for missing values, nine significant digits, see `inert`."""
    write_text(path, _inert(table).to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g"))


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table for other programs: commas, nothing for missing values, nine significant digits, see `inert`."""
    write_text(path, _inert(table).to_csv(index=False, float_format="%.9g"))


def inert(cell: Any) -> Any:
    """A cell of a table that no spreadsheet runs: text that begins like a formula gets an apostrophe before it.

    Numbers, also those written as text, stay as they are. Tabs and line ends, which would move the rest of the row or
    hide such a beginning, become spaces.
    """
    if isinstance(cell, str) and re.search(r"[\t\r\n]", cell):
        cell = re.sub(r"[\t\r\n]+", " ", cell).strip(" ")
    if isinstance(cell, str) and len(cell) > 1 and cell.startswith(ACTIVE) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _inert(table: pd.DataFrame) -> pd.DataFrame:
    result = table.copy(deep=False)
    result.columns = pd.Index([inert(name) for name in table.columns])
    for place in range(table.shape[1]):
        column = table.iloc[:, place]
        cells = [] if pd.api.types.is_numeric_dtype(column) else [inert(cell) for cell in column]
        # Another kind of column would be written otherwise.
        if any(new is not old for new, old in zip(cells, column, strict=False)):
            result.isetitem(place, pd.Series(cells, index=table.index, dtype=object))
    return result


def read_tsv(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_tsv`; every `*_id` and path-like column keeps its text."""
    text_columns = {"participant_id": str, "session": str, "fold": str, "seed": str, "reason": str}
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=text_columns)


def tail(path: str | Path, most: int = 20_000) -> str:
    """The last bytes of a text of which nobody knows the encoding; nothing if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that identify a JSON-like value (key order does not matter) or a file's bytes."""
    if isinstance(value, Path):
        return hashlib.sha256(value.read_bytes()).hexdigest()[:16]
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`, mappings merged key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        result[key] = merged(old, value) if both and isinstance(old, Mapping) else value
    return result


def places(config: Mapping[str, Any]) -> dict[str, str]:
    """Folders and files that a configuration names absolutely, and what each is called where its place is no matter.

    The folder of the run is one of them. The longest come first.
    """
    found = {Path.cwd(): "."}
    for text in _texts(config):
        if text.startswith("/"):
            found |= {path: Path(text).name for path in (Path(text), Path(text).resolve())}
    # Not the root, which is in every path.
    known = {str(path): name for path, name in found.items() if len(path.parts) > 1}
    return dict(sorted(known.items(), key=lambda item: -len(item[0])))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def portable(value: Any, known: Mapping[str, str]) -> Any:
    """A text, or all texts in mappings and lists, without what only this machine knows: where its folders are.

    Paths below a place in `known` (see `places`) begin with its name, others are those below a home or names of files.
    """
    if isinstance(value, Mapping):
        return {key: portable(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item, known) for item in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    return FOLDERS.sub("", HOME.sub("~", renamed(value, known)))


def renamed(text: str, known: Mapping[str, str]) -> str:
    """A text with the names of the places in `known` instead of their paths."""
    for path, name in known.items():
        if path in text:
            text = re.sub(rf"(?:file://|(?<![\w.~/<-])){re.escape(path)}(?![\w.-])", lambda _, name=name: name, text)  # type: ignore[misc]
    return text


def relative(path: str | Path) -> str:
    """A path as it may leave the machine: from the folder of the run, or its last three parts if it is not below."""
    path = Path(path)
    if not path.is_absolute():
        return str(path)
    below = path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd())) if below else str(Path(*path.parts[-3:]))


def _plain(value: Any) -> Any:
    """What `json` cannot write by itself: numpy scalars and arrays, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
