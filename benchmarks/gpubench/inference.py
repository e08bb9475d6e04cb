"""Fast: a whole head from file to file, at once and in windows, fp32, bf16 and compiled."""

import gc
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from upfield import inference, model, nifti
from upfield.nifti import Volume

from gpubench.bench import Bench
from gpubench.cases import DEFAULT, build, settings

# Seconds.
COMPILING = 40.0


def run(bench: Bench) -> None:
    """Load scan and model, predict, save: each way twice, the second time without what only the first one costs."""
    form, job = bench.form, bench.job
    folder, scan = job.work / "inference", job.work / "inference.nii.gz"
    values = settings(DEFAULT, small=form.small, batch=form.batch)
    card = {"module": values["module"], "settings": {k: v for k, v in values.items() if k not in ("module", "preset")}}
    model.save(folder, build(values).state_dict(), card)
    random = np.random.default_rng(0)
    nifti.save(Volume(random.random(form.volume, dtype=np.float32), np.eye(4)), scan)
    whole, tiled = max(form.volume), form.window
    half = torch.bfloat16
    # bf16 is what a GPU is for; on a CPU without instructions for it, it would take minutes.
    ways = [
        ("fp32, whole", whole, torch.float32, False),
        ("fp32, windows", tiled, torch.float32, False),
        *([("bf16, whole", whole, half, False), ("bf16, windows", tiled, half, False)] if bench.cuda else []),
        ("compiled, windows", tiled, half if bench.cuda else torch.float32, True),
    ]
    reference: np.ndarray | None = None
    for name, window, dtype, compiled in bench.while_time(ways, lambda way: way[0]):
        if compiled and not form.compiled:
            bench.left_out(name, "not in this form")
            continue
        if compiled and bench.left() < COMPILING:
            bench.left_out(name, f"compiling may take {COMPILING:.0f} s, which are not left")
            continue
        if compiled and shutil.which("cc") is None:
            bench.left_out(name, "there is no C compiler, which torch.compile needs")
            continue
        result = _way(bench, name, scan, folder, window, dtype, compiled, reference)
        reference = result if reference is None else reference
        gc.collect()


def _way(
    bench: Bench,
    name: str,
    scan: Path,
    folder: Path,
    window: int,
    dtype: torch.dtype,
    compiled: bool,
    reference: np.ndarray | None,
) -> np.ndarray:
    device = torch.device(bench.job.device)
    stamps = [time.monotonic()]
    source = nifti.load(scan)
    stamps.append(time.monotonic())
    network, _ = model.load(folder)
    network.to(device)
    if compiled:
        network.compile()
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    stamps.append(time.monotonic())
    options: dict[str, Any] = {"device": device, "dtype": dtype, "overlap": 0.5, "tta": False, "window": window}
    first = inference.enhance([network], source.data, **options)
    stamps.append(time.monotonic())
    result = inference.enhance([network], source.data, **options)
    stamps.append(time.monotonic())
    nifti.save(source.with_data(result), bench.job.work / "enhanced.nii.gz")
    stamps.append(time.monotonic())
    read, loaded, cold, warm, written = np.diff(stamps)
    values = {
        "file_to_file_s": float(read + loaded + cold + written), "read_s": float(read), "load_model_s": float(loaded),
        "network_s": float(warm), "network_first_s": float(cold), "write_s": float(written),
    }  # fmt: skip
    if bench.cuda:
        values["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    if reference is not None:
        values["differs_by"] = float(np.sqrt(((result - reference) ** 2).mean()) / reference.std())
    ok = bool(np.isfinite(result).all() and np.isfinite(first).all())
    shape = " x ".join(map(str, bench.form.volume))
    bench.found(f"{DEFAULT}, {shape}, {name}", ok, **values)
    return result
