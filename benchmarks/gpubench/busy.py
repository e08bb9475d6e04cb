"""How busy a GPU is, as its driver says."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import fmean

import torch

# Seconds between two questions.
INTERVAL = 0.3


@contextmanager
def sampled(cuda: bool) -> Iterator[list[float]]:
    """A list that fills with how busy the GPU is, 0 to 1, while the block runs; it stays empty without nvidia-smi."""
    shares: list[float] = []
    if not cuda or shutil.which("nvidia-smi") is None:
        yield shares
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    identity = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    if identity is not None:
        command.append(f"--id=GPU-{identity}")
    over = threading.Event()

    def ask() -> None:
        while not over.wait(INTERVAL):
            # A driver that does not answer, or says [N/A], leaves the list as it is.
            with suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
                done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
                shares.append(float(done.stdout.split()[0]) / 100)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield shares
    finally:
        over.set()
        thread.join(timeout=5)


def mean(shares: list[float]) -> float | str:
    """The mean share, or that it is not known."""
    return fmean(shares) if shares else "not known"
