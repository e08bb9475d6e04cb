"""The training loop of every method.

One epoch draws its patches, takes its steps, validates on fixed patches, remembers the best weights and writes a
checkpoint. A run that is killed and started again continues from its checkpoint and ends with the same weights as
one that was never interrupted (same machine, same `train.threads`).
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.job import handling
from upfield.methods import model
from upfield.methods.base import Method
from upfield.patches import SOURCE, Sampling, Store, draw
from upfield.training import checkpoint, processes
from upfield.training.average import Average
from upfield.training.data import Options, load, to_device
from upfield.training.device import autocast, choose, precision
from upfield.training.log import RunningMean, write_history
from upfield.training.optimisers import Optimisers
from upfield.training.progress import Bar, progress
from upfield.training.redraw import Draws
from upfield.training.unpaired import UnpairedValidation
from upfield.training.validation import Validation, Validator

Preview = Callable[[int, dict[str, np.ndarray]], None]


@dataclass
class Run:
    """Everything that changes while training, besides networks and optimisers."""

    epoch: int = 0
    position: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    means: RunningMean = field(default_factory=RunningMean)
    best_epoch: int = 0
    best_value: float = float("inf")
    best: dict[str, Tensor] = field(default_factory=dict)


def _channels_last(method: Method) -> Method:
    """Weights of 3-D networks with channels innermost: a third faster on CPUs, and what tensor cores want."""
    return method.to(memory_format=torch.channels_last_3d) if method.dims == 3 else method  # type: ignore[call-overload]


class Stopped(UpfieldError):
    """The scheduler asked to stop; a checkpoint was written and the same command continues from it."""


class Diverged(UpfieldError):
    """Weights, losses or errors became infinite or NaN: no further step can mend them."""


class Trainer:
    """Trains one method on patch stores; everything it writes goes to `folder`."""

    def __init__(
        self,
        method: Method,
        train: Sequence[Store],
        val: Sequence[Store],
        options: Options,
        folder: Path,
        key: str,
        redraw: Draws | None = None,
        validator: type[Validator] | None = None,
    ) -> None:
        """Restore the checkpoint in `folder` if it is of the same run: `key` stands for settings and data.

        With `redraw` what is learned from is drawn anew in every epoch, in the place of `train`. `validator` looks at
        every epoch; by default it compares outputs with their targets, or cohorts where there are none.
        """
        if options.accumulate % processes.count():
            raise UpfieldError(
                f"config: train.accumulate is {options.accumulate}; expected a multiple of {processes.count()},"
                " the number of processes"
            )
        self.options = options
        self.device = choose(options.device)
        self.dtype = precision(options.precision, self.device)
        self.method = _channels_last(method.to(self.device))
        processes.scale_norm_momentum(self.method)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.optimisers = Optimisers(self.method, self.scaler, options.layer_lr, options.accumulate)
        self.average = Average(self.method, options.ema) if options.ema else None
        self.train_stores, self.redraw = list(train), redraw
        looked_at = (self.method, val, options, self.device, self.dtype)
        self.validation: Validator
        if validator is not None:
            self.validation = validator(*looked_at)
        elif all(store.paired for store in val):
            self.validation = Validation(*looked_at)
        else:
            self.validation = UnpairedValidation(*looked_at, train)
        self.folder = folder
        self.key = digest([key, options.decisive(), str(self.dtype)])
        self.run = Run()
        self._stop = False
        self._restore()

    @property
    def checkpoint_path(self) -> Path:
        """Beside the model, not declared to Snakemake, which would delete it when a job fails."""
        return self.folder / "checkpoint.safetensors"

    @property
    def best_path(self) -> Path:
        """Where a training that diverged leaves the weights of its best epoch."""
        return self.folder / "best.safetensors"

    def fit(self, preview: Preview | None = None) -> Run:
        """Train to the end, or raise Stopped after SIGTERM or SIGUSR1 with a checkpoint written.

        Raises Diverged if weights or losses are not finite, or if no epoch could be validated with a finite error.
        """
        handlers = dict.fromkeys((signal.SIGTERM, signal.SIGUSR1), self._ask_to_stop)
        steps = progress(self._total_steps(), self.run.step, shown=processes.rank() == 0)
        with handling(handlers), steps as bar:
            while not self._finished():
                self._epoch(bar, preview)
        if not self.run.best:
            raise self._diverged(f"{self.validation.criterion} of every epoch", self.run.epoch)
        if processes.rank() == 0:
            self.best_path.unlink(missing_ok=True)
        return self.run

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _steps_per_epoch(self) -> int:
        sources = sum(SOURCE in store.sides for store in self.train_stores)
        total = (len(self.redraw) if self.redraw else sources) * self.options.per_volume
        return max(total // (self.method.batch_size * self.options.accumulate), 1)

    def _total_steps(self) -> int:
        steps = self.options.epochs * self._steps_per_epoch()
        return steps if self.options.max_steps is None else min(steps, self.options.max_steps)

    def _finished(self) -> bool:
        patience = self.options.patience
        waited = patience is not None and self.run.epoch - self._lowest_epoch() >= patience
        return waited or self.run.step >= self._total_steps()

    def _lowest_epoch(self) -> int:
        """The first epoch whose validation error no other has undercut; 0 if none was finite."""
        values = {int(row["epoch"]): row[self.validation.criterion] for row in self.run.history}
        finite = [epoch for epoch, value in values.items() if math.isfinite(value)]
        return min(finite, key=lambda epoch: values[epoch], default=0)

    def _epoch(self, bar: Bar, preview: Preview | None) -> None:
        run, options = self.run, self.options
        sampling = Sampling(
            options.patch, options.per_volume, options.foreground, options.seed, self.method.scale, options.brain_share
        )
        started = time.monotonic()
        stores = self.redraw.drawn(run.epoch) if self.redraw else self.train_stores
        patches = draw(stores, sampling, run.epoch)
        parts = options.accumulate
        self.method.train()
        rates = self._set_learning_rates()
        # This process's part of the batches of every step.
        shares = range(processes.rank(), parts, processes.count())
        batches = (step * parts + part for step in range(run.position, self._steps_per_epoch()) for part in shares)
        size = self.method.batch_size
        indices = [batch * size + number for batch in batches for number in range(size)]
        finite = True
        for number, batch in enumerate(load(self.method, patches, indices, self.device, options.workers)):
            self.optimisers.part = number % len(shares)
            if self.optimisers.part == 0:
                rates = self._set_learning_rates()
            batch = to_device(self.method, batch, self.device)
            batch = self.method.augment(batch, (options.seed, run.step * parts + shares[self.optimisers.part]))
            with autocast(self.device, self.dtype):
                losses = self.method.training_step(batch, self.optimisers.update)
            values = {name: float(value) for name, value in losses.items()}
            run.means.add(values)
            # With a loss scaler no step is taken where gradients overflow, and the next batch may be a good one.
            finite = finite and (self.scaler.is_enabled() or all(map(math.isfinite, values.values())))
            if self.optimisers.part + 1 < len(shares):
                continue
            self.optimisers.finish()
            run.step += 1
            run.position += 1
            if self.average:
                self.average.update(run.step)
            bar.update()
            if options.log_every and run.step % options.log_every == 0:
                shown = ", ".join(f"{name} {value:.4g}" for name, value in run.means.means().items())
                logging.info("epoch %d, step %d: %s", run.epoch + 1, run.step, shown)
            stop, diverged = processes.any_of_each(self._stop, not finite)
            if diverged:
                raise self._diverged("a loss")
            if stop:
                run.seconds += time.monotonic() - started
                processes.average_statistics(self.method)
                self._require_finite()
                run.means = processes.added(run.means)
                self._save()
                raise Stopped(f"stopped by the scheduler after step {run.step}; the same command continues from there")
            if self._finished():
                break
        processes.average_statistics(self.method)
        self._require_finite()
        with self.average.applied() if self.average else nullcontext():
            self._close_epoch(bar, rates, started, preview)
        if run.epoch % options.save_every == 0 or self._finished():
            self._save()
            if processes.rank() == 0:
                write_history(self.folder / "history.tsv", run.history)

    def _close_epoch(self, bar: Bar, rates: dict[str, float], started: float, preview: Preview | None) -> None:
        """Validate, remember the weights to keep, draw; with averaged weights these are what is looked at and kept."""
        run, options = self.run, self.options
        criterion = self.validation.criterion
        measured = self.validation.measure() if processes.rank() == 0 else {criterion: 0.0}
        # All must agree on which epoch was the best.
        measured[criterion] = processes.first(measured[criterion])
        losses = processes.added(run.means).means("train_")
        finite = math.isfinite(measured[criterion])
        if not finite and not all(map(math.isfinite, losses.values())):
            raise self._diverged(f"{criterion}, as some losses before it,")
        if not finite:
            logging.warning("epoch %d: %s is %s; this epoch is not kept", run.epoch + 1, criterion, measured[criterion])
        row = {**rates, **losses, **measured}
        run.seconds += time.monotonic() - started
        run.epoch += 1
        run.history.append({"epoch": run.epoch, "step": run.step, "seconds": round(run.seconds, 3), **row})
        run.position, run.means = 0, RunningMean()
        # What is not finite is never better, and the first epoch that is finite is better than none.
        if finite and (row[criterion] < run.best_value or not run.best or self.method.keep_last):
            run.best_epoch, run.best_value = run.epoch, row[criterion]
            run.best = {name: value.detach().cpu().clone() for name, value in self.method.state_dict().items()}
        bar.set_postfix(epoch=run.epoch, value=f"{row[criterion]:.4f}", best=f"{run.best_value:.4f}")
        if (
            preview is not None
            and finite
            and processes.rank() == 0
            and options.preview_every
            and run.epoch % options.preview_every == 0
        ):
            preview(run.epoch, self.validation.preview())

    def _require_finite(self) -> None:
        """Raise Diverged if a weight is not finite; such weights are neither validated nor kept."""
        name = model.not_finite(self.method.state_dict())
        if name is not None:
            raise self._diverged(f"the weight {name}")

    def _diverged(self, what: str, epoch: int | None = None) -> Diverged:
        """The error that says so, once the weights to be kept so far are in a file.

        `epoch` is the one that is running by default.
        """
        run = self.run
        epoch = run.epoch + 1 if epoch is None else epoch
        kept, which = "no epoch before it is of use", "last" if self.method.keep_last else "best"
        if run.best:
            kept = f"the weights of epoch {run.best_epoch}, the {which} before it, are in {self.best_path.name}"
            if processes.rank() == 0:
                model.save_weights(self.best_path, run.best)
        smaller = "" if self.dtype == torch.float32 else ", or train.precision fp32"
        return Diverged(
            f"the training diverged in epoch {epoch}, step {run.step}: {what} is not finite; choose a lower learning"
            f" rate (lr in method_overrides){smaller}; {kept}"
        )

    def _set_learning_rates(self) -> dict[str, float]:
        """A function of the step alone, so a resumed run has the same rates."""
        epoch, epochs = (steps / self._steps_per_epoch() for steps in (self.run.step, self._total_steps()))
        return self.optimisers.set_rates(epoch, epochs)

    def _save(self) -> None:
        if processes.rank() > 0:
            return
        run = self.run
        state: dict[str, Any] = {
            "key": self.key,
            "method": dict(self.method.state_dict()),
            "optimisers": self.optimisers.state(),
            "average": self.average.values if self.average else {},
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(),
            "run": {**vars(run), "means": [run.means.sums, run.means.counts]},
        }
        checkpoint.save(self.checkpoint_path, state)

    def _restore(self) -> None:
        torch.manual_seed(self.options.seed)
        state = checkpoint.latest(self.checkpoint_path)
        if state is None or state["key"] != self.key:
            return
        kept = {**state["method"], **{f"best {name}": value for name, value in state["run"]["best"].items()}}
        if model.not_finite(kept) is not None:
            # Of a version that took such a training for done.
            logging.warning("%s is of a training that diverged; it starts again", self.checkpoint_path)
            return
        self.method.load_state_dict(state["method"])
        self.optimisers.restore(state["optimisers"])
        if self.average:
            self.average.restore(state["average"])
        self.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"])
        self.run = Run(**{**state["run"], "means": processes.divided(RunningMean(*state["run"]["means"]))})
        logging.info("continues after step %d", self.run.step)
