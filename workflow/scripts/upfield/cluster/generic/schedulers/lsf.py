"""LSF. Memory is that of the whole job; `-wa` and `-wt` send a signal before the time is over."""

from upfield.cluster.generic.asked import Asked
from upfield.cluster.generic.schedulers.scheduler import Scheduler, given


def _options(asked: Asked, log: str) -> list[str]:
    words = ["-J", asked.name, "-o", log, "-rn", "-n", str(asked.cpus), "-R", "span[hosts=1]"]
    words += [*given("-q", asked.queue), *given("-P", asked.account)]
    if asked.mem_mb:
        words += ["-R", f"rusage[mem={asked.mem_mb}MB]", "-M", f"{asked.mem_mb}MB"]
    if asked.minutes:
        words += ["-W", str(asked.minutes)]
        if asked.warning:
            words += ["-wa", "USR1", "-wt", str(max(1, asked.warning // 60))]
    if asked.gpus:
        words += ["-gpu", f"num={asked.gpus}" + (f":gmodel={asked.gpu_type}" if asked.gpu_type else "")]
    return words


LSF = Scheduler(
    "lsf",
    submit="bsub",
    options=_options,
    number=r"^Job <(\d+)> is submitted",
    look=("bjobs", "-noheader", "-o", "stat"),
    over=r"^(DONE|EXIT)\b",
    unknown=r"is not found",
    cancel="bkill",
    tells=True,
    lacks=("qos",),
)
