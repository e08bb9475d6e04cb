"""What comes out does not depend on the cores that a run gives to its jobs."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from upfield import job, step
from upfield.files import read_yaml
from upfield.study import config
from upfield.study.methods import Methods

pytestmark = pytest.mark.usefixtures("framed")
STEPS = {
    "study.steps.train_model": None,
    "predict.enhance.enhance": 2,
    "evaluate.lesions.lesion_test": 2,
    "preprocess.bias.correct_bias": 1,
}
# A training by the adapter's frame, as a rule with so many cores runs it; it prints the weights.
TRAINING = """
import sys
from types import SimpleNamespace
from upfield import step

def train():
    import torch
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv3d(8, 1, 3))
    image = torch.rand(2, 1, 16, 16, 16)
    rule = torch.optim.Adam(layers.parameters(), 1e-2)
    for _ in range(3):
        rule.zero_grad()
        (layers(image) - image[..., 2:-2, 2:-2, 2:-2]).abs().mean().backward()
        rule.step()
    print(torch.get_num_threads(), *(p.detach().numpy().tobytes().hex() for p in layers.parameters()))

class Files(dict):
    __getattr__ = dict.__getitem__

step.load = lambda name: train
step.run(SimpleNamespace(
    threads=int(sys.argv[1]), log=["log.txt"], rule="train_model", wildcards={}, input=Files(), output=Files(),
    params=Files(step="study.steps.train_model"), resources=SimpleNamespace(mem_mb=1000),
    config={"train": {"threads": int(sys.argv[2]) or None}},
))
"""


def trained(folder, cores, threads):
    command = [sys.executable, "-c", TRAINING, str(cores), str(threads)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("threads", [0, 2], ids=["default", "two threads"])
def test_one_core_and_two_give_equal_weights(tmp_path, threads):
    one, two = (trained(tmp_path, cores, threads) for cores in (1, 2))
    assert one == two
    assert int(one[0]) == (threads or min(step.MOST_THREADS, os.cpu_count()))


@pytest.mark.parametrize(("name", "threads"), STEPS.items(), ids=list(STEPS))
def test_threads_are_the_steps_own_or_a_setting(name, threads, monkeypatch):
    said = step.declared(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    usual, set_by_user = ({"train": {"threads": number}} for number in (None, 5))
    assert said.computes_with(usual) == (threads or 3)
    assert said.computes_with(set_by_user) == (threads or 5)
    assert said.cores(usual) == (threads or step.MOST_THREADS)
    assert said.cores(set_by_user) == (threads or 5)


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_the_libraries_get_the_steps_threads_whatever_the_job_has(tmp_path, cores):
    rule = SimpleNamespace(threads=cores, log=[tmp_path / "log.txt"], rule="r", wildcards={}, output=[])
    with job.job(rule, 2):
        assert {os.environ[name] for name in job.THREAD_VARIABLES} == {"2"}


def test_processes_of_one_training_share_its_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with job.job(SimpleNamespace(threads=1, log=[tmp_path / "log.txt"], rule="r", wildcards={}, output=[]), 8):
        assert os.environ["OMP_NUM_THREADS"] == "2"


def test_another_number_of_threads_is_no_reason_to_train_again():
    given = {**read_yaml(config.ROOT / "config" / "config.yaml"), "methods": ["unet3d"]}
    other = {**given, "train": {**given["train"], "threads": 3}}
    assert Methods(given, True).training("unet3d") == Methods(other, True).training("unet3d")
    assert "threads" not in Methods(given, True).training("unet3d")
