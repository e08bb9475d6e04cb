"""Learning: the default method trained in the time that is left, against the baselines, on a head it never saw."""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from upfield import methods
from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.evaluate import metrics
from upfield.image import histograms, nifti
from upfield.image.intensity import fit
from upfield.image.nifti import Array
from upfield.methods import model
from upfield.patches import Store
from upfield.predict import inference
from upfield.training.loop import Stopped, Trainer

from gpubench.bench import Bench
from gpubench.cases import DEFAULT, settings, size_of
from gpubench.heads import parts_of
from gpubench.steps import options

# Of the part's time: the rest is for the prediction and the metrics.
SHARE = 0.7
EPOCHS = 10_000
NAMES = ("psnr", "ssim")


class Timed(Trainer):
    """Stops as a scheduler would have it stop, when the time is over."""

    def fit_until(self, until: float) -> None:
        """Train to a value of time.monotonic."""
        finish = self.optimisers.finish

        def timed() -> None:
            finish()
            self._stop = self._stop or time.monotonic() > until

        self.optimisers.finish = timed  # type: ignore[method-assign]
        with suppress(Stopped):
            self.fit()


def run(bench: Bench) -> None:
    """Train, keep the weights in `learned`, and measure outputs and baselines in the brain of the last head."""
    job, form = bench.job, bench.form
    found = parts_of(job.work)
    values = settings(DEFAULT, small=form.small, batch=form.batch)
    torch.manual_seed(42)
    method = methods.build(values)
    train, val = ([Store(path) for path in found[part]] for part in ("train", "val"))
    # Checkpoints are for those who go on: one is written at the end.
    wanted = replace(options(job, method, per_volume=form.per_volume, epochs=EPOCHS), save_every=EPOCHS)
    trainer = Timed(method, train, val, wanted, job.work / "learning", "benchmark")
    trainer.fit_until(time.monotonic() + min(SHARE * bench.left(), form.learning))
    state = trainer.run
    card = {
        "method": DEFAULT, "module": values["module"], "steps": state.step, "epochs": state.epoch,
        "settings": {key: value for key, value in values.items() if key not in ("module", "preset")},
    }  # fmt: skip
    best = state.best or {name: value.detach().cpu() for name, value in trainer.method.state_dict().items()}
    kept = job.out / "learned"
    model.save(kept, best, card)
    bench.found(
        f"{DEFAULT}, trained", size=size_of(method), heads=len(train), steps=state.step, epochs=state.epoch,
        best_epoch=state.best_epoch, val_mae=float(state.best_value), weights=kept.name,
    )  # fmt: skip
    _measure(bench, Path(found["test"][0]), kept, train, trainer)


def _measure(bench: Bench, test: Path, kept: Path, train: list[Store], trainer: Trainer) -> None:
    """PSNR and SSIM of the baselines and of the network, in the brain, in normalized units."""
    store = Store(test)
    whole = {side: image[0].numpy() for side, image in store.whole().items()}
    mask = whole["mask"] > 0
    network, _ = model.load(kept)
    settings_ = {"device": trainer.device, "dtype": trainer.dtype, "overlap": 0.5, "tta": False}
    outputs = _baselines(test, mask, train)
    outputs[DEFAULT] = inference.enhance([network], whole["source"], **settings_)
    reached = {}
    for name, output in outputs.items():
        values = metrics.compute(output, whole["target"], mask, store.range, NAMES)
        reached[name] = values["psnr"]
        bench.found(f"{test.stem}: {name}", bool(np.isfinite(values["psnr"])), **values)
    gain = reached[DEFAULT] - max(value for name, value in reached.items() if name != DEFAULT)
    bench.found(f"{DEFAULT} over the best baseline", psnr_gain_db=float(gain))


def _baselines(test: Path, mask: Array, train: list[Store]) -> dict[str, Array]:
    """Interpolations of the scan of the low field, and the first with the histogram of the training targets."""
    low, target = (nifti.load(test.with_name(f"{test.stem}_{side}.nii.gz")) for side in ("low", "target"))
    targets = ((whole["target"][0].numpy(), whole["mask"][0].numpy() > 0) for whole in (s.whole() for s in train))
    quantiles = histograms.fit_histogram(targets)
    outputs = {}
    for name, order in INTERPOLATION_ORDER.items():
        moved = nifti.resample(low, target.grid, order=order)
        data = fit(moved.data, mask, "percentile").apply(moved.data)
        outputs[name] = histograms.match_histogram(data, mask, quantiles) if name == "histogram_match" else data
    return outputs
