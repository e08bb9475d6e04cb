"""Fast: the library's training loop, where its time goes, and a straightforward loop beside it."""

import gc
import time
from contextlib import suppress
from statistics import median
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from upfield.patches import Sampling, Store, draw
from upfield.training.data import GPU_WORKERS, load
from upfield.training.loop import Trainer

from gpubench import busy, plain
from gpubench.bench import Bench
from gpubench.cases import DEFAULT, METHODS, build, settings, size_of
from gpubench.heads import parts_of
from gpubench.steps import options

WARM = 3
PROFILED = 4
TOP = 10


class Enough(Exception):
    """Steps have been timed."""


class Watched:
    """A trainer of the library whose steps are timed, until the most or the time is over."""

    def __init__(self, bench: Bench, name: str, precision: str = "auto", seconds: float = 1e9) -> None:
        form, job = bench.form, bench.job
        self.method = build(settings(name, small=form.small, batch=form.batch))
        found = parts_of(job.work)
        self.train, self.val = ([Store(path) for path in found[part]] for part in ("train", "val"))
        # One epoch that does not end while it is watched.
        per_volume = 2 * form.timed_steps * self.method.batch_size // len(self.train) + 1
        self.options = options(job, self.method, per_volume=per_volume, epochs=1, precision=precision)
        folder = job.work / f"training-{name}-{precision}"
        self.trainer = Trainer(self.method, self.train, self.val, self.options, folder, "benchmark")
        self.most, self.until = form.timed_steps, time.monotonic() + seconds
        self.stamps: list[float] = []
        self.profile: profile | None = None
        self.finish = self.trainer.optimisers.finish
        self.trainer.optimisers.finish = self._finished  # type: ignore[method-assign]

    def _finished(self) -> None:
        self.finish()
        # The loop has read the losses, so the device is at most the end of this step behind.
        self.stamps.append(time.perf_counter())
        taken = len(self.stamps)
        if self.profile is not None and taken == WARM:
            self.profile.start()
            # Its own start is not a step's time.
            self.stamps[-1] = time.perf_counter()
        if self.profile is not None and taken == WARM + PROFILED:
            self.profile.stop()
            raise Enough
        if self.profile is not None:
            return
        if taken >= self.most or (taken > WARM + 1 and time.monotonic() > self.until):
            raise Enough

    def run(self) -> float:
        """Train until it is enough; steps per second after the first few."""
        with suppress(Enough):
            self.trainer.fit()
        warm = min(WARM, len(self.stamps) - 2)
        return (len(self.stamps) - 1 - warm) / (self.stamps[-1] - self.stamps[warm])


def run(bench: Bench) -> None:
    """The default method in depth, then the pace of the others."""
    _default(bench)
    _plain(bench)
    _loader(bench)
    _profiled(bench)
    others = [name for name in METHODS if name != DEFAULT]
    for name in bench.while_time(others, lambda name: f"{name}, the loop"):
        _pace(bench, name, Watched(bench, name, seconds=max(bench.left() / len(others), 1)))
        gc.collect()


def _pace(bench: Bench, name: str, watched: Watched) -> None:
    """Steps and samples per second, how busy the GPU is, its memory."""
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    with busy.sampled(bench.cuda) as shares:
        pace = watched.run()
    values: dict[str, Any] = {
        "size": size_of(watched.method), "precision": str(watched.trainer.dtype).removeprefix("torch."),
        "steps": len(watched.stamps), "steps_per_s": pace, "samples_per_s": pace * watched.method.batch_size,
    }  # fmt: skip
    if bench.cuda:
        values |= {"busy": busy.mean(shares), "peak_gb": torch.cuda.max_memory_allocated() / 1e9}
    bench.found(f"{name}, the loop", **values)


def _default(bench: Bench) -> None:
    watched = Watched(bench, DEFAULT, seconds=bench.left() / 6)
    _pace(bench, DEFAULT, watched)
    begun = time.monotonic()
    watched.trainer.validation.measure()
    measured = time.monotonic()
    watched.trainer._save()
    saved = time.monotonic()
    size = watched.trainer.checkpoint_path.stat().st_size
    patches = sum(watched.options.per_volume_val for _ in watched.val)
    bench.found("validation", seconds=measured - begun, patches=patches)
    bench.found("checkpoint", seconds=saved - measured, gb=size / 1e9)
    watched.trainer.checkpoint_path.unlink()


def _plain(bench: Bench) -> None:
    """The same generator and discriminator in a loop as one would write it."""
    form = bench.form
    method = build(settings(DEFAULT, small=form.small, batch=form.batch))
    stores = [Store(path) for path in parts_of(bench.job.work)["train"]]
    until = time.monotonic() + bench.left() / 6
    device = torch.device(bench.job.device)
    seconds = plain.step_seconds(
        [method.generator, method.discriminator], stores, (form.cube,) * 3, method.batch_size, device,
        torch.bfloat16 if bench.cuda else torch.float32,
        lambda taken: taken >= form.timed_steps or (taken > WARM + 1 and time.monotonic() > until),
    )  # fmt: skip
    bench.found(f"{DEFAULT}, a straightforward loop", steps=len(seconds), steps_per_s=1 / median(seconds[WARM:]))


def _loader(bench: Bench) -> None:
    """What the loader gives where nothing waits for it."""
    form, job = bench.form, bench.job
    method = build(settings(DEFAULT, small=form.small, batch=form.batch))
    stores = [Store(path) for path in parts_of(job.work)["train"]]
    batches = form.timed_steps
    for workers in (0, GPU_WORKERS):
        per_volume = batches * method.batch_size // len(stores) + 1
        patches = draw(stores, Sampling((form.cube,) * 3, per_volume, 0.9, 42, method.scale), 0)
        indices = range(batches * method.batch_size)
        stamps = [time.perf_counter()]
        for _ in load(method, patches, indices, torch.device(job.device), workers):
            stamps.append(time.perf_counter())
        pace = method.batch_size * (len(stamps) - 2) / max(stamps[-1] - stamps[1], 1e-9)
        bench.found(f"loader alone, {workers} workers", patches_per_s=pace, first_batch_s=stamps[1] - stamps[0])


def _profiled(bench: Bench) -> None:
    """Where the time of some steps goes: the ten operations that take most of it themselves."""
    watched = Watched(bench, DEFAULT)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.cuda else [])]
    watched.profile = profile(activities=activities)
    watched.run()
    kind = "device" if bench.cuda else "cpu"
    events = list(watched.profile.key_averages())
    if bench.cuda:
        # What the CPU asks for and what the GPU then does are both events with the GPU's time, and so are the names
        # that optimisers give their steps: kernels alone are counted.
        events = [e for e in events if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)]
    spent: dict[str, float] = {event.key: float(getattr(event, f"self_{kind}_time_total")) for event in events}
    total = sum(spent.values()) or 1.0
    span = 1e6 * (watched.stamps[WARM + PROFILED - 1] - watched.stamps[WARM - 1])
    share: dict[str, Any] = {"kernels_share_of_it": total / span} if bench.cuda else {}
    bench.found(f"profile of {PROFILED} steps of {DEFAULT}", ms=span / 1e3, **share)
    for name in sorted(spent, key=spent.__getitem__, reverse=True)[:TOP]:
        bench.found(f"  {name[:60]}", share=spent[name] / total, ms=spent[name] / 1e3)
