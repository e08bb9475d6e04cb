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

from upfield.errors import UpfieldError

# The process's file mode mask, which can only be read by setting it.
UMASK = os.umask(0)
os.umask(UMASK)

# What a half-written file's name begins with.
TEMPORARY = ".tmp-"
# Seconds after which nobody writes such a file any more, wherever its writer ran.
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
        # Of somebody else.
        return True
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
    """Write a BIDS-style table: tab-separated, `n/a` for missing values, nine significant digits."""
    write_text(path, table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g"))


def read_tsv(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_tsv`; every `*_id` and path-like column keeps its text."""
    text_columns = {"participant_id": str, "session": str, "fold": str, "seed": str, "reason": str}
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=text_columns)


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


def _plain(value: Any) -> Any:
    """What `json` cannot write by itself: numpy scalars and arrays, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
