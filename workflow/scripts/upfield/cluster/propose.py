"""A site file made from what a cluster says of itself."""

import math
from pathlib import Path
from typing import Any

import yaml

from upfield.cluster.slurm import Cluster
from upfield.files import write_text

HEAD = """\
# A cluster, for all studies: what one submission may have at most. Made from what Slurm says; correct what is not so.
# Each job goes to the partition that fits it best; trainings that need longer are cut into jobs, and continue.
# Keys: docs/hpc.md.
"""


def propose(cluster: Cluster) -> dict[str, Any]:
    """The content of a site file."""
    partitions: dict[str, dict[str, Any]] = {}
    for found in cluster.partitions:
        limits = {
            "max_runtime": found.minutes, "max_mem_mb": found.mem_mb, "max_threads": found.cpus,
        }  # fmt: skip
        partitions[found.name] = {key: int(value) for key, value in limits.items() if not math.isinf(value)}
        if found.gpus:
            partitions[found.name]["max_gpu"] = found.gpus
            if found.gpu_types:
                partitions[found.name]["available_gpu_models"] = list(found.gpu_types)
    content: dict[str, Any] = {"partitions": partitions}
    if cluster.accounts:
        content["account"] = cluster.accounts[0]
    types = {kind for found in cluster.partitions for kind in found.gpu_types}
    if any(found.gpus for found in cluster.partitions):
        content["gpu"] = {"request": "gres", **({"type": min(types)} if len(types) == 1 else {})}
    if not math.isinf(cluster.max_jobs):
        content["max_jobs"] = int(cluster.max_jobs)
    return content


def write(path: Path, cluster: Cluster) -> None:
    """Write the proposal; an existing file is left as it is, and the proposal written beside it."""
    text = HEAD + yaml.safe_dump(propose(cluster), sort_keys=False)
    write_text(path, text)
