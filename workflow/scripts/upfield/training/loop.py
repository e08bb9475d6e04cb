"""The training loop of every method.

One epoch draws its patches, takes its steps, validates on fixed patches, remembers the best weights and writes a
checkpoint. A run that is killed and started again continues from its checkpoint and ends with the same weights as
one that was never interrupted (same machine, same number of threads).
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.methods.base import Method
from upfield.patches import Patches, Sampling, Store
from upfield.training import checkpoint
from upfield.training.device import autocast, choose, precision
from upfield.training.feed import Options, load, to_device
from upfield.training.log import Means, write_history
from upfield.training.validation import Validation

Preview = Callable[[int, dict[str, np.ndarray]], None]


@dataclass
class Run:
    """Everything that changes while training, besides networks and optimisers."""

    epoch: int = 0
    position: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    means: Means = field(default_factory=Means)
    best_epoch: int = 0
    best_value: float = float("inf")
    best: dict[str, Tensor] = field(default_factory=dict)


def _channels_last(method: Method) -> Method:
    """Weights of 3-D networks with channels innermost: a third faster on CPUs, and what tensor cores want."""
    return method.to(memory_format=torch.channels_last_3d) if method.dims == 3 else method  # type: ignore[call-overload]


class Stopped(UpfieldError):
    """The scheduler asked to stop; a checkpoint was written and the same command continues from it."""


class Trainer:
    """Trains one method on patch stores; everything it writes goes to `folder`."""

    def __init__(
        self, method: Method, train: Sequence[Store], val: Sequence[Store], options: Options, folder: Path, key: str
    ) -> None:
        """Restore the checkpoint in `folder` if it is of the same run: `key` stands for settings and data."""
        self.options = options
        self.device = choose(options.device)
        self.dtype = precision(options.precision, self.device)
        self.method = _channels_last(method.to(self.device))
        self.plans = method.plans()
        self.optimizers = {
            name: torch.optim.Adam(plan.parameters, lr=plan.lr, betas=plan.betas) for name, plan in self.plans.items()
        }
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.train_stores = list(train)
        self.validation = Validation(self.method, val, options, self.device, self.dtype)
        self.folder = folder
        self.key = digest([key, asdict(options), str(self.dtype)])
        self.run = Run()
        self._stop = False
        self._restore()

    @property
    def checkpoint_path(self) -> Path:
        """Beside the model, not declared to Snakemake, which would delete it when a job fails."""
        return self.folder / "checkpoint.safetensors"

    def fit(self, preview: Preview | None = None) -> Run:
        """Train to the end, or raise Stopped after SIGTERM or SIGUSR1 with a checkpoint written."""
        signals = (signal.SIGTERM, signal.SIGUSR1)
        old = {number: signal.signal(number, self._ask_to_stop) for number in signals}
        try:
            with tqdm(total=self._total_steps(), initial=self.run.step, desc="training", unit="step") as bar:
                while not self._finished():
                    self._epoch(bar, preview)
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
        return self.run

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _steps_per_epoch(self) -> int:
        total = len(self.train_stores) * self.options.per_volume
        return max(total // self.method.batch_size, 1)

    def _total_steps(self) -> int:
        steps = self.options.epochs * self._steps_per_epoch()
        return steps if self.options.max_steps is None else min(steps, self.options.max_steps)

    def _finished(self) -> bool:
        return self.run.step >= self._total_steps()

    def _epoch(self, bar: tqdm, preview: Preview | None) -> None:
        run, options = self.run, self.options
        sampling = Sampling(options.patch, options.per_volume, options.foreground, options.seed, self.method.scale)
        patches = Patches(self.train_stores, sampling, run.epoch)
        batch_size = self.method.batch_size
        started = time.monotonic()
        self.method.train()
        rates = self._set_learning_rates()
        indices = range(run.position * batch_size, self._steps_per_epoch() * batch_size)
        for batch in load(self.method, patches, indices, self.device):
            rates = self._set_learning_rates()
            batch = self.method.augment(to_device(self.method, batch, self.device), (options.seed, run.step))
            with autocast(self.device, self.dtype):
                losses = self.method.training_step(batch, self._update)
            run.means.add({name: float(value) for name, value in losses.items()})
            run.step += 1
            run.position += 1
            bar.update()
            if self._stop:
                run.seconds += time.monotonic() - started
                self._save()
                raise Stopped(f"stopped by the scheduler after step {run.step}; the same command continues from there")
            if self._finished():
                break
        row = {**rates, **run.means.means("train_"), **self.validation.measure()}
        run.seconds += time.monotonic() - started
        run.epoch += 1
        run.history.append({"epoch": run.epoch, "step": run.step, "seconds": round(run.seconds, 3), **row})
        run.position, run.means = 0, Means()
        if row["val_mae"] < run.best_value or not run.best:
            run.best_epoch, run.best_value = run.epoch, row["val_mae"]
            run.best = {name: value.detach().cpu().clone() for name, value in self.method.state_dict().items()}
        bar.set_postfix(epoch=run.epoch, val_mae=f"{row['val_mae']:.4f}", best=f"{run.best_value:.4f}")
        if preview is not None:
            preview(run.epoch, self.validation.preview())
        if run.epoch % options.save_every == 0 or self._finished():
            self._save()
            write_history(self.folder / "history.tsv", run.history)

    def _set_learning_rates(self) -> dict[str, float]:
        """A function of the step alone, so a resumed run has the same rates."""
        epoch, epochs = (steps / self._steps_per_epoch() for steps in (self.run.step, self._total_steps()))
        rates = {}
        for name, plan in self.plans.items():
            rates[f"lr_{name}"] = plan.lr * plan.schedule(epoch, epochs)
            for group in self.optimizers[name].param_groups:
                group["lr"] = rates[f"lr_{name}"]
        return rates

    def _update(self, **losses: Tensor) -> None:
        """See `upfield.methods.base.Update`: every gradient first, then every step, clipped by its norm."""
        for number, (name, loss) in enumerate(losses.items()):
            self.optimizers[name].zero_grad(set_to_none=True)
            scaled = self.scaler.scale(loss)
            scaled.backward(inputs=self.plans[name].parameters, retain_graph=number + 1 < len(losses))
        for name in losses:
            self.scaler.unscale_(self.optimizers[name])
            torch.nn.utils.clip_grad_norm_(self.plans[name].parameters, self.method.gradient_clip)
            self.scaler.step(self.optimizers[name])
        self.scaler.update()

    def _save(self) -> None:
        run = self.run
        state: dict[str, Any] = {
            "key": self.key,
            "method": dict(self.method.state_dict()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(),
            "run": {**vars(run), "means": [run.means.sums, run.means.counts]},
        }
        checkpoint.save(self.checkpoint_path, state)

    def _restore(self) -> None:
        torch.manual_seed(self.options.seed)
        if not self.checkpoint_path.is_file():
            return
        state = checkpoint.load(self.checkpoint_path)
        if state["key"] != self.key:
            return
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"])
        self.run = Run(**{**state["run"], "means": Means(*state["run"]["means"])})
