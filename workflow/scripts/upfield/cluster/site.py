"""The site file: what is true of a cluster, whatever the study.

It lies outside the study (`~/.config/upfield/site.yaml`, or what UPFIELD_SITE or the config's `site` names): one
file serves all studies of a lab. Its `partitions` are in the format of Snakemake's Slurm plugin, which reads them from
the same file and chooses, for each submission, the partition that fits it best.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upfield.catalogue.rules import raise_first, strict
from upfield.errors import UpfieldError
from upfield.files import read_yaml
from upfield.place import ROOT

SCHEMA = ROOT / "workflow" / "schemas" / "site.schema.yaml"
# Read by the Slurm plugin as well.
PARTITIONS_VARIABLE = "SNAKEMAKE_SLURM_PARTITIONS"
FILE_VARIABLE = "UPFIELD_SITE"
# Kinds of jobs that a site may send to a partition of their own.
KINDS = ("training", "prediction", "other")
_UNITS = {"s": 1 / 60, "m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}


@dataclass(frozen=True)
class Partition:
    """What one submission may have at most in a partition; infinite where the site does not say."""

    name: str
    minutes: float = math.inf
    mem_mb: float = math.inf
    cpus: float = math.inf
    gpus: int = 0
    gpu_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """A cluster as its site file describes it; without a file nothing is capped, and Slurm's defaults are taken."""

    file: Path | None = None
    partitions: tuple[Partition, ...] = ()
    partition: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    qos: str | None = None
    gpu_request: str = "gpu"
    gpu_type: str | None = None
    ask_memory: bool = True
    max_jobs: int | None = None
    modules: tuple[str, ...] = ()
    # For profiles/generic alone.
    scheduler: str | None = None
    sge: Mapping[str, str] = field(default_factory=dict)

    def allowed(self, kind: str, gpus: int) -> tuple[Partition, ...]:
        """The partitions that jobs of a kind may be sent to: the one that is named, or all with as many GPUs."""
        named = self.partition.get(kind)
        if named is not None:
            return tuple(found for found in self.partitions if found.name == named)
        return tuple(found for found in self.partitions if found.gpus >= gpus)

    def most(self, kind: str, gpus: int, what: str) -> float:
        """The most `minutes`, `mem_mb` or `cpus` that one job of a kind may ask for; infinite if nobody said."""
        return max((getattr(found, what) for found in self.allowed(kind, gpus)), default=math.inf)

    def resources(self, kind: str) -> dict[str, str]:
        """Resources of every job of a kind, under the names of the Slurm plugin; the same for a whole group."""
        found = {}
        if self.account is not None:
            found["slurm_account"] = self.account
        if self.qos is not None:
            found["qos"] = self.qos
        if self.partition.get(kind) is not None:
            found["slurm_partition"] = self.partition[kind]
        return found

    def gpus(self, count: int) -> dict[str, int | str]:
        """Resources that ask for so many GPUs, in the site's form; the same names for none as for some."""
        if self.gpu_request == "gres":
            words = ["gpu", *([self.gpu_type] if self.gpu_type else []), str(count)]
            return {"gres": ":".join(words) if count else ""}
        return {"gpu": count, **({"gpu_model": self.gpu_type if count else ""} if self.gpu_type else {})}


def find(named: str | None, environment: Mapping[str, str], required: bool = True) -> Path | None:
    """The site file: that which the config names, that of UPFIELD_SITE, or the user's own; None where there is none.

    Raises UpfieldError if one that is named does not exist, unless it is not `required`.
    """
    for origin, path in (("site in the config", named), (FILE_VARIABLE, environment.get(FILE_VARIABLE))):
        if path:
            found = Path(path).expanduser().absolute()
            if found.is_file():
                return found
            if required:
                raise UpfieldError(f"{origin} names {path}, where no file is; make one with the target propose_site")
    own = default_file(environment)
    return own if own is not None and own.is_file() else None


def default_file(environment: Mapping[str, str]) -> Path | None:
    """Where a user's own site file lies; None without a home."""
    folder = environment.get("XDG_CONFIG_HOME")
    home = environment.get("HOME")
    if not folder and not home:
        return None
    return (Path(folder) if folder else Path(str(home)) / ".config") / "upfield" / "site.yaml"


def read(file: Path | None) -> Site:
    """Read a site file; raises UpfieldError with the file's name for what no site can be."""
    if file is None:
        return Site()
    content = read_yaml(file, labels=("account", "qos", "partition"))
    if not isinstance(content, Mapping):
        raise UpfieldError(f"{file}: a site file is a mapping (partitions, account, …), found {type(content).__name__}")
    raise_first(strict(read_yaml(SCHEMA)).iter_errors(dict(content)), str(file))
    gpu = content.get("gpu") or {}
    partition = content.get("partition") or {}
    site = Site(
        file=file,
        partitions=tuple(_partition(str(name), limits or {}, file) for name, limits in content["partitions"].items()),
        partition=dict.fromkeys(KINDS, partition) if isinstance(partition, str) else dict(partition),
        account=content.get("account"),
        qos=content.get("qos"),
        gpu_request=gpu.get("request", "gpu"),
        gpu_type=gpu.get("type"),
        ask_memory=content.get("ask_memory", True),
        max_jobs=content.get("max_jobs"),
        modules=tuple(content.get("modules") or ()),
        scheduler=content.get("scheduler"),
        sge=content.get("sge") or {},
    )
    unknown = sorted(set(site.partition.values()) - {found.name for found in site.partitions})
    if unknown:
        raise UpfieldError(f"{file}: partition names {unknown[0]}, which is not among partitions; add it there")
    return site


def minutes(limit: str | float) -> float:
    """Minutes of a time limit as Slurm (`2-12:00:00`, `30`, `UNLIMITED`) or its plugin (`12h`, `7d`) writes it.

    Raises ValueError if it is neither.
    """
    if isinstance(limit, (int, float)):
        return float(limit)
    text = limit.strip()
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return math.inf
    if text and text[-1] in _UNITS:
        return float(text[:-1]) * _UNITS[text[-1]]
    days, _, clock = text.rpartition("-")
    parts = [float(part) for part in clock.split(":")]
    if days:
        # days-hours[:minutes[:seconds]]
        hours, mins, seconds = [*parts, 0, 0, 0][:3]
        return float(days) * 24 * 60 + hours * 60 + mins + seconds / 60
    # minutes, minutes:seconds, or hours:minutes:seconds
    hours, mins, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return hours * 60 + mins + seconds / 60


def _partition(name: str, limits: Mapping[str, Any], file: Path) -> Partition:
    try:
        longest = minutes(limits.get("max_runtime", math.inf))
    except (ValueError, KeyError):
        raise UpfieldError(
            f"{file}: max_runtime of {name} is {limits['max_runtime']!r:.40}; expected minutes, 12h, 7d or 2-12:00:00"
        ) from None
    return Partition(
        name,
        minutes=longest,
        mem_mb=limits.get("max_mem_mb", math.inf),
        cpus=limits.get("max_threads", math.inf),
        gpus=limits.get("max_gpu", 0),
        gpu_types=tuple(limits.get("available_gpu_models") or ()),
    )
