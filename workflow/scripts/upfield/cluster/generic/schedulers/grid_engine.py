"""Grid Engine: Sun's, Son of, Univa's, Altair's.

Parallel environments, memory and GPUs are named by each site (`sge` in the site file). Memory is asked for per slot. At
the soft limit of time (s_rt) SIGUSR1 is sent, and the job is ended after the queue's `notify`, which is a minute unless
the site changed it.
"""

import math

from upfield.cluster.generic.asked import Asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler, given

NAMES = {"environment": "smp", "memory": "mem_free", "gpu": "gpu"}
# The soft limit lies at most so many seconds before the hard one: what lies between them is lost.
NOTICE = 120


def _options(asked: Asked, log: str) -> list[str]:
    names = NAMES | dict(asked.sge)
    limits = []
    if asked.minutes:
        limits.append(f"h_rt={60 * asked.minutes}")
        if asked.warning:
            limits.append(f"s_rt={60 * asked.minutes - min(asked.warning, NOTICE)}")
    if asked.mem_mb:
        limits.append(f"{names['memory']}={math.ceil(asked.mem_mb / asked.cpus)}M")
    if asked.gpus:
        limits.append(f"{names['gpu']}={asked.gpus}")
    return [
        *("-terse", "-N", asked.name, "-j", "y", "-o", log, "-cwd", "-r", "n", "-V", "-S", "/bin/sh"),
        *given("-q", asked.queue),
        *given("-P", asked.account),
        *(["-pe", names["environment"], str(asked.cpus)] if asked.cpus > 1 else []),
        *(["-l", ",".join(limits)] if limits else []),
    ]


SGE = Scheduler(
    "sge",
    submit="qsub",
    options=_options,
    number=r"^(\d+)\s*$",
    look=("qstat", "-j"),
    # What is over is not known any more.
    over=None,
    unknown=r"jobs? do(es)? not exist",
    cancel="qdel",
    tells=True,
    # State Eqw: it could not be started, and stays.
    stuck=r"^error reason .*",
    lacks=("qos", "gpu_type"),
)
