"""What this is run on."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable

import torch

from gpubench.bench import Bench


def run(bench: Bench) -> None:
    """Versions and names, and for a GPU what it does at best: copying, and multiplying matrices."""
    bench.found("software", python=platform.python_version(), torch=torch.__version__, cuda=str(torch.version.cuda))
    bench.found("processor", cores=len(os.sched_getaffinity(0)), threads=torch.get_num_threads())
    if not bench.cuda:
        return
    torch.cuda.init()
    card = torch.cuda.get_device_properties(0)
    bench.found(
        "GPU", name=card.name, memory_gb=card.total_memory / 1e9, capability=f"{card.major}.{card.minor}",
        multiprocessors=card.multi_processor_count, cudnn=str(torch.backends.cudnn.version()), driver=_driver(),
    )  # fmt: skip
    _rates(bench)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version,compute_mode", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return "nvidia-smi not found"
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else "unknown"


def _rates(bench: Bench) -> None:
    """GB/s of a copy within the GPU's memory (read and written), TFLOP/s of bf16 matrices, on random data."""
    source = torch.rand(2**28, device="cuda")
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), 10)
    bench.found("copy within memory", gb_per_s=2 * source.numel() * 4 / seconds / 1e9)
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: one @ other, 10)
    bench.found("bf16 matrix product 8192^3", tflop_per_s=2 * 8192**3 / seconds / 1e12)


def timed(work: Callable[[], object], times: int) -> float:
    """Seconds of one call on the GPU, the mean of several after two to warm up."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times
