"""How busy a GPU is, as its driver says."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import fmean

import torch

INTERVAL_MS = 200


@contextmanager
def sampled(cuda: bool) -> Iterator[list[float]]:
    """A list that after the block holds how busy the GPU was at each sample, 0 to 1; empty without nvidia-smi."""
    shares: list[float] = []
    if not cuda or shutil.which("nvidia-smi") is None:
        yield shares
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={INTERVAL_MS}"]
    identity = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    if identity is not None:
        command.append(f"--id=GPU-{identity}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield shares
    finally:
        process.terminate()
        try:
            output, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            output = ""
        for line in output.splitlines():
            # "[N/A]" where a driver does not say.
            with suppress(ValueError):
                shares.append(float(line) / 100)


def mean(shares: list[float]) -> float | str:
    """The mean share, or that it is not known."""
    return fmean(shares) if shares else "not known"
