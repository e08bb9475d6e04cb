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
from torch.utils.data import DataLoader
from tqdm import tqdm

from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.methods.base import Batch, Method
from upfield.patches import Patches, Sampling, Store
from upfield.training import checkpoint
from upfield.training.device import autocast, choose, precision
from upfield.training.log import Means, write_history

Preview = Callable[[int, dict[str, np.ndarray]], None]
# Depth of the slab that a preview is predicted in, voxels.
PREVIEW_DEPTH = 16
# Processes that read patches while a GPU computes; a CPU has no time to spare for them.
GPU_WORKERS = 4


@dataclass(frozen=True)
class Options:
    """What the `train` and `patches` blocks of a study say, for one model."""

    epochs: int
    max_steps: int | None
    seed: int
    device: str
    precision: str
    save_every: int
    # Voxels of the working grid; a whole slice (X, Y, 1) for a 2-D method.
    patch: tuple[int, int, int]
    per_volume: int
    per_volume_val: int
    foreground: float


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
        self.train_stores, self.val_stores = list(train), list(val)
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
        for batch in self._loader(patches, range(run.position * batch_size, self._steps_per_epoch() * batch_size)):
            rates = self._set_learning_rates()
            batch = self.method.augment(self._to_device(batch), (options.seed, run.step))
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
        row = {**rates, **run.means.means("train_"), **self._validate()}
        run.seconds += time.monotonic() - started
        run.epoch += 1
        run.history.append({"epoch": run.epoch, "step": run.step, "seconds": round(run.seconds, 3), **row})
        run.position, run.means = 0, Means()
        if row["val_mae"] < run.best_value or not run.best:
            run.best_epoch, run.best_value = run.epoch, row["val_mae"]
            run.best = {name: value.detach().cpu().clone() for name, value in self.method.state_dict().items()}
        bar.set_postfix(epoch=run.epoch, val_mae=f"{row['val_mae']:.4f}", best=f"{run.best_value:.4f}")
        if preview is not None:
            preview(run.epoch, self._preview())
        if run.epoch % options.save_every == 0 or self._finished():
            self._save()
            write_history(self.folder / "history.tsv", run.history)

    def _loader(self, patches: Patches, indices: Sequence[int]) -> DataLoader[Batch]:
        # A patch depends on its index alone, so workers change nothing but the speed.
        workers = GPU_WORKERS if self.device.type == "cuda" else 0
        wrapped = [index % len(patches) for index in indices]
        return DataLoader(
            patches,
            batch_size=self.method.batch_size,
            sampler=wrapped,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            # Of its own: an iterator draws from it, and resuming amid an epoch would shift torch's for ever.
            generator=torch.Generator(),
        )

    def _to_device(self, batch: Batch) -> Batch:
        return {name: self._image(value).to(self.device, non_blocking=True) for name, value in batch.items()}

    def _image(self, value: Tensor) -> Tensor:
        """An image as the method takes it: a 2-D method's slices (..., X, Y, 1) without their last axis."""
        return value.squeeze(-1) if self.method.dims == 2 and value.ndim > 1 else value

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

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Mean absolute error and PSNR in the brain, over the same patches every time."""
        options = self.options
        sampling = Sampling(options.patch, options.per_volume_val, 1.0, options.seed, self.method.scale)
        patches = Patches(self.val_stores, sampling, 0)
        means = Means()
        self.method.eval()
        for batch in map(self._to_device, self._loader(patches, range(len(patches)))):
            with autocast(self.device, self.dtype):
                output = self.method(batch["source"]).float()
            for i in range(len(output)):
                inside = batch["mask"][i] > 0
                error = (output[i] - batch["target"][i])[inside]
                mse = float((error**2).mean())
                psnr = 10 * np.log10(float(batch["range"][i]) ** 2 / max(mse, 1e-12))
                means.add({"mae": float(error.abs().mean()), "psnr": float(psnr)})
        self.method.train()
        return means.means("val_")

    @torch.no_grad()
    def _preview(self) -> dict[str, np.ndarray]:
        """Input, output and truth of the middle axial slice of the first validation volume, each (X, Y).

        The voxels of an input that is coarser than the truth are repeated.
        """
        store, scale = self.val_stores[0], self.method.scale
        unit = self.method.unit
        depth = -(-PREVIEW_DEPTH // unit[2]) * unit[2] if self.method.dims == 3 else 1
        shape = [-(-size // multiple) * multiple for size, multiple in zip(store.shape[:2], unit, strict=False)]
        low = (store.shape[2] - depth) // 2 // scale[2] * scale[2]
        box = store.read((0, 0, low), (*shape, depth), scale)
        self.method.eval()
        with autocast(self.device, self.dtype):
            output = self.method(self._image(box["source"][None]).to(self.device)).float().cpu()[0]
        self.method.train()
        source = box["source"]
        for axis, factor in enumerate(scale, start=1):
            source = source.repeat_interleave(factor, dim=axis)
        panels = {"input": source, "output": output.reshape(box["target"].shape), "truth": box["target"]}
        x, y = store.shape[:2]
        return {name: value[0, :x, :y, depth // 2].numpy() for name, value in panels.items()}

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
