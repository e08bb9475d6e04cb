"""What a job asks of a scheduler, whichever it is: from the resources of its rule and the site file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from upfield.errors import UpfieldError

if TYPE_CHECKING:
    from upfield.cluster.site import Partition, Site

# Job names of every scheduler hold these.
_ODD = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class Asked:
    """One submission: `minutes`, `mem_mb` (MB of the whole job, 0: not asked), `warning` in s before the end, or 0."""

    name: str
    minutes: int
    mem_mb: int
    cpus: int
    gpus: int = 0
    gpu_type: str | None = None
    queue: str | None = None
    account: str | None = None
    qos: str | None = None
    warning: int = 0
    # What Grid Engine calls its parallel environment, memory and GPUs at this site.
    sge: Mapping[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        """The time as hours:minutes:seconds."""
        return f"{self.minutes // 60:02d}:{self.minutes % 60:02d}:00"


def asked(properties: Mapping[str, Any], site: "Site", strict: bool = True) -> Asked:
    """What a job or group asks for; raises UpfieldError if no queue of the site file takes it.

    Parameters
    ----------
    properties
        Of Snakemake's job: `rule` or `groupid`, `threads`, and `resources` under the names of the Slurm plugin.
    site
        The site file; its partitions are the queues.
    strict
        False: what no queue takes is given to that which allows most.

    """
    resources = properties["resources"]
    gpus, gpu_type = _gpus(resources)
    wanted = Asked(
        "upfield_" + _ODD.sub("_", str(properties.get("groupid") or properties["rule"])).strip("_"),
        minutes=int(resources.get("runtime") or 0),
        mem_mb=int(resources.get("mem_mb") or 0),
        cpus=int(properties["threads"]),
        gpus=gpus,
        gpu_type=gpu_type,
        account=resources.get("slurm_account"),
        qos=resources.get("qos"),
        warning=_warning(str(resources.get("slurm_extra", ""))),
        sge=site.sge,
    )
    queue = resources.get("slurm_partition") or _queue(wanted, site, strict)
    return Asked(**vars(wanted) | {"queue": queue})


def _queue(wanted: Asked, site: "Site", strict: bool) -> str | None:
    """The first queue of the site file that takes a job, those without GPUs before those with; None without queues."""
    if not site.partitions:
        return None
    fitting = [found for found in site.partitions if _fits(wanted, found)]
    if not fitting and not strict:
        return max(site.partitions, key=lambda found: (found.gpus >= wanted.gpus, found.minutes, found.mem_mb)).name
    if not fitting:
        raise UpfieldError(
            f"no queue of {site.file} takes {wanted.name}: {wanted.minutes} minutes, {wanted.mem_mb / 1000:g} GB of "
            f"memory, {wanted.cpus} CPUs and {wanted.gpus} GPUs are asked for; correct its partitions, put fewer in a "
            "group (group-components), or ask for less (--set-resources)"
        )
    return min(fitting, key=lambda found: found.gpus > 0).name


def _fits(wanted: Asked, queue: "Partition") -> bool:
    return (
        wanted.minutes <= queue.minutes
        and wanted.mem_mb <= queue.mem_mb
        and wanted.cpus <= queue.cpus
        and wanted.gpus <= queue.gpus
    )


def _gpus(resources: Mapping[str, Any]) -> tuple[int, str | None]:
    """How many GPUs and of which type: `gpu: 1, gpu_model: a100` or `gres: gpu:a100:1`."""
    count, kind = int(resources.get("gpu") or 0), resources.get("gpu_model") or None
    match = re.fullmatch(r"gpu(?::([^:]*[^:\d][^:]*))?(?::(\d+))?", str(resources.get("gres") or ""))
    return (int(match[2] or 1), match[1]) if match else (count, kind)


def _warning(extra: str) -> int:
    """Seconds before its end at which a job wants to be told, from Slurm's `--signal=USR1@600`; 0 if it does not."""
    match = re.search(r"--signal=(?:\w*:)?USR1@(\d+)", extra)
    return int(match[1]) if match else 0
