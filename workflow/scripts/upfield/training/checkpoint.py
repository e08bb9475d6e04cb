"""Checkpoints as one safetensors file: tensors as they are, everything else as JSON in its header.

Nothing is pickled, so nothing can be executed by reading one. Two generations are kept, each with a digest of all that
it holds: a file that was cut or damaged is told from a sound one, and the one before it takes its place.
"""

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from upfield.errors import UpfieldError
from upfield.files import atomic, sync


class Damaged(UpfieldError):
    """A checkpoint that is not what was written."""


def save(path: str | Path, state: Any) -> None:
    """Write nested dicts, lists, tuples, numbers, strings and tensors, atomically; what was there is kept beside it."""
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_pack(state, tensors), allow_nan=False)
    metadata = {"skeleton": skeleton, "digest": _digest(skeleton, tensors)}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
        # On the disk before anything older gives way to it.
        sync(temporary)
        if path.is_file():
            path.replace(previous(path))


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is."""
    return path.with_suffix(f".previous{path.suffix}")


def load(path: str | Path) -> Any:
    """Read what `save` wrote; tensors come back on the CPU, equal to the bit. Raises Damaged if they do not."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise Damaged(f"{path} is cut or damaged ({' '.join(str(error).split())[:100]})") from None
    skeleton = metadata.get("skeleton", "")
    # Those of before the digest was have none, and are as good.
    if not skeleton or metadata.get("digest") not in (None, _digest(skeleton, tensors)):
        raise Damaged(f"{path} is damaged: it does not hold what was written")
    return _unpack(json.loads(skeleton), tensors)


def latest(path: Path) -> Any | None:
    """The last checkpoint, or if it is damaged or gone the one before it; None if there is neither.

    A damaged one is taken away, with a warning: it would otherwise become the older of two when the next is written.
    """
    for candidate in (path, previous(path)):
        try:
            if candidate.is_file():
                return load(candidate)
        except FileNotFoundError:
            # Another process of this training has just taken it away.
            continue
        except Damaged as error:
            logging.warning("%s; it is left out, and the training goes on from an older one or starts again", error)
            candidate.unlink(missing_ok=True)
    return None


def _digest(skeleton: str, tensors: dict[str, Tensor]) -> str:
    """Hexadecimal digits that identify all that a checkpoint holds."""
    found = hashlib.sha256(skeleton.encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # Cloned: safetensors refuses tensors that share memory.
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(value, dict):
        # Pairs, because JSON would turn the integer keys of an optimiser's state into text.
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(item, tensors) for item in value]}
    if isinstance(value, float) and not math.isfinite(value):
        # JSON knows no such number.
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def _unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, value),) = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in value}
    if kind in ("list", "tuple"):
        items = [_unpack(item, tensors) for item in value]
        return tuple(items) if kind == "tuple" else items
    return float(value) if kind == "float" else value


def random_state() -> dict[str, Any]:
    """The state of torch's random generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo what happened to the generators since `random_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
