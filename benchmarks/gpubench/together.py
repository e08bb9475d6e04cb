"""Right: two trainings at once on one GPU, as Snakemake starts them where a study has several models."""

import time

from gpubench import steps
from gpubench.bench import Bench, distance
from gpubench.cases import DEFAULT


def run(bench: Bench) -> None:
    """Two processes with the same seed side by side, then one alone: do they end, do they agree, what do they cost."""
    job = bench.job
    folders = [job.work / f"together-{name}" for name in ("one", "two", "alone")]
    what = f"{DEFAULT}, two processes at once"
    begun = time.monotonic()
    codes = steps.ended([steps.started(job, folder) for folder in folders[:2]], bench.left)
    both = time.monotonic() - begun
    if None in codes:
        bench.left_out(what, "no time left")
        return
    if any(codes):
        # A GPU in exclusive mode takes one process: that is a setting, not a mistake; one must have ended well.
        bench.found(what, 0 in codes and bench.cuda, exit_codes=codes, note="the GPU took one process only")
        return
    far = distance(steps.weights(folders[1]), steps.weights(folders[0]))
    bench.found(what, None if bench.cuda else far == 0, differ_by=far, seconds=both)
    if bench.left() < both:
        bench.left_out("one process alone", "no time left")
        return
    begun = time.monotonic()
    steps.ended([steps.started(job, folders[2])], bench.left)
    bench.found("one process alone, its start included", seconds=time.monotonic() - begun)
