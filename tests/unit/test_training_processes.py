"""Several processes that train one model: the same steps as one process with the same batches.

Run as a script, this file starts torchrun, and is what torchrun starts.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from upfield.files import read_json, read_tsv
from upfield.patches import write_store
from upfield.study.config import method_settings
from upfield.training import processes
from upfield.training.log import RunningMean
from upfield.training.run import train_model

SMALL = {"base": 2, "levels": 1, "lr": 1e-2, "batch_size": 1}
TRAIN = {
    "epochs": 3, "seed": 7, "device": "cpu", "precision": "fp32", "max_steps": None, "patience": None, "accumulate": 2,
    "ema": 0.0, "layer_lr": {}, "save_every": 1, "preview_every": 1, "log_every": None, "workers": None, "processes": 1,
}  # fmt: skip


def train(folder, stores, **options):
    torch.set_num_threads(1)
    train_model(
        Path(folder),
        method="unet3d",
        version=1,
        settings=method_settings({"method_overrides": {"unet3d": SMALL}}, "unet3d"),
        train=TRAIN | options,
        patches={"per_volume": 4, "per_volume_val": 2, "foreground": 0.9, "brain_share": 0.0, "size": 12},
        stores=stores,
        card={"fold": "0", "split_sha": "abc"},
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Three participants to train on, one to validate with."""
    folder = tmp_path_factory.mktemp("stores")
    paths = []
    for number in range(4):
        random = np.random.default_rng(number)
        target = random.uniform(0.2, 1, (16, 16, 16)).astype(np.float32)
        paths.append(folder / f"sub-{number}.safetensors")
        write_store(paths[-1], target * 0.5 + 0.1, target, np.ones_like(target, bool), 1.0)
    return {"train": [str(path) for path in paths[:3]], "val": [str(paths[3])]}


def together(count, folder, stores, **options):
    """Start this file in `count` processes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRAINING": json.dumps([count, str(folder), stores, options])}
    return subprocess.Popen([sys.executable, __file__], env=environment)


def compare(ours, other):
    """Histories and weights of two folders agree within the rounding of sums."""
    histories = [read_tsv(folder / "history.tsv").drop(columns="seconds") for folder in (ours, other)]
    np.testing.assert_allclose(*histories, rtol=1e-3, atol=1e-5)
    weights = [load_file(folder / "model.safetensors") for folder in (ours, other)]
    for name, value in weights[0].items():
        if value.is_floating_point():  # not how many batches were counted
            torch.testing.assert_close(value, weights[1][name], rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def alone(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train(folder, stores)
    return folder


def test_two_processes_reach_the_loss_of_one_with_the_same_batches(alone, stores, tmp_path):
    assert together(2, tmp_path, stores).wait(120) == 0
    compare(tmp_path, alone)
    assert [read_json(folder / "model.json")["processes"] for folder in (tmp_path, alone)] == [2, 1]
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_stopped_processes_leave_one_checkpoint_that_one_process_continues_from(alone, stores, tmp_path, number):
    # More epochs than can pass before the signal; the run that follows is told the right number.
    started = together(2, tmp_path, stores, max_steps=18, epochs=3)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").is_file():
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.01)
    # As Slurm does it: to every process of the job.
    family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
    for process in family:
        process.send_signal(number)
    assert started.wait(120) > 0, "the first process outlives the signal, and fails"
    assert not any(process.is_running() for process in family), "it ends last"
    assert not list(tmp_path.glob(".tmp-*"))
    train(tmp_path, stores, max_steps=18)
    compare(tmp_path, alone)


def test_steps_that_cannot_be_shared_are_refused(stores, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with refused("train.accumulate is 3", "multiple of 2"):
        train(tmp_path, stores, accumulate=3)


def test_a_single_process_needs_no_partner(monkeypatch):
    assert not processes.launch(1, "no-such-script.py")
    monkeypatch.setenv("RANK", "0")
    assert not processes.launch(2, "no-such-script.py")
    assert processes.any_of(True) and not processes.any_of(False)
    assert processes.first(0.5) == 0.5
    assert processes.added(RunningMean({"loss": 3.0}, {"loss": 2})).means() == {"loss": 1.5}


def test_failed_process_ends_the_run_with_one_line(tmp_path, refused):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(3)\n")
    with refused("ended early", "continues from the checkpoint"):
        processes.launch(2, str(script))


def test_processes_are_spread_evenly_over_the_nodes_of_a_job(monkeypatch, refused):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    with refused("train.processes is 3", "2 nodes"):
        processes.launch(3, "script.py")


if __name__ == "__main__":
    processes_wanted, where, data, changes = json.loads(os.environ["TRAINING"])
    if not processes.launch(processes_wanted, __file__):
        train(where, data, **changes)
