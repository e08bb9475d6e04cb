"""Slurm without its plugin: for sites whose Slurm the plugin does not get on with, and to try the rest for real."""

from upfield.cluster.generic.asked import Asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler


def _options(asked: Asked, log: str) -> list[str]:
    gpu = ":".join(["gpu", *([asked.gpu_type] if asked.gpu_type else []), str(asked.gpus)])
    optional = {
        "partition": asked.queue,
        "account": asked.account,
        "qos": asked.qos,
        "mem": f"{asked.mem_mb}M" if asked.mem_mb else None,
        "time": str(asked.minutes) if asked.minutes else None,
        "gres": gpu if asked.gpus else None,
    }
    return [
        *("--parsable", f"--job-name={asked.name}", f"--output={log}", "--no-requeue", "--nodes=1", "--ntasks=1"),
        f"--cpus-per-task={asked.cpus}",
        *(f"--{option}={value}" for option, value in optional.items() if value),
    ]


# The signal of `--signal` goes to steps or to the shell of a job; there are no steps here, so it tells nobody.
SLURM = Scheduler(
    "slurm",
    submit="sbatch",
    options=_options,
    number=r"^(\d+)",
    look=("squeue", "--noheader", "--format=%T", "--jobs"),
    over=r"^(COMPLETED|FAILED|CANCELLED|TIMEOUT|PREEMPTED|NODE_FAIL|OUT_OF_MEMORY|BOOT_FAIL|DEADLINE)",
    unknown=r"invalid job id",
    cancel="scancel",
)
