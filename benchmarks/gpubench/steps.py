"""Whole trainings by the library's own loop: from stores to a model folder, also in another process, also killed."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from upfield.training.data import Options
from upfield.training.optimisers import Optimisers
from upfield.training.run import train_model

from gpubench.bench import Job
from gpubench.cases import DEFAULT, settings
from gpubench.heads import parts_of

EPOCHS = 3
# Of the training rules; a checkpoint of another version would not be continued, and here there is one.
VERSION = 1


def train_block(job: Job, *, epochs: int, precision: str = "auto", max_steps: int | None = None) -> dict[str, Any]:
    """The block `train` of a study."""
    return {
        "epochs": epochs, "max_steps": max_steps, "seed": 42, "device": job.device, "precision": precision,
        "save_every": 1, "ema": 0.0, "accumulate": 1, "patience": None, "layer_lr": {}, "workers": None,
        "processes": 1, "log_every": None, "preview_every": 0,
    }  # fmt: skip


def options(job: Job, method: Any, *, per_volume: int, epochs: int, precision: str = "auto") -> Options:
    """What the training loop is told, for a method and the sizes of the form."""
    form = job.form
    patch = (form.cube,) * 3 if method.dims == 3 else (form.slice, form.slice, 1)
    return Options(
        **train_block(job, epochs=epochs, precision=precision), patch=patch, patch_val=patch, per_volume=per_volume,
        per_volume_val=2, foreground=0.9, brain_share=0.0,
    )  # fmt: skip


def train(job: Job, folder: Path, kill_after: int | None = None) -> None:
    """Train the default method for a few epochs; with `kill_after` this process is killed after so many steps."""
    form = job.form
    values = settings(DEFAULT, small=form.small, batch=form.batch)
    stores = parts_of(job.work)
    per_volume = -(-form.epoch_steps * values["batch_size"] // len(stores["train"]))
    if kill_after is not None:
        _kill_after(kill_after)
    train_model(
        folder,
        method=DEFAULT,
        version=VERSION,
        settings=values,
        train=train_block(job, epochs=EPOCHS, max_steps=EPOCHS * form.epoch_steps),
        patches={
            "size": form.cube,
            "per_volume": per_volume,
            "per_volume_val": 1,
            "foreground": 0.9,
            "brain_share": 0.0,
        },
        stores={part: stores[part] for part in ("train", "val")},
        card={"split_sha": "benchmark"},
    )


def started(job: Job, folder: Path, kill_after: int | None = None) -> Any:
    """`train` in another process, which has been started."""
    # Nothing has touched a GPU in this process yet where it forks; a fork of one that has could not use it.
    context: Any = get_context("spawn" if job.device == "cuda" else "fork")
    process = context.Process(target=train, args=(job, folder, kill_after))
    process.start()
    return process


def ended(processes: Sequence[Any], left: Callable[[], float]) -> list[int | None]:
    """Wait for processes; their exit codes, None for those that had to be killed since no time was left."""
    for process in processes:
        process.join(max(left(), 0))
    codes = [process.exitcode for process in processes]
    for process in processes:
        if process.exitcode is None:
            process.kill()
    return codes


def weights(folder: Path) -> Mapping[str, Tensor]:
    """The weights of a model folder."""
    return load_file(folder / "model.safetensors")


def _kill_after(steps: int) -> None:
    """Let this process be killed, as by a machine that fails, when so many steps have been taken."""
    finish, taken = Optimisers.finish, [0]

    def counted(self: Optimisers) -> None:
        finish(self)
        taken[0] += 1
        if taken[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    Optimisers.finish = counted  # type: ignore[method-assign]
