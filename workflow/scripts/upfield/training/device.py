"""Where networks run and in which arithmetic."""

from contextlib import AbstractContextManager

import torch

from upfield.errors import UpfieldError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose(device: str) -> torch.device:
    """`auto` is a GPU if there is one, `cuda:1` the second. Raises UpfieldError for one that is not here."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise UpfieldError(f"device is {device!r:.40}; expected auto, cpu, cuda, or cuda:0 and so on")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UpfieldError(f"device is {device}, but no GPU is visible here; use auto or cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise UpfieldError(f"device is {device}, but of GPUs there are {torch.cuda.device_count()}, from cuda:0 on")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where a GPU has it, else fp16 on a GPU, and fp32 on a CPU."""
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Mixed precision in a block; fp32 leaves everything as it is."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
