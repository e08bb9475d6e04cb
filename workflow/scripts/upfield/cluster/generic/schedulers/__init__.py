"""Schedulers, a file each: how a job is asked for, what its programs answer, and which of them is here."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from upfield.cluster.generic.schedulers.grid_engine import SGE
from upfield.cluster.generic.schedulers.lsf import LSF
from upfield.cluster.generic.schedulers.pbs import PBS, TORQUE
from upfield.cluster.generic.schedulers.sbatch import SLURM
from upfield.cluster.generic.schedulers.scheduler import Scheduler
from upfield.errors import UpfieldError

SCHEDULERS = {found.name: found for found in (PBS, TORQUE, SGE, LSF, SLURM)}
# Where OpenPBS and PBS Pro say where they are.
PBS_CONF = Path("/etc/pbs.conf")


def find(named: str | None, environment: Mapping[str, str]) -> Scheduler:
    """The scheduler that the site file names, or the one whose programs are here.

    Raises UpfieldError if it is not here, or if it cannot be told which it is.
    """
    path = environment.get("PATH")

    def here(program: str) -> bool:
        return shutil.which(program, path=path) is not None

    if named is not None:
        found = SCHEDULERS[named]
        if not here(found.submit):
            raise UpfieldError(f"{found.submit} was not found: there is no {named} here; start on a login node")
        return found
    for program, true, found in (
        ("sbatch", True, SLURM),
        ("bsub", True, LSF),
        ("qsub", "SGE_ROOT" in environment, SGE),
        ("qsub", "PBS_CONF_FILE" in environment or PBS_CONF.is_file(), PBS),
    ):
        if true and here(program):
            return found
    other = "which scheduler qsub belongs to" if here("qsub") else "no qsub, bsub or sbatch was found: which scheduler"
    raise UpfieldError(f"it is not known {other}; set scheduler in the site file ({', '.join(SCHEDULERS)})")
