"""What keeps the plan of a large study quick; nothing here decides what is made.

It replaces internals of one version of Snakemake, and nothing where that is another one or where this workflow is a
module of another, whose own plan is not ours to change. Each replacement has a name, which benchmarks/planning.py
measures; the environment variable UPFIELD_PLAIN leaves out those it names (`groups,gc`), or `all`.
"""

import functools
import gc
import graphlib
import os

import smart_open
from snakemake import __version__ as snakemake_version

# Under other names: `rules` and `script` are something else in a Snakefile.
from snakemake import common as snakemake_common
from snakemake import rules as snakemake_rules
from snakemake import script as snakemake_script
from snakemake.dag import DAG
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.output_index import OutputIndex

WRITTEN_FOR = "9.27.1"


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


def ready(dag, job):
    """Whether a job, or all jobs of its group, wait for nothing but each other."""
    group = dag.get_job_group(job)
    if group is None:
        return dag._n_until_ready[job] == 0
    return all(
        dag._n_until_ready[member] == sum(dag.get_job_group(other) is group for other in dag._dependencies[member])
        for member in group
    )


def read_once(get):
    """The source of a rule's script, which Snakemake reads for each of its jobs, unless wildcards stand in its path."""
    known = {}

    def get_source(path, sourcecache, basedir=None, wildcards=None, params=None):
        key = str(path), str(basedir), wildcards is None
        if key not in known or "{" in key[0]:
            known[key] = get(path, sourcecache, basedir, wildcards, params)
        return known[key]

    return get_source


def replace_groups():
    DAG._check_groups = check_groups
    # The first half of the same check.
    DAG.validate_group = lambda dag, group: None


def replace_ready():
    # As Snakemake's own, without comparing the jobs of groups that are the same object or not the same group.
    DAG._ready = ready


# What Snakemake works out again for each file or job although it does not change.


def replace_producers():
    OutputIndex.match_producers = functools.cache(OutputIndex.match_producers)


def replace_source():
    snakemake_script.get_source = read_once(snakemake_script.get_source)


def replace_uri():
    smart_open.parse_uri = functools.cache(smart_open.parse_uri)


def replace_params():
    snakemake_rules.get_function_params = functools.cache(snakemake_common.get_function_params)
    snakemake_common.get_function_params = snakemake_rules.get_function_params


def replace_gc():
    # Hundreds of thousands of objects come to stay: to look through them for garbage as often as usual takes a fifth of
    # the time.
    gc.set_threshold(100_000, 50, 100)


REPLACEMENTS = {
    "groups": replace_groups,
    "ready": replace_ready,
    "producers": replace_producers,
    "source": replace_source,
    "uri": replace_uri,
    "params": replace_params,
    "gc": replace_gc,
}
if snakemake_version != WRITTEN_FOR:
    if workflow.is_main_process:
        logger.info(f"Planning as Snakemake {snakemake_version} does; what quickens it is for {WRITTEN_FOR}.")
elif workflow.modifier.is_main_snakefile():
    plain = os.environ.get("UPFIELD_PLAIN", "").split(",")
    for name, replace in REPLACEMENTS.items():
        if name not in plain and "all" not in plain:
            replace()
