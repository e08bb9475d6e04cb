"""What keeps the plan of a large study quick; nothing here decides what is made."""

import functools
import graphlib

import smart_open
from snakemake.dag import DAG
from snakemake.exceptions import WorkflowError


def check_groups(dag):
    """Raise WorkflowError if a submission would wait for itself: one pass over all jobs.

    Snakemake looks, from each job of each group, through all that the job depends on. At a thousand participants that
    is more work than everything else together.
    """
    units = {job: dag.get_job_group(job) or job for job in dag.needrun_jobs()}
    graph = {unit: set() for unit in units.values()}
    for job, unit in units.items():
        graph[unit].update(units[other] for other in dag.job_dependencies(job) if units.get(other, unit) is not unit)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise WorkflowError(f"groups: {' needs '.join(str(unit) for unit in error.args[1])}") from None


DAG._check_groups = check_groups
# The first half of the same check.
DAG.validate_group = lambda dag, group: None
# Snakemake parses the path of each job's script three times.
smart_open.parse_uri = functools.cache(smart_open.parse_uri)
