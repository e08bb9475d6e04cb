"""Where a training is planned to run: its memory and how fast it is about."""

import re
from dataclasses import dataclass
from typing import Any

import torch

from upfield.errors import UpfieldError
from upfield.training.device import PRECISIONS, choose

# What `train.precision: auto` is, also of a card that is not here.
AUTOMATIC = {"cpu": torch.float32, "cuda": torch.bfloat16}
UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(GB|GiB|MB|MiB)")
# What a process holds before there is a network: torch and its libraries on a CPU, a context on a GPU.
RESIDENT = {"cpu": 650 * 2**20, "cuda": 600 * 2**20}
# Operations per second that networks of 3-D convolutions reach: of a core, and of cards by their memory (at least as
# many GB), in mixed precision. Measured on a core; of cards a cautious guess, since they differ more than that.
CORE = 50e9
CARDS = ((60, 60e12), (30, 30e12), (20, 18e12), (10, 10e12), (0, 4e12))


@dataclass(frozen=True)
class Device:
    """`kind` is cpu or cuda; `memory` bytes that training may take in all; `rate` operations per second, about.

    `assumed`: it was named in the configuration, and is not that of the machine which plans. `processes` train one
    model together, each on such a device; `dtype` is what networks compute in.
    """

    kind: str
    memory: int
    rate: float
    assumed: bool
    processes: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def slow(self) -> bool:
        """Whether time runs out long before memory does."""
        return self.kind == "cpu"

    @property
    def resident(self) -> int:
        """Bytes that are taken before there is a network."""
        return RESIDENT[self.kind]

    @property
    def named(self) -> str:
        """In a sentence."""
        return ("an assumed " if self.assumed else "this ") + ("card" if self.kind == "cuda" else "machine's cores")

    def described(self) -> dict[str, Any]:
        """As it stands in a plan."""
        precision = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
        return {
            "kind": self.kind, "memory": self.memory, "rate": self.rate, "assumed": self.assumed,
            "processes": self.processes, "precision": precision,
        }  # fmt: skip


def size(text: str) -> int:
    """Bytes of `8GB`, `512 MiB`. Raises UpfieldError for anything else."""
    found = SIZE.fullmatch(text)
    if found is None:
        raise UpfieldError(f"config: train.memory is {text!r:.40}; expected auto, or a size such as 8GB")
    return int(float(found[1]) * UNITS[found[2]])


def of(device: str, memory: str, threads: int, job: int, precision: str = "auto", processes: int = 1) -> Device:
    """The device of a study's `train` block; `job` are the bytes that a job on a CPU may hold.

    A memory that is named is that of a card, unless training is on a CPU. `auto` is the card of this machine, if it has
    one, else a CPU.
    """
    named = None if memory == "auto" else size(memory)

    def made(kind: str, found: int, rate: float, assumed: bool) -> Device:
        return Device(kind, found, rate, assumed, processes, PRECISIONS.get(precision, AUTOMATIC[kind]))

    on_card = device == "cuda" or (device == "auto" and named is not None)
    if named is None and device != "cpu" and choose("auto").type == "cuda":
        # Whole GB: a card's memory differs a little between drivers.
        found = torch.cuda.get_device_properties(0).total_memory // 10**9 * 10**9
        return made("cuda", found, _card(found), False)
    if on_card:
        found = named or size("8GB")
        return made("cuda", found, _card(found), True)
    return made("cpu", named or job, CORE * threads, named is not None)


def _card(memory: int) -> float:
    return next(rate for least, rate in CARDS if memory >= least * 10**9)
