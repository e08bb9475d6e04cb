"""Right: where a volume does not fit into memory, inference goes on in smaller windows and says so."""

import logging

import numpy as np
import torch
from torch import Tensor
from upfield import inference
from upfield.methods import Method

from gpubench.bench import Bench
from gpubench.cases import DEFAULT, build, settings

# Of what the whole volume takes, that much is allowed.
SHARE = 0.3
# A CPU's limit is simulated; the smallest window must fit.
LEAST = 32**3


class Limited(Method):
    """A method on a CPU that runs out of memory as one on a GPU does: with more than `most` voxels."""

    def __init__(self, method: Method, most: int) -> None:
        super().__init__()
        self.method, self.most = method, most
        self.divisor = method.divisor

    def forward(self, source: Tensor) -> Tensor:
        """As the method, or out of memory."""
        if source.numel() > self.most:
            raise torch.OutOfMemoryError("out of memory, simulated")
        return self.method(source)


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def run(bench: Bench) -> None:
    """Predict a volume whole, then with half the memory that took; compare, and look into the log."""
    form, device = bench.form, torch.device(bench.job.device)
    method = build(settings(DEFAULT, small=form.small, batch=None)).eval()
    edge = form.tight
    volume = np.random.default_rng(0).random((edge, edge, edge), dtype=np.float32)
    options = {"device": device, "dtype": torch.bfloat16 if bench.cuda else torch.float32, "overlap": 0.5, "tta": False}
    # A window that holds all of it: what is free must not decide which way is taken first.
    options["window"] = edge
    lines = Lines()
    logging.getLogger().addHandler(lines)
    peak = None
    if bench.cuda:
        method.to(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        whole = inference.enhance([method], volume, **options)
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((before + SHARE * (peak - before)) / total)
        try:
            tiled = inference.enhance([method], volume, **options)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    else:
        whole = inference.enhance([method], volume, **options)
        tiled = inference.enhance([Limited(method, max(int(SHARE * volume.size), LEAST))], volume, **options)
    said = [line for line in lines.lines if "out of memory" in line]
    far = float(np.sqrt(((tiled - whole) ** 2).mean()) / whole.std())
    values = {"log": said, "differs_by": far} | ({} if peak is None else {"whole_took_gb": peak / 1e9})
    what = f"{DEFAULT}, {edge}^3 with {SHARE:.0%} of its memory"
    # Where it fitted all the same, with slower algorithms that need less, nothing has been shown.
    right = bool(np.isfinite(tiled).all()) and (True if said else None)
    bench.found(what, right, **values)
