"""Damage to bytes and values, decided by a seed."""

import copy
import random
from typing import Any

# What formats, shells, numbers and pages stumble over.
TOKENS = (
    b"", b"\0", b"\t", b"\n", b"\r", b'"', b"'", b"\\", b",", b";", b"{", b"}", b"[", b"]", b"n/a", b"NaN", b"Infinity",
    b"-1", b"1e999", b"9" * 400, b"true", b"null", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80",
    b"../", b"$(touch hacked)",
    b"<script>", b"sub-01", b"=1+1", b"[" * 3000, b"a: " * 50, b"&a [*a]",
    b"!!python/object:os.system", b"\xe2\x80\xae", b"%", b"{x}",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 1e-9, 0.5, 1e9, 10**30, -(10**400), float("nan"), float("inf"),
    "", " ", "no", "1", "1e3",
    "n/a", "a\nb", "a\0b", "\ud800", "x" * 5000, "../..", "a/b", "a b", "$(touch hacked)",
    ";touch hacked", "`touch hacked`",
    "<script>alert(1)</script>", "{x}", "{wildcards.scan}", "%s", "-rf", "é", "\u202e", "=1+1", [], {}, [None], [[]],
    [1, "a"],
    {"a": 1}, {"": {}}, {1: 2}, {None: None}, ["T1w", "T1w"], {"min": "a"},
    {"min": 3, "max": 1}, [{}], [{"suffix": "T1w"}],
)  # fmt: skip


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes with one to four changes: flipped, cut, doubled, put in, left out."""
    result = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(result) + 1)
        size = dice.choice((1, 1, 2, 7, 40))
        kind = dice.randrange(7)
        if kind == 0 and at < len(result):
            result[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(result):
            result[at] = dice.randrange(256)
        elif kind == 2:
            del result[at : at + size]
        elif kind == 3:
            result[at:at] = result[at : at + size]
        elif kind == 4:
            result[at : at + dice.choice((0, 1, 3))] = dice.choice(TOKENS)
        elif kind == 5:
            result[at:at] = dice.randbytes(size)
        elif dice.random() < 0.3:
            del result[at:]
    return bytes(result)


def altered(value: Any, dice: random.Random) -> Any:
    """A tree of mappings and lists with one to three changes of values, types and keys."""
    result = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        holder, key = dice.choice(_places(result) or [({"": result}, "")])
        old = holder[key]
        kind = dice.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = dice.choice(([old], {"a": old}, [old, old], str(old)))
        elif kind == 2 and isinstance(holder, dict):
            holder[dice.choice((f"{key}s", "", "é", 1, None, True, "x" * 400, "a\nb", "<b>", "\ud800"))] = old
        elif kind == 3 and isinstance(old, int | float) and not isinstance(old, bool):
            holder[key] = dice.choice((-old, old * 1000, float(old), old + 1, str(old)))
        elif kind == 4:
            other, name = dice.choice(_places(result))
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(dice.choice(VALUES))
    return result


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: what holds it and under which key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]
