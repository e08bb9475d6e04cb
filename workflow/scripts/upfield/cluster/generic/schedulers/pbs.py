"""PBS: OpenPBS and PBS Professional, and Torque, which asks for nodes in its own way.

Neither tells a job that its time is nearly over; at the end comes SIGTERM, and SIGKILL some seconds later (kill_delay).
"""

from dataclasses import replace

from upfield.cluster.generic.asked import Asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler, given

# Longer names are refused by older ones.
NAME = 15


def _options(asked: Asked, log: str) -> list[str]:
    chunk = [f"select=1:ncpus={asked.cpus}"]
    chunk += [f"mem={asked.mem_mb}mb"] * bool(asked.mem_mb) + [f"ngpus={asked.gpus}"] * bool(asked.gpus)
    return [*_common(asked, log), "-l", ":".join(chunk), *_time(asked)]


def _torque_options(asked: Asked, log: str) -> list[str]:
    nodes = [f"nodes=1:ppn={asked.cpus}", *([f"gpus={asked.gpus}"] if asked.gpus else [])]
    # A type of GPU is a property of its nodes.
    nodes += [asked.gpu_type] if asked.gpus and asked.gpu_type else []
    memory = ["-l", f"mem={asked.mem_mb}mb"] if asked.mem_mb else []
    quality = ["-l", f"qos={asked.qos}"] if asked.qos else []
    return [*_common(asked, log), "-l", ":".join(nodes), *memory, *_time(asked), *quality]


def _common(asked: Asked, log: str) -> list[str]:
    words = ["-N", asked.name[:NAME], "-j", "oe", "-o", log, "-r", "n", "-V", "-S", "/bin/sh"]
    return [*words, *given("-q", asked.queue), *given("-A", asked.account)]


def _time(asked: Asked) -> list[str]:
    return ["-l", f"walltime={asked.clock}"] if asked.minutes else []


PBS = Scheduler(
    "pbs",
    submit="qsub",
    options=_options,
    number=r"^(\d+\S*)\s*$",
    look=("qstat", "-f"),
    over=r"^\s*job_state = [FX]",
    unknown=r"unknown job id|job has finished",
    cancel="qdel",
    lacks=("qos", "gpu_type"),
)
TORQUE = replace(
    PBS, name="torque", options=_torque_options, over=r"^\s*job_state = C", unknown=r"unknown job id", lacks=()
)
