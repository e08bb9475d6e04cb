"""Checkpoints as one safetensors file: tensors as they are, everything else as JSON in its header.

Nothing is pickled, so nothing can be executed by reading one.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from upfield.files import atomic


def save(path: str | Path, state: Any) -> None:
    """Write nested dicts, lists, tuples, numbers, strings and tensors, atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, tensors)
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"skeleton": json.dumps(skeleton)})


def load(path: str | Path) -> Any:
    """Read what `save` wrote; tensors come back on the CPU, equal to the bit."""
    with safe_open(path, framework="pt") as file:
        skeleton = json.loads(file.metadata()["skeleton"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return _unpack(skeleton, tensors)


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
    return value


def random_state() -> dict[str, Any]:
    """The state of torch's random generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo what happened to the generators since `random_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
