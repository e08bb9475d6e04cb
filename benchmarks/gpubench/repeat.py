"""Right: the same seed twice, and a training that was killed and continued, against one that was not."""

import time

from upfield.training import checkpoint

from gpubench import steps
from gpubench.bench import Bench, distance
from gpubench.cases import DEFAULT

# How much farther than the same run done twice a continued one may be: where sums have no fixed order, twice is not
# the same, and small differences grow.
FARTHER = 10.0


def run(bench: Bench) -> None:
    """Train once, twice, and once with a kill in the second epoch; compare the weights."""
    job, form = bench.job, bench.form
    whole, again, broken = (job.work / f"repeat-{name}" for name in ("whole", "again", "broken"))
    killed_at = form.epoch_steps + form.epoch_steps // 2
    process = steps.started(job, broken, killed_at)
    begun = time.monotonic()
    steps.train(job, whole)
    seconds = time.monotonic() - begun
    steps.train(job, again)
    same = distance(steps.weights(again), steps.weights(whole))
    what = f"{DEFAULT}, {steps.EPOCHS * form.epoch_steps} steps"
    # On a CPU the order of sums is fixed.
    bench.found(f"{what}, twice", None if bench.cuda else same == 0, differ_by=same, seconds=seconds)
    (code,) = steps.ended([process], bench.left)
    if code is None:
        bench.left_out(f"{what}, killed and continued", "no time left")
        return
    reached = checkpoint.load(broken / "checkpoint.safetensors")["run"]["step"]
    steps.train(job, broken)
    far = distance(steps.weights(broken), steps.weights(whole))
    right = code < 0 and reached == form.epoch_steps and far <= FARTHER * same
    bench.found(f"{what}, killed after {killed_at}, continued from {reached}", right, differ_by=far)
