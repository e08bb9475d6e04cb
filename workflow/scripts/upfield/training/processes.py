"""One training by several processes on one machine or several, started by torchrun: they share the batches of a step.

Every process holds the whole model and takes its part of the `accumulate` batches whose gradients make a step; the
gradients are added up, so all take the same step. But for the rounding of sums the weights are those of one process.
The first process alone validates and writes files.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from upfield.errors import UpfieldError
from upfield.job import handling
from upfield.training.log import RunningMean

# Of the rendezvous of several machines.
PORTS = range(29500, 30500)
# How long torchrun waits for processes that it told to end.
CHECKPOINT_SECONDS = 300


def launch(processes: int, script: str) -> bool:
    """Run `script` in so many processes and wait for them; False if this is one of them, or the only one.

    Under Slurm they are spread evenly over the nodes of the job. SIGTERM and SIGUSR1, which Slurm sends to all its
    processes, end nothing here: the trainings write a checkpoint and are waited for. Raises UpfieldError if one of them
    fails.
    """
    if processes == 1 or "RANK" in os.environ:
        return False
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if processes % nodes:
        raise UpfieldError(f"config: train.processes is {processes}; expected a multiple of the job's {nodes} nodes")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes // nodes)]
    command += ["--shutdown-timeout", str(CHECKPOINT_SECONDS)]
    if nodes == 1:
        command.append("--standalone")
    else:
        job = os.environ["SLURM_JOB_ID"]
        port = PORTS[int(job) % len(PORTS)]
        each = ["srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        meeting = ["--rdzv-backend", "c10d", "--rdzv-id", job, "--rdzv-endpoint", f"{socket.gethostname()}:{port}"]
        command = [*each, *command, "--nnodes", str(nodes), *meeting]
    # Not by upfield.program, which is for programs of others and keeps what they say: these are Upfield itself, and
    # speak for themselves.
    # torchrun passes SIGTERM on and inherits that SIGUSR1 is ignored; the trainings handle both.
    with handling({signal.SIGTERM: lambda number, frame: None, signal.SIGUSR1: signal.SIG_IGN}):
        failed = subprocess.run([*command, script], check=False).returncode != 0
    if failed:
        raise UpfieldError("a process of the training ended early; the same command continues from the checkpoint")
    return True


def join() -> None:
    """Meet the other processes, if torchrun started this one; each takes a GPU of its own where there are GPUs."""
    if "RANK" in os.environ and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def add_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each parameter's gradient by its sum over the processes."""
    if count() > 1:
        work = [dist.all_reduce(p.grad, async_op=True) for p in parameters if p.grad is not None]
        for handle in work:
            handle.wait()


def scale_norm_momentum(module: torch.nn.Module) -> None:
    """Let batch norms' running statistics move as fast as if this process saw every batch of a step."""
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.momentum is not None:
            part.momentum = 1 - (1 - part.momentum) ** count()


def average_statistics(module: torch.nn.Module) -> None:
    """Replace running statistics by their mean over the processes; they are linear, so now and then is enough."""
    if count() > 1:
        for value in module.buffers():
            if value.is_floating_point():
                dist.all_reduce(value)
                value /= count()


def any_of(flag: bool) -> bool:
    """Whether `flag` is set in any process; all of them must ask."""
    return any_of_each(flag)[0]


def any_of_each(*flags: bool) -> list[bool]:
    """Of several flags at once, whether each is set in any process; all of them must ask."""
    return [bool(value) for value in _reduced([float(flag) for flag in flags])]


def added(means: RunningMean) -> RunningMean:
    """The means over what every process has seen."""
    names = sorted(means.sums)
    values = _reduced([*(means.sums[name] for name in names), *(float(means.counts[name]) for name in names)])
    sums, counts = values[: len(names)], values[len(names) :]
    return RunningMean(dict(zip(names, sums, strict=True)), dict(zip(names, map(round, counts), strict=True)))


def divided(means: RunningMean) -> RunningMean:
    """What `added` gave, on the first process; zeros on the others, so that it is not added up again."""
    return means if rank() == 0 else RunningMean(dict.fromkeys(means.sums, 0.0), dict.fromkeys(means.counts, 0))


def first(value: float) -> float:
    """The number that the first process has; what the others give does not matter."""
    return _reduced([value if rank() == 0 else 0.0])[0]


def _reduced(values: list[float]) -> list[float]:
    if count() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return tensor.tolist()
