"""Learning: the planned method and the supervised U-Net in equal time, against the baselines, on a head never seen."""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from upfield import methods
from upfield.catalogue.methods import COURSE, built_in
from upfield.evaluate import metrics
from upfield.image import histograms, nifti
from upfield.image.intensity import fit
from upfield.image.nifti import Array
from upfield.methods import Method, model
from upfield.methods.start import Start
from upfield.patches import Store
from upfield.plan import decide, fingerprint
from upfield.plan import device as devices
from upfield.predict import inference
from upfield.training.loop import Stopped, Trainer
from upfield.training.start import fit_starts

from gpubench.bench import Bench
from gpubench.cases import PLANNED, SUPERVISED, settings, size_of
from gpubench.heads import parts_of
from gpubench.steps import options

# Of the part's time: the rest is for plans, predictions and metrics.
SHARE = 0.7
# Of each training's time, for finding out how long a step takes.
TRIED = 0.1
WARMED, EPOCHS = 3, 10_000
NAMES = ("psnr", "ssim")
# Of Gaussian blur and curve, fitted on the training heads: what every network has to beat.
BLURRED = "blur and curve"


class Timed(Trainer):
    """Stops as a scheduler would have it stop, when the time is over; and knows how long its steps took."""

    def fit_until(self, until: float) -> float:
        """Train to a value of time.monotonic; seconds of a step, the first few left out."""
        finish, times = self.optimisers.finish, []

        def timed() -> None:
            finish()
            times.append(time.monotonic())
            self._stop = self._stop or time.monotonic() > until

        self.optimisers.finish = timed  # type: ignore[method-assign]
        with suppress(Stopped):
            self.fit()
        later = times[min(WARMED, len(times) - 1) :]
        return float(np.median(np.diff(later))) if len(later) > 1 else float("inf")


def run(bench: Bench) -> None:
    """Train both, keep the weights of the planned one in `learned`, and measure in the brain of the last head."""
    found = parts_of(bench.job.work)
    parts = {part: [Store(path) for path in found[part]] for part in ("train", "val", "test")}
    each = min(SHARE * bench.left(), 2 * bench.form.learning) / 2
    trained = {name: _trained(bench, name, parts, each) for name in (SUPERVISED, PLANNED)}
    _measure(bench, Path(found["test"][0]), trained, parts["train"])


def _trained(bench: Bench, name: str, parts: dict[str, list[Store]], seconds: float) -> Trainer:
    """A method after so many seconds: first a few steps to see how many there are time for, then all of them."""
    values = _settings(bench, name, parts["train"])
    began = time.monotonic()
    step = _trainer(bench, name, values, parts, "trial", None).fit_until(began + TRIED * seconds)
    left = began + seconds - time.monotonic()
    steps = max(int(left / step), 1)
    trainer = _trainer(bench, name, values, parts, "learning", steps)
    trainer.fit_until(began + 1.5 * seconds)
    state = trainer.run
    bench.found(
        f"{name}, trained", size=size_of(trainer.method), seconds=round(time.monotonic() - began, 1), step_s=step,
        steps=state.step, best_epoch=state.best_epoch, val_mae=float(state.best_value),
        patch="x".join(map(str, trainer.options.patch)), batch=trainer.method.batch_size,
    )  # fmt: skip
    if state.best:
        trainer.method.load_state_dict(state.best)
    if name == PLANNED:
        kept = {key: value.detach().cpu() for key, value in trainer.method.state_dict().items()}
        own = {key: value for key, value in values.items() if key not in ("module", "preset")}
        model.save(bench.job.out / "learned", kept, {"method": name, "module": values["module"], "settings": own})
    return trainer


def _settings(bench: Bench, name: str, train: list[Store]) -> dict[str, Any]:
    """Those of the method's file; what it leaves to a plan as a plan has it."""
    form = bench.form
    values = settings(name, small=form.small, batch=form.batch)
    left = [setting for setting in built_in(name).planned if values[setting] is None]
    if name != PLANNED or not left:
        return values
    # Of the part's own process; a CPU's memory is no limit here.
    where = devices.of(bench.job.device, "auto", threads=torch.get_num_threads(), job=4 * 10**9)
    data = fingerprint.of(train, (form.spacing,) * 3)
    plan = decide.plan(data, where, values, built_in(name).defaults, hours=max(bench.left(), 1) / 3600)
    return {**values, **plan["settings"]}


def _trainer(
    bench: Bench, name: str, values: dict[str, Any], parts: dict[str, list[Store]], folder: str, steps: int | None
) -> Timed:
    """A trainer of fresh weights that stops after so many steps."""
    torch.manual_seed(42)
    method = methods.build(values)
    fit_starts(method, parts["train"])
    wanted = options(bench.job, method, per_volume=bench.form.per_volume, epochs=EPOCHS)
    own = {key: values[key] for key in COURSE if values.get(key) is not None}
    patch = tuple(own.pop("patch", wanted.patch))
    per_epoch = own.get("per_volume", wanted.per_volume) * len(parts["train"]) // method.batch_size
    epochs = EPOCHS if steps is None else -(-steps // max(per_epoch, 1))
    # Checkpoints are for those who go on: one is written at the end.
    wanted = replace(
        wanted, **own | {"patch": patch, "patch_val": patch, "epochs": epochs}, max_steps=steps, save_every=EPOCHS
    )
    return Timed(method, parts["train"], parts["val"], wanted, bench.job.work / f"{folder}-{name}", folder)


def _measure(bench: Bench, test: Path, trained: dict[str, Trainer], train: list[Store]) -> None:
    """PSNR and SSIM of baselines and networks, in the brain, in normalized units."""
    store = Store(test)
    whole = {side: image[0].numpy() for side, image in store.whole().items()}
    mask = whole["mask"] > 0
    outputs = _baselines(test, mask, train)
    for name, trainer in trained.items():
        how = {"device": trainer.device, "dtype": trainer.dtype, "overlap": 0.5, "tta": False}
        outputs[name] = inference.enhance([trainer.method], whole["source"], **how)
    outputs[BLURRED] = _blurred(trained[PLANNED].method, whole["source"])
    reached = {}
    for name, output in outputs.items():
        values = metrics.compute(output, whole["target"], mask, store.range, NAMES)
        reached[name] = values["psnr"]
        bench.found(f"{test.stem}: {name}", bool(np.isfinite(values["psnr"])), **values)
    best = max(value for name, value in reached.items() if name not in trained)
    bench.found(
        f"{PLANNED} in equal time", over_unet3d_db=float(reached[PLANNED] - reached[SUPERVISED]),
        over_the_best_baseline_db=float(reached[PLANNED] - best),
    )  # fmt: skip


@torch.no_grad()
def _blurred(method: Method, source: Array) -> Array:
    """What a network with a start begins with."""
    start = next(part for part in method.modules() if isinstance(part, Start))
    shown = torch.from_numpy(source)[None, None].to(next(method.parameters()).device)
    found: Array = start(shown)[0, 0].cpu().numpy()
    return found


def _baselines(test: Path, mask: Array, train: list[Store]) -> dict[str, Array]:
    """Interpolations of the scan of the low field, and one with the histogram of the training targets."""
    low, target = (nifti.load(test.with_name(f"{test.stem}_{side}.nii.gz")) for side in ("low", "target"))
    targets = ((whole["target"][0].numpy(), whole["mask"][0].numpy() > 0) for whole in (s.whole() for s in train))
    quantiles = histograms.fit_histogram(targets)
    outputs = {}
    for name, order in (("identity", 1), ("spline", 3)):
        moved = nifti.resample(low, target.grid, order=order)
        outputs[name] = fit(moved.data, mask, "percentile").apply(moved.data)
    outputs["histogram_match"] = histograms.match_histogram(outputs["identity"], mask, quantiles)
    return outputs
