"""Texts of a configuration that Snakemake, a program or a file system would read as something else than they say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upfield.errors import UpfieldError
from upfield.evaluate.atlas import PLACE
from upfield.foreign import EDGES
from upfield.place import WILDCARD

# Characters of one text, and levels of lists and mappings in each other; YAML can also make one that holds itself.
LONGEST = 500
DEEPEST = 20
# Bytes of a file's or folder's name.
LONGEST_NAME = 255
# Line ends and control characters, and halves of characters, which no file can hold.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What the search for scans in a dataset takes for a pattern.
PATTERN = re.compile(r"[*?\[\]]")
# What word processors make of quotation marks.
QUOTES = "“”„‟«»‘’‚‛"
# What a shell fills in, at the beginning of a path.
VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|%[A-Za-z_]\w*%")
# Keys whose texts are no names of files: the values of sidecar fields are compared, and no more; words of a command
# are checked where it is read; the rest is for readers.
FREE = {"metadata", "command", "title", "version", "reference"}
DATASETS = ("bids_dir", "derivatives")


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, for a text that cannot be used as it is meant."""
    _check(config, "", 0)


def _check(value: Any, key: str, depth: int) -> None:
    if depth > DEEPEST:
        raise UpfieldError(f"config: {key[:80]} ... is nested too deep; expected at most {DEEPEST} levels")
    if isinstance(value, str):
        _check_text(value, key)
        last = key.rsplit(".", 1)[-1]
        if not FREE & set(key.split(".")):
            _check_name(value, key)
            if last in DATASETS:
                _check_dataset(value, key)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_text(str(name), f"a key in {key}" if key else "a key")
            _check(item, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, key, depth + 1)


def _check_text(text: str, key: str) -> None:
    if UNPRINTABLE.search(text):
        raise UpfieldError(f"config: {key} is {_shown(text)}; expected a text without line ends and control characters")
    if len(text) > LONGEST:
        raise UpfieldError(f"config: {key} has {len(text):,} characters ({_shown(text)}); expected at most {LONGEST}")


def _check_name(text: str, key: str) -> None:
    """What is a path or a name, or part of one."""
    if EDGES.search(text):
        raise UpfieldError(f"config: {key} is {ascii(text)[:100]}; expected no space at its beginning or end")
    if len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES:
        raise UpfieldError(f"config: {key} is {_shown(text)}, in typographic quotes; expected ' or \", or none")
    variable = VARIABLE.match(text)
    if variable is not None:
        raise UpfieldError(
            f"config: {key} is {_shown(text)}; {variable[0]} is not filled in as by a shell: write the whole path"
        )
    found = WILDCARD.search(text.replace(PLACE, "") if key == "evaluate.atlas.images" else text)
    if found is not None:
        raise UpfieldError(
            f"config: {key} is {_shown(text)}; {found[0]} in it means something else to Snakemake, so rename it"
        )
    if text.startswith("~"):
        raise UpfieldError(f"config: {key} is {_shown(text)}; ~ is not read as your home: write the whole path")
    if text.startswith("-") and len(text) > 1:
        raise UpfieldError(
            f"config: {key} is {_shown(text)}, which a program takes for an option; write the whole path"
        )
    long = next((part for part in text.split("/") if len(part.encode()) > LONGEST_NAME), None)
    if long is not None:
        raise UpfieldError(f"config: {key} has {_shown(long)}, of more than the {LONGEST_NAME} bytes of a name")


def _check_dataset(text: str, key: str) -> None:
    """A dataset is looked through, and its scans are called by where it really is."""
    path = Path(text).resolve()
    found = PATTERN.search(str(path)) or WILDCARD.search(str(path))
    if found is not None:
        raise UpfieldError(
            f"config: {key} is {_shown(str(path))}; {found[0]} in it cannot be used, so rename the folder"
        )
    if path.name.startswith(("sub-", "ses-")):
        raise UpfieldError(
            f"config: {key} is {_shown(text)}, which is named as a part of a dataset; expected the whole"
        )


def _shown(text: str) -> str:
    shown = ascii(text) if UNPRINTABLE.search(text) else repr(text)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."
